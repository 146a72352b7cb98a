"""The flows that a new database starts with."""

from typing import NamedTuple


class Seed(NamedTuple):
    name: str
    status: str
    owner: str
    description: str
    steps: tuple[str, ...]
    hours_ago: float
    saved_by: str


SEEDS = (
    Seed(
        "Customer onboarding",
        "active",
        "alice",
        "From the signed contract to the first useful login. Sales hands over, Success takes it from there; "
        "nobody should have to ask what comes next.",
        (
            "Contract is signed",
            "Create the workspace",
            "Send the welcome mail",
            "Book the kick-off call",
            "Check in after seven days",
        ),
        2,
        "Chiara Rossi",
    ),
    Seed(
        "Refund request",
        "active",
        "bob",
        "Refunds below €200 are paid at once. Everything above goes to a person, with the order's history "
        "attached.",
        (
            "Customer asks for a refund",
            "Look up the order",
            "Amount above €200? Ask finance",
            "Pay back",
            "Tell the customer",
        ),
        26,
        "Bob Tanaka",
    ),
    Seed(
        "Incident, severity 1",
        "active",
        "dmitri",
        "Who is called, in which order, and what customers are told. Rehearsed on the first Monday of each "
        "quarter.",
        (
            "Alarm fires",
            "Page the person on call",
            "Open the incident channel",
            "Post to the status page within 15 minutes",
            "Write the review within five days",
        ),
        51,
        "Emeka Okafor",
    ),
    Seed(
        "Invoice approval",
        "paused",
        "chiara",
        "Paused until the new accounting year: approvals run by mail for now.",
        ("Invoice arrives", "Match it with the order", "Team lead approves", "Schedule the payment"),
        120,
        "Alice Moreau",
    ),
    Seed(
        "New colleague's first week",
        "draft",
        "layla",
        "A draft: IT and People still disagree about who orders the laptop.",
        (
            "Offer is accepted",
            "Order the laptop",
            "Create the accounts",
            "Lunch with the team",
            "First review on Friday",
        ),
        190,
        "ليلى حداد",
    ),
    Seed(
        "Newsletter",
        "draft",
        "emeka",
        "Every second Thursday at ten, unless there is nothing to say.",
        ("Collect topics", "Write", "Have it read by somebody else", "Send"),
        340,
        "Dmitri Volkov",
    ),
)
