"""The people of the demo. They live in a tenant of their own, and no proof of theirs reaches another."""

from dataclasses import dataclass

from app.identity.bearer import issue_token
from app.identity.caller import Caller
from app.settings import Settings

TENANT = "demo"
RECORDS = ("flow:*",)
TOKEN_SECONDS = 600  # a window asks for the next one well before


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to sign in as; `handle` stands in URLs."""

    id: int
    handle: str
    name: str

    @property
    def caller(self) -> Caller:
        """She, signed in by a cookie."""
        return Caller(user_id=self.id, user_name=self.name, tenant=TENANT, records=RECORDS)


PEOPLE = (
    Person(1, "alice", "Alice Moreau"),
    Person(2, "bob", "Bob Tanaka"),
    Person(3, "chiara", "Chiara Rossi"),
    Person(4, "dmitri", "Dmitri Volkov"),
    Person(5, "emeka", "Emeka Okafor"),
    Person(6, "layla", "ليلى حداد"),
)
_BY_HANDLE = {person.handle: person for person in PEOPLE}
_BY_ID = {person.id: person for person in PEOPLE}


def person_by_handle(handle: str | None) -> Person | None:
    """The person with this handle, if there is one."""
    return _BY_HANDLE.get(handle or "")


def person_of(caller: Caller | None) -> Person | None:
    """The person that a proof names; None for callers of other tenants."""
    return _BY_ID.get(caller.user_id) if caller and caller.tenant == TENANT else None  # type: ignore[arg-type]


def window_token(settings: Settings, person: Person) -> str | None:
    """A bearer token for one window of hers; None when tokens are signed elsewhere (public keys)."""
    return _token(settings, person)


def operator_token(settings: Settings, person: Person) -> str | None:
    """The same, with the rights of an operator of the demo's tenant, where everybody may try them."""
    return _token(settings, person, role="operator")


def _token(settings: Settings, person: Person, **more: str) -> str | None:
    claims = {"sub": person.id, "name": person.name, "tenant": TENANT, "records": list(RECORDS), **more}
    try:
        return issue_token(settings, claims, TOKEN_SECONDS)
    except ValueError:
        return None
