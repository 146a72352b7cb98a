"""Proofs that were verified a moment ago: a signature costs more than the rest of a call in Python."""

from typing import Generic, TypeVar

LONGEST_SECONDS = 60  # how long a key that was withdrawn may still count
MOST_PROOFS = 4096

T = TypeVar("T")


class VerifiedProofs(Generic[T]):
    """What was read from a proof (a token, a cookie), by its text, for a minute.

    Holds the proofs of those who are there, and not of all who ever came.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, T]] = {}  # with the end of its minute
        self._prune_at = 0.0

    def find(self, proof: str, now: float) -> T | None:
        """What `remember` was told, unless its time is over; `now` is the time of day, in seconds."""
        held = self._held.get(proof)
        return held[1] if held and now < held[0] else None

    def remember(self, proof: str, said: T, now: float, valid_until: float) -> None:
        """Keep what the proof said, for a minute or until it is not valid any more."""
        if now >= self._prune_at or len(self._held) >= MOST_PROOFS:
            fresh = {proof: held for proof, held in self._held.items() if now < held[0]}
            # Where most are fresh, they would be looked through at nearly every call.
            self._held = fresh if len(fresh) < MOST_PROOFS / 2 else {}
            self._prune_at = now + LONGEST_SECONDS
        self._held[proof] = min(now + LONGEST_SECONDS, valid_until), said

    def __len__(self) -> int:
        return len(self._held)
