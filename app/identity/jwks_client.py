"""A token issuer's public keys: fetched from its JWKS URL, and again when they change."""

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import jwt

from .caller import KeysUnavailable, Unauthenticated, UnknownKey

FETCH_TIMEOUT_SECONDS = 1.5  # also the longest that a caller with an unknown key waits
REFRESH_AFTER_SECONDS = 300  # how long a key that the issuer has withdrawn may still count
MAX_STALE_SECONDS = 3600  # the same while the URL is unreachable
RETRY_DELAY_SECONDS = 2  # after a failed fetch
COOLDOWN_SECONDS = 30  # between fetches because of unknown key names, which anybody can make up
MAX_JWKS_BYTES = 256 * 1024


class JwksClient:
    """The keys by name.

    One fetch at a time, in a thread of its own: however slow the server, a caller
    waits for FETCH_TIMEOUT_SECONDS at most, and not at all if the key is known.
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
        """The key of this name (`kid`). Raises KeysUnavailable, and Unauthenticated if there is none.

        Within the cool-down a name that is not known raises UnknownKey, since the key may be a new one.
        """
        if not isinstance(name, str) or not name:
            raise Unauthenticated("The token is not valid.")
        asked_at = time.monotonic()
        age, is_known = asked_at - self._fetched_at, name in self._keys
        if age > REFRESH_AFTER_SECONDS or not is_known:
            # While the URL is unreachable, callers with a known key need not wait for another failure.
            self._refresh(wait=not (is_known and self._failure))
            age = time.monotonic() - self._fetched_at
        if age > MAX_STALE_SECONDS:
            raise KeysUnavailable(self._failure or "the JWKS URL does not answer")
        if name in self._keys:
            return self._keys[name]
        if self._failure:
            raise KeysUnavailable(self._failure)  # the issuer may have added it by now
        if self._fetched_at < asked_at:
            raise UnknownKey(self._next_fetch_at - asked_at)
        raise Unauthenticated("The token is not valid.")

    def _refresh(self, *, wait: bool) -> None:
        """Fetch the keys, unless that was tried a moment ago."""
        with self._lock:
            if self._fetching is None:
                if time.monotonic() < self._next_fetch_at:
                    return
                self._fetching = threading.Event()
                threading.Thread(
                    target=self._fetch, args=(self._fetching,), name="presence-keys", daemon=True
                ).start()
            fetching = self._fetching
        if wait and not fetching.wait(FETCH_TIMEOUT_SECONDS):
            self._failure = "the JWKS URL does not answer in time"

    def _fetch(self, done: threading.Event) -> None:
        keys, failure = {}, None
        try:
            keys = fetch_signing_keys(self._url)
        except Exception as error:  # the answer may be anything
            failure = f"the JWKS URL: {type(error).__name__}: {error}"[:200]
        with self._lock:
            now = time.monotonic()
            self._failure = failure
            if failure is None:
                self._keys, self._fetched_at = keys, now
            self._next_fetch_at = now + (RETRY_DELAY_SECONDS if failure else COOLDOWN_SECONDS)
            self._fetching = None
        done.set()


def fetch_signing_keys(url: str) -> dict[str, Any]:
    """The keys at this URL, by name, within FETCH_TIMEOUT_SECONDS or twice that.

    Raises ValueError for an answer without any, and whatever `urllib` and PyJWT raise.
    """
    return _signing_keys(_read(url))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Asks only the server that the operator has named."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _read(url: str) -> Any:
    deadline = time.monotonic() + FETCH_TIMEOUT_SECONDS
    parts = []
    size = 0
    with _open(url) as answer:
        while part := answer.read1(65_536):
            parts.append(part)
            size += len(part)
            if size > MAX_JWKS_BYTES:
                raise ValueError(f"more than {MAX_JWKS_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("the answer is too slow")
    return json.loads(b"".join(parts))


def _open(url: str) -> Any:
    try:
        return urllib.request.build_opener(_NoRedirect).open(url, timeout=FETCH_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise ValueError(f"status {error.code}") from None


def _signing_keys(document: Any) -> dict[str, Any]:
    """The keys that have a name and may sign. Raises ValueError if there are none."""
    keys = jwt.PyJWKSet.from_dict(document).keys
    signing = {key.key_id: key.key for key in keys if key.key_id and key.public_key_use in ("sig", None)}
    if not signing:
        raise ValueError("no signing keys")
    return signing
