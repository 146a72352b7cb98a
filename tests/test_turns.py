"""Who has the machine for themselves waits for the tests that run, and the next ones wait for it."""

import fcntl
import threading

from tests.turns import Turns
from tests.waiting import wait_until


def is_shut(folder):
    """Whether somebody stands in the gate, so that nobody else passes it."""
    with (folder / "turns-gate").open("w") as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_who_wants_to_be_alone_is_let_in_before_the_next_test_and_is_alone(tmp_path):
    running, measured, next_one = (Turns(tmp_path) for _ in range(3))
    seen, may_end = [], threading.Event()

    def run_alone():
        with measured.beside_others():
            seen.append("beside")
            with measured.alone():
                seen.append("alone")
                may_end.wait()
                seen.append("no longer alone")

    def run_next():
        with next_one.beside_others():
            seen.append("next")

    threads = [threading.Thread(target=run) for run in (run_alone, run_next)]
    with running.beside_others():
        threads[0].start()
        wait_until(lambda: seen == ["beside"])
        wait_until(lambda: is_shut(tmp_path))
        threads[1].start()
    wait_until(lambda: seen == ["beside", "alone"])
    may_end.set()
    for thread in threads:
        thread.join()
    assert seen == ["beside", "alone", "no longer alone", "next"]
    for turns in (running, measured, next_one):
        turns.pytest_unconfigure()
