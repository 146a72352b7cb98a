"""What can go wrong in the domain. HTTP gives each type its status in one place."""


class PresenceError(Exception):
    """Base of every error that this service raises on purpose."""


class InvalidPresence(PresenceError, ValueError):
    """A name, id or value that the contract does not allow; nothing was written.

    `errors` maps each field to its messages.
    """

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("; ".join(f"{field}: {' '.join(texts)}" for field, texts in errors.items()))
        self.errors = errors


class TabOwnedByAnotherUser(PresenceError):
    """A live tab with this id belongs to another user; nothing was written."""


class TooManyCalls(PresenceError):
    """The user has used up the window of her quota; nothing was done."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Too many calls; try again in {retry_after_seconds:g} s.")
        self.retry_after_seconds = retry_after_seconds


class TooManyStreams(PresenceError):
    """This process has as many streams open as it may; another, or this one later, may have room."""


class StoreUnavailable(PresenceError):
    """Redis gave no answer, or one that says "not now". Try again.

    The call may or may not have been carried out: every script may be replayed.
    """


class StoreFull(StoreUnavailable):
    """Redis has reached `maxmemory` and refused the call whole. What only removes still works."""


class ScriptFault(PresenceError):
    """A Lua script raised an error: always our own bug.

    The message names file and line as the maintainer wrote them, the command
    and its keys. It is for logs; clients don't see it.
    """


class ScriptInvalid(PresenceError):
    """A Lua file breaks the rules of its header; the process must not start."""
