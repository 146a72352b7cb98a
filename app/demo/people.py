"""The people of the demo. They have a tenant of their own, and their proofs are valid in no other."""

from dataclasses import dataclass
from typing import Any

from ..identity.bearer import BearerTokens
from ..identity.caller import Caller

TENANT = "record-presence-demo"  # reserved, so that a host's tokens can't name it
RECORDS = ("flow:*",)
NOBODY = "There is no such person in the demo."
TOKEN_SECONDS = 600  # a window fetches the next one well before


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to sign in as; `handle` is for URLs."""

    id: int
    handle: str
    name: str
    title: str

    @property
    def caller(self) -> Caller:
        """The person as a caller with a cookie."""
        return Caller(user_id=self.id, user_name=self.name, tenant=TENANT, records=RECORDS, about=self.about)

    @property
    def about(self) -> dict[str, str]:
        """What the others may read about them."""
        return {"title": self.title}


PEOPLE = (
    Person(1, "alice", "Alice Moreau", "Head of operations"),
    Person(2, "bob", "Bob Tanaka", "Billing"),
    Person(3, "chiara", "Chiara Rossi", "Customer care"),
    Person(4, "dmitri", "Dmitri Volkov", "Legal"),
    Person(5, "emeka", "Emeka Okafor", "Data analyst"),
    Person(6, "layla", "ليلى حداد", "Product manager"),
)
_BY_HANDLE = {person.handle: person for person in PEOPLE}
_BY_ID = {person.id: person for person in PEOPLE}


def person_by_handle(handle: str | None) -> Person | None:
    """The person with this handle, if there is one."""
    return _BY_HANDLE.get(handle or "")


def person_of(caller: Caller | None) -> Person | None:
    """The person that a proof names; None for callers of other tenants."""
    return _BY_ID.get(caller.user_id) if caller and caller.tenant == TENANT else None  # type: ignore[arg-type]


def window_token(tokens: BearerTokens, person: Person) -> str:
    """A bearer token for one window of this person."""
    return _token(tokens, person)


def operator_token(tokens: BearerTokens, person: Person) -> str:
    """The same, with the rights of an operator of the demo's tenant, where everybody may try them."""
    return _token(tokens, person, role="operator")


def _token(tokens: BearerTokens, person: Person, **more: str) -> str:
    claims: dict[str, Any] = {
        "sub": person.id,
        "name": person.name,
        "records": list(RECORDS),
        "about": person.about,
        **more,
    }
    return tokens.issue(TENANT, claims, TOKEN_SECONDS)
