"""`make mutants`: puts small faults into the code, one by one, and shows that a test fails for each.

`python -m tests.mutants.run [WORD ...]` runs all mutants of table.py, or those whose description or
file has one of these words. Each is put into a copy of the checkout, where the tests named beside it
run until the first fails. Exits with 1 if a mutant survives, if its place in the code is not there
exactly once any more, or if its tests fail without it.
"""

import argparse
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2

from tests.client.node import find_node

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 300.0  # by then a mutant has made its tests hang: it is caught
ALL_TIMEOUT_SECONDS = 3600.0  # of all tests without a mutant
HANGS = "the tests did not end"
CAUGHT, SURVIVED, STALE, BROKEN = "caught", "SURVIVED", "STALE", "BROKEN"
SAY_LINES = 25  # of what a test says


@dataclass(frozen=True)
class Mutant:
    """One fault: in `file`, `old`, which stands there exactly once, becomes `new`.

    `tests` are paths or ids of pytest, or files of vitest, one of which must fail.
    """

    what: str  # goes wrong, in words
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    result: str
    seconds: float
    said: str = ""

    def __str__(self) -> str:
        line = f"{self.result:8} {self.seconds:5.1f} s  {self.mutant.file}: {self.mutant.what}"
        return f"{line}\n{self.said}" if self.said else line


class Copy:
    """A copy of a checkout's files, with its installed npm packages."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self._folder = folder
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            source, target = tree / name, folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                copy2(source, target, follow_symlinks=False)
        for packages in _node_modules(tree):
            (folder / packages.relative_to(tree)).symlink_to(packages)
        # Found before what is installed, which is the checkout.
        self._imports = folder / ".imports"
        self._imports.mkdir()
        (self._imports / "record_presence").symlink_to(folder / "app")
        self._seconds = int(time.time())

    def run(self, tests: Iterable[str], timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[int, str]:
        """The exit status of the first command that fails, as pytest has them, and what it said."""
        tests = list(tests)
        of_vitest = [Path(name).name for name in tests if name.endswith(".js")]
        of_pytest = [name for name in tests if not name.endswith(".js")]
        status, said = 0, ""
        if of_vitest:
            node = find_node()
            assert node, "Node is missing: make node"
            command = [*node.node, "node_modules/vitest/vitest.mjs", "run", "--bail=1", *of_vitest]
            status, said = self._run(command, self._folder / "tests/client", timeout_seconds)
        if of_pytest and status == 0:
            command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *of_pytest]
            status, said = self._run(command, self._folder, timeout_seconds)
        return status, said

    def _run(self, command: list[str], folder: Path, timeout_seconds: float) -> tuple[int, str]:
        environment = {**os.environ, "PYTHONPATH": str(self._imports)}
        with subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return 1, HANGS
        return process.returncode, said

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[bool]:
        """With the fault in its file until the end; whether its place is there exactly once."""
        path = self._folder / mutant.file
        text = path.read_text("utf-8") if path.exists() else ""
        if text.count(mutant.old) != 1:
            yield False
            return
        self._write(path, text.replace(mutant.old, mutant.new))
        try:
            yield True
        finally:
            self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, "utf-8")
        # Python keeps what it has compiled for as long as the file has the same length and second.
        self._seconds += 1
        os.utime(path, (self._seconds, self._seconds))


def _node_modules(tree: Path) -> list[Path]:
    folders = (tree / "tests/client/node_modules", tree / "app/demo/client/node_modules")
    return [folder for folder in folders if folder.is_dir()]


def try_out(mutant: Mutant, copy: Copy) -> Outcome:
    started = time.monotonic()
    with copy.mutated(mutant) as has_place:
        if not has_place:
            return Outcome(mutant, STALE, 0.0, f"not there exactly once: {mutant.old!r}")
        status, said = copy.run(mutant.tests)
    result = {0: SURVIVED, 1: CAUGHT}.get(status, BROKEN)
    last = "\n".join(said.splitlines()[-SAY_LINES:])
    return Outcome(
        mutant, result, time.monotonic() - started, last if result == BROKEN or said == HANGS else ""
    )


def run(mutants: list[Mutant], tree: Path, jobs: int) -> Iterator[Outcome]:
    """Outcomes as they come."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(Copy(tree, Path(folder, str(number))))

        def in_a_copy(mutant: Mutant) -> Outcome:
            copy = copies.get()
            try:
                return try_out(mutant, copy)
            finally:
                copies.put(copy)

        for done in as_completed([pool.submit(in_a_copy, mutant) for mutant in mutants]):
            yield done.result()


def fails_without(mutants: list[Mutant], tree: Path) -> str:
    """What the tests say that fail without any fault; "" where all pass."""
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        status, said = Copy(tree, Path(folder)).run(tests, ALL_TIMEOUT_SECONDS)
    return said if status else ""


def main() -> int:
    from tests.mutants.table import MUTANTS

    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description="Run the mutants.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="of a description or a file; default: all")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = [
        mutant
        for mutant in MUTANTS
        if not options.words or any(word in f"{mutant.file} {mutant.what}" for word in options.words)
    ]
    if said := fails_without(chosen, ROOT):
        print(f"The tests fail without a mutant:\n{said}")
        return 1
    outcomes = []
    for outcome in run(chosen, ROOT, options.jobs):
        outcomes.append(outcome)
        print(outcome, flush=True)
    missed = [outcome for outcome in outcomes if outcome.result != CAUGHT]
    print(f"{len(outcomes) - len(missed)} of {len(outcomes)} mutants caught")
    return int(bool(missed) or not outcomes)


if __name__ == "__main__":
    sys.exit(main())
