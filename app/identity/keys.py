"""Public keys of a token issuer: fetched from its JWKS URL, and again when it has changed them."""

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import jwt

from app.identity.caller import KeysUnavailable, Unauthenticated

WAIT_SECONDS = 1.5  # for a fetch, by whoever needs a key that is not known
FRESH_SECONDS = 300  # a key that the issuer has withdrawn counts no longer
STALE_SECONDS = 3600  # the same while the URL is out of reach
PAUSE_SECONDS = 2  # after a fetch that failed
COOLDOWN_SECONDS = 30  # between fetches for the sake of unknown names: anybody can make one up
LARGEST_SET = 256 * 1024  # bytes


class PublicKeys:
    """The keys by name.

    One fetch at a time, in a thread of its own: no server, however slow, holds
    a caller for longer than WAIT_SECONDS, nor callers whose key is known at all.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._next_fetch_at = float("-inf")
        self._failure: str | None = None
        self._fetching: threading.Event | None = None

    def find(self, name: Any) -> Any:
        """The key of this name (`kid`). Raises Unauthenticated for none, KeysUnavailable."""
        age, is_known = time.monotonic() - self._fetched_at, name in self._keys
        if age > FRESH_SECONDS or not is_known:
            # While the URL is away, a known key need not wait to hear so again.
            self._refresh(wait=not (is_known and self._failure))
            age = time.monotonic() - self._fetched_at
        if age > STALE_SECONDS:
            raise KeysUnavailable(self._failure or "the JWKS URL does not answer")
        if name in self._keys:
            return self._keys[name]
        if self._failure:
            raise KeysUnavailable(self._failure)  # the issuer may have it by now
        raise Unauthenticated("The token is not valid.")

    def _refresh(self, *, wait: bool) -> None:
        """Fetch, unless that was tried a moment ago."""
        with self._lock:
            if self._fetching is None:
                if time.monotonic() < self._next_fetch_at:
                    return
                self._fetching = threading.Event()
                threading.Thread(
                    target=self._fetch, args=(self._fetching,), name="presence-keys", daemon=True
                ).start()
            fetching = self._fetching
        if wait and not fetching.wait(WAIT_SECONDS):
            self._failure = "the JWKS URL does not answer in time"

    def _fetch(self, done: threading.Event) -> None:
        keys, failure = {}, None
        try:
            keys = _signing_keys(_read(self._url))
        except Exception as error:  # whatever comes from there
            failure = f"the JWKS URL: {type(error).__name__}: {error}"[:200]
        with self._lock:
            now = time.monotonic()
            self._failure = failure
            if failure is None:
                self._keys, self._fetched_at = keys, now
            self._next_fetch_at = now + (PAUSE_SECONDS if failure else COOLDOWN_SECONDS)
            self._fetching = None
        done.set()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whom the operator has named is asked, and nobody else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read(url: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    parts = []
    size = 0
    with _open(url) as answer:
        while part := answer.read1(65_536):
            parts.append(part)
            size += len(part)
            if size > LARGEST_SET:
                raise ValueError(f"more than {LARGEST_SET} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("it comes too slowly")
    return json.loads(b"".join(parts))


def _open(url: str) -> Any:
    try:
        return urllib.request.build_opener(_NoRedirect).open(url, timeout=WAIT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise ValueError(f"status {error.code}") from None


def _signing_keys(document: Any) -> dict[str, Any]:
    """Those keys that a token can name and that are not for encryption. Raises ValueError for none."""
    keys = jwt.PyJWKSet.from_dict(document).keys
    signing = {key.key_id: key.key for key in keys if key.key_id and key.public_key_use in ("sig", None)}
    if not signing:
        raise ValueError("no signing keys")
    return signing
