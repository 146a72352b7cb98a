"""Tabs as a company has them: ids of the length that browsers make, names of the length that people have."""

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass

RECORD_TYPE = "flow"
TABS_A_USER = 2

_FIRST_NAMES = (
    *("Alice", "Bob", "Chiara", "Dmitri", "Emeka", "Fatima", "Giorgos", "Hanna", "Ines", "Jun"),
    *("Katarzyna", "Lars", "Maximilian", "Nguyễn", "Óscar", "Priyanka", "Quentin", "Rosa", "Søren", "Tomás"),
)
_LAST_NAMES = (
    *("Moreau", "Tanaka", "Rossi", "Volkov", "Okafor", "Haddad", "Papadopoulos", "Schmidt", "Silva", "Li"),
    *(
        "Kowalczyk",
        "Johansson",
        "Müller",
        "Tran",
        "García",
        "Ramanathan",
        "Dubois",
        "Jiménez",
        "Berg",
        "Novák",
    ),
)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody of a tenant."""

    id: int
    name: str
    tenant: str


@dataclass(frozen=True, slots=True)
class OpenTab:
    """One tab with one record open."""

    id: str
    record_id: str
    user: User


class Crowd:
    """Makes users and tabs; the same seed makes the same ones."""

    def __init__(self, seed: int = 7, tenant: str = "1") -> None:
        self._random = random.Random(seed)
        self._tenant = tenant
        self._next_user = 10_000 + seed
        self._next_record = 100_000 + seed

    def user(self) -> User:
        self._next_user += self._random.randint(1, 9)
        name = f"{self._random.choice(_FIRST_NAMES)} {self._random.choice(_LAST_NAMES)}"
        return User(self._next_user, name, self._tenant)

    def room(self, size: int) -> list[OpenTab]:
        """All tabs of a new record, two a user."""
        self._next_record += self._random.randint(1, 9)
        record_id = str(self._next_record)
        users: Iterator[User] = (user for user in iter(self.user, None) for _ in range(TABS_A_USER))
        return [OpenTab(self._tab_id(), record_id, next(users)) for _ in range(size)]

    def rooms(self, size: int, tabs: int) -> list[list[OpenTab]]:
        """As many records of this size as hold `tabs` together, one at least."""
        return [self.room(size) for _ in range(max(1, tabs // size))]

    def _tab_id(self) -> str:
        """As the client makes them: 128 random bits in 22 letters."""
        return base64.urlsafe_b64encode(self._random.randbytes(16)).decode().rstrip("=")
