"""A cache of proofs: checking a signature takes longer than the rest of a call in Python."""

from collections.abc import Callable
from typing import Generic, TypeVar

MAX_AGE_SECONDS = 60  # how long a key that was withdrawn may still count
MAX_PROOFS = 4096

T = TypeVar("T")


class ProofCache(Generic[T]):
    """What a proof (a token or a cookie) was found to be, by its text, for a minute.

    Its size follows the number of callers in the last minutes, not of all callers ever.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, T]] = {}  # proof -> (expiry, content)
        self._prune_at = 0.0

    def find(self, proof: str, now: float) -> T | None:
        """The content of a proof that is remembered; `now` is in seconds since the epoch."""
        entry = self._entries.get(proof)
        return entry[1] if entry and now < entry[0] else None

    def remember(self, proof: str, content: T, now: float, valid_until: float) -> None:
        """Keep the content of a proof for a minute, or until the proof expires."""
        if now >= self._prune_at or len(self._entries) >= MAX_PROOFS:
            fresh = {proof: entry for proof, entry in self._entries.items() if now < entry[0]}
            # If most are fresh, nearly every call would have to prune again.
            self._entries = fresh if len(fresh) < MAX_PROOFS / 2 else {}
            self._prune_at = now + MAX_AGE_SECONDS
        self._entries[proof] = min(now + MAX_AGE_SECONDS, valid_until), content

    def forget(self, is_meant: Callable[[T], bool]) -> None:
        """Forget every proof of such a content."""
        self._entries = {proof: entry for proof, entry in self._entries.items() if not is_meant(entry[1])}

    def __len__(self) -> int:
        return len(self._entries)
