"""The commands of a directory, by name: run on Redis, their replies checked, their errors translated."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import redis.exceptions as redis_errors

from ..errors import ScriptFault, ScriptInvalid, StoreFull, StoreUnavailable
from .compose import Script, find_lua_directory
from .load import load_script
from .redis_errors import FAILURES, is_out_of_memory, is_refusal, is_unavailable
from .sharded_publishing import ShardedPublishing, publish_sharded
from .transport import execute, execute_many

log = logging.getLogger("presence.scripts")

Call = tuple[Sequence[str], Sequence[Any]]  # keys and arguments


class Scripts:
    """Every command of a directory, ready to run on any redis-py client.

    Loading checks every header, and the syntax where lupa is installed, and raises
    ScriptInvalid, so that a process with a broken script does not start.
    `observe(name, seconds, outcome)` is called after every call; the outcome is a
    status word, `unavailable` or `fault`.

    With `reload`, for development, an edited file is read again on its next call. While
    it is broken, the last good text is run, `invalid` says what is wrong, and the log
    says it once for each edit; a call raises ScriptInvalid where no text was good yet.

    With `may_publish_sharded`, the commands publish by SPUBLISH once it was found out, in the
    background after the first call, that every node of a Cluster takes it. All calls must be to
    one Redis then.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        reload: bool = False,
        observe: Callable[[str, float, str], None] | None = None,
        may_publish_sharded: bool = False,
    ) -> None:
        directory = directory or find_lua_directory()
        self._directory = directory
        self._reload = reload
        self._observe = observe
        self.invalid: dict[str, ScriptInvalid] = {}  # by command; only with `reload`
        self._written: dict[str, Script] = {}  # as the files say
        self._scripts: dict[str, Script] = {}  # as they are run
        self._loaded: dict[str, dict[Path, int]] = {}
        self._sharding = ShardedPublishing(self._choose_texts, is_wanted=may_publish_sharded)
        names = sorted(path.stem for path in directory.glob("*.lua"))
        if not names:
            raise ScriptInvalid(f"{directory}: no Lua scripts found")
        for name in names:
            if reload:
                self._load_again(name)
            else:
                self._load(name)

    def __iter__(self) -> Iterable[Script]:
        return iter(self._scripts.values())

    def __getitem__(self, name: str) -> Script:
        if self._reload:
            self._load_again(name)
            if name not in self._scripts and name in self.invalid:
                raise self.invalid[name]
        return self._scripts[name]

    @property
    def publishes_sharded(self) -> bool:
        """Whether changes are published by SPUBLISH."""
        return self._sharding.is_on

    def _load(self, name: str) -> None:
        script = self._written[name] = load_script(self._directory / f"{name}.lua")
        self._scripts[name] = publish_sharded(script) if self._sharding.is_on else script

    def _choose_texts(self, is_sharded: bool) -> None:
        choose = publish_sharded if is_sharded else (lambda script: script)
        self._scripts = {name: choose(script) for name, script in self._written.items()}

    def _load_again(self, name: str) -> None:
        """Read the command's file if any file was edited since it was read."""
        modified = _modification_times(self._directory)
        if modified == self._loaded.get(name):
            return
        self._loaded[name] = modified
        try:
            self._load(name)
            self.invalid.pop(name, None)
        except (OSError, UnicodeDecodeError, ScriptInvalid) as failure:  # an editor may be writing the file
            error = failure if isinstance(failure, ScriptInvalid) else ScriptInvalid(f"{name}: {failure}")
            others = {str(other) for key, other in self.invalid.items() if key != name}
            self.invalid[name] = error
            if str(error) not in others:  # an error in a library is one of many commands
                log.error(f"{error}: the last good one is used until it is fixed")

    def run(self, client: Any, name: str, keys: Sequence[str], args: Sequence[Any]) -> list[Any]:
        """Run a command in one round trip; returns its reply, status word first.

        `keys` and `args` are in the order of the header. Text comes back as str,
        whether or not the client decodes. Raises StoreUnavailable or ScriptFault.
        """
        script = self[name]
        started = time.perf_counter()
        outcome = "fault"
        try:
            # Not redis-py's Script: on NOSCRIPT it loads the script on every primary
            # of a Cluster, so that a dead one breaks the calls to all others.
            try:
                raw = execute(client, "EVALSHA", script.sha, len(keys), *keys, *args)
            except redis_errors.NoScriptError:
                raw = self._evaluate(client, script, keys, args)
            except redis_errors.ResponseError as error:
                raw = self._run_unsharded(client, script, keys, args, error)
            reply = self._read(script, keys, raw)
            outcome = reply[0]
            if started >= self._sharding.explore_at:
                self._sharding.explore(client)
        except StoreUnavailable:
            outcome = "unavailable"
            raise
        except FAILURES as error:
            failure = self._translate(script, keys, error)
            outcome = "unavailable" if isinstance(failure, StoreUnavailable) else "fault"
            raise failure from error
        finally:
            if self._observe:
                self._observe(name, time.perf_counter() - started, outcome)
        return reply

    def _evaluate(self, client: Any, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return execute(client, "EVAL", script.text, len(keys), *keys, *args)
        except redis_errors.ResponseError as error:
            return self._run_unsharded(client, script, keys, args, error)

    def _run_unsharded(
        self, client: Any, script: Script, keys: Sequence[str], args: Sequence[Any], error: Exception
    ) -> Any:
        """Run a command again that failed where it publishes by SPUBLISH, if that may be why.

        That comes after its writes, which stay: every command may be repeated. The message may be
        lost, which streams notice when they next sweep the record.
        """
        plain = self._written[script.name]
        if plain.sha == script.sha or not is_refusal(error) or is_out_of_memory(error):
            raise error
        raw = execute(client, "EVAL", plain.text, len(keys), *keys, *args)
        self._sharding.give_up(error)
        return raw

    def run_many(self, client: Any, name: str, calls: Sequence[Call]) -> list[list[Any]]:
        """Run one command for many records in one round trip (in a Cluster, one per node).

        Not a transaction: each call is atomic by itself.
        """
        script = self[name]
        started = time.perf_counter()
        try:
            commands = [("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls]
            answers = execute_many(client, commands)
        except FAILURES as error:
            failure = self._translate(script, calls[0][0], error)
            if self._observe:
                outcome = "unavailable" if isinstance(failure, StoreUnavailable) else "fault"
                self._observe(name, time.perf_counter() - started, outcome)
            raise failure from error
        replies = []
        for (keys, args), answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                # NOSCRIPT, a slot that is moving or a node that is gone: the single call handles each.
                replies.append(self.run(client, name, keys, args))
            else:
                replies.append(self._read(script, keys, answer))
                if self._observe:
                    self._observe(name, (time.perf_counter() - started) / len(calls), replies[-1][0])
        return replies

    def _read(self, script: Script, keys: Sequence[str], raw: Any) -> list[Any]:
        if isinstance(raw, bytes | str):  # a heartbeat's short reply: a table would cost Redis more time
            return ["OK", raw.decode() if isinstance(raw, bytes) else raw]
        reply = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in raw]
        if not reply or reply[0] not in script.returns:
            raise ScriptFault(f"{script.name} answered {reply[:1]} (keys {', '.join(keys)})")
        return reply

    def _translate(self, script: Script, keys: Sequence[str], error: Exception) -> Exception:
        if is_out_of_memory(error):
            return StoreFull(f"{script.name}: {error}")
        if is_unavailable(error):
            return StoreUnavailable(f"{script.name}: {type(error).__name__}: {error}")
        return ScriptFault(f"{script.name} (keys {', '.join(keys)}): {script.locate(str(error))}")


def _modification_times(directory: Path) -> dict[Path, int]:
    """Differs after every edit, including one that restores an older file."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*.lua")}
