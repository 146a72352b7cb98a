"""What an attack is."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.abuse.attacker import Attacker

LIMIT_LIFTED = {"PRESENCE_RATE_LIMIT": "1000000/minute"}
CALLS_WITHOUT_LIMIT = 60  # in the short form, where there is no limit to be reached
T = TypeVar("T")


@dataclass(frozen=True)
class Attack:
    """One way in which somebody may try to harm others.

    `row`: of research/abuse.md, empty for those that were found later. `before`: what was seen
    before there were budgets. `held_by`: what stops it now. `statuses`: the only ones that it may
    be answered with; 0: none came, the connection was closed. `stopped_with`: one of them that must come.
    `users`: how many the attacker has, each with a budget.
    A flood lasts `seconds`; in the short form `short_calls` calls, but `short_seconds` at most.
    """

    name: str
    title: str
    run: Callable[[Attacker], None]
    held_by: str
    statuses: frozenset[int]
    stopped_with: int | None = None
    row: str = ""
    before: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    users: int = 1
    with_jwks: bool = False
    with_demo: bool = False
    seconds: float = 4.0
    short_calls: int = 230
    short_seconds: float = 60.0
    is_control: bool = False

    @property
    def has_default_limit(self) -> bool:
        """Whether the limit of calls is the default, so that delays can be judged."""
        return "PRESENCE_RATE_LIMIT" not in self.settings


def attack(title: str, held_by: str, statuses: Iterable[int], **options: Any) -> Callable:
    """A decorator: this function is an attack, which is named after it."""

    def create(run: Callable[[Attacker], None]) -> Attack:
        if options.get("settings") is LIMIT_LIFTED:
            options.setdefault("short_calls", CALLS_WITHOUT_LIMIT)
        name = run.__name__.replace("_", "-")
        return Attack(name, title, run, held_by, frozenset(statuses), **options)

    return create


def field_name(number: int, characters: int = 128) -> str:
    """The largest name of a field that is allowed, in bytes: each time another one."""
    return f"{number:08d}".ljust(characters, "\N{PILE OF POO}")


def field_names(number: int, count: int = 100) -> list[str]:
    """So many of them, none like those of another number."""
    return [field_name(number * 1000 + place) for place in range(count)]


def round_robin(items: Iterable[T]) -> Iterator[T]:
    """The same again and again."""
    items = list(items)
    while True:
        yield from items
