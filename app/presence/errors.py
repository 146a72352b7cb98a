"""What can go wrong in the domain. HTTP gives each type its status in one place."""


class PresenceError(Exception):
    """Base of every error that the domain raises on purpose."""


class InvalidPresence(PresenceError, ValueError):
    """A name, id or value that the contract does not allow; nothing was written.

    `errors` maps each field to its messages.
    """

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("; ".join(f"{field}: {' '.join(texts)}" for field, texts in errors.items()))
        self.errors = errors


class TabOwnedByAnotherUser(PresenceError):
    """A live tab with this id belongs to another user; nothing was written."""


class TabHasLeft(PresenceError):
    """The tab has said goodbye after this heartbeat was made, which came late; nothing was written."""


class TooManyCalls(PresenceError):
    """The user has used up their quota for this window; nothing was done."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Too many calls; try again in {retry_after_seconds:g} s.")
        self.retry_after_seconds = retry_after_seconds


class TooManyTabs(PresenceError):
    """The user has as many live tabs of this record as they may; the new one was not registered."""

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"You have {limit} tabs of this record open; close one or try again in {retry_after_seconds:g} s."
        )
        self.retry_after_seconds = retry_after_seconds


class TooMuchKept(PresenceError):
    """Too much is kept for a day of what this user has sent; nothing was done."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Too many bytes of saves and claims; try again in {retry_after_seconds:.0f} s.")
        self.retry_after_seconds = retry_after_seconds


class TooMuchKeptOfTenant(PresenceError):
    """The tenant's tabs and timelines take all the memory that they may; the new tab was not registered."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"Your organisation has too many tabs open; try again in {retry_after_seconds:g} s.")
        self.retry_after_seconds = retry_after_seconds


class NoOpenIndex(PresenceError):
    """The service keeps no index of open records."""

    def __init__(self) -> None:
        super().__init__("No index of open records is kept here.")


class TooManyStreams(PresenceError):
    """This process has as many streams open as it may; another process, or this one later, may have room."""


class TooManyStreamsOfUser(PresenceError):
    """The user has as many streams open in this process as one user may."""


class StoreUnavailable(PresenceError):
    """Redis gave no answer, or one that says "not now". Call again.

    The call may or may not have been carried out; every script may be replayed.
    """


class StoreFull(StoreUnavailable):
    """Redis has reached `maxmemory` and refused the whole call. Calls that only remove still work."""


class ScriptFault(PresenceError):
    """A Lua script raised an error, which is always a bug of ours.

    The message names the file and line of the source, the command and its keys.
    It is for logs; clients don't see it.
    """


class ScriptInvalid(PresenceError):
    """A Lua file breaks the rules of its header; the process must not start."""
