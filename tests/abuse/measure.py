"""One attack against a service of its own: what honest users notice, and what it costs."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from tests.abuse.attack import Attack
from tests.abuse.attacker import Attacker, Tally
from tests.abuse.honest import HonestUsers, Service
from tests.abuse.service import AttackedService, Cost, Signer

WARM_SECONDS = 0.7
QUIET_SECONDS = 2.0
NICE = 10  # of the attacker's process, which shares the machine with the service
GIVE_UP_SECONDS = 60.0  # after the planned end of an attack


@dataclass(frozen=True)
class Outcome:
    """What was seen before and during an attack."""

    attack: Attack
    quiet: Service
    during: Service
    lost_streams: int
    seconds: float
    tally: Tally
    cost: Cost
    errors: list[str]


def measure(attack: Attack) -> Outcome:
    """Start a service, let honest users work, attack, and clean up. Takes about ten seconds."""
    service = AttackedService(with_jwks=attack.with_jwks, with_demo=attack.with_demo, **dict(attack.settings))
    try:
        tenant = tenant_of(attack)
        with _attacking(attack, service, tenant) as pipe, _working(service) as honest:
            time.sleep(WARM_SECONDS + QUIET_SECONDS)
            base = service.start_measuring()
            started = time.monotonic()
            pipe.send(None)
            if not pipe.poll(attack.seconds + GIVE_UP_SECONDS):
                raise RuntimeError(f"{attack.name} does not end")
            tally: Tally = pipe.recv()
            ended = time.monotonic()
            cost = service.cost_since(base, tenant)
        # Beats that were sent at the end have been answered by now.
        quiet = honest.served(started - QUIET_SECONDS, started)
        during = honest.served(started, max(ended, started + 1))
        return Outcome(
            attack, quiet, during, honest.lost_streams, ended - started, tally, cost, service.errors()
        )
    finally:
        service.close()


def tenant_of(attack: Attack) -> str:
    return f"attacker-{attack.name}"


@contextmanager
def _working(service: AttackedService) -> Iterator[HonestUsers]:
    honest = HonestUsers(service.port, service.signer)
    honest.start()
    try:
        yield honest
    finally:
        honest.stop()


@contextmanager
def _attacking(attack: Attack, service: AttackedService, tenant: str) -> Iterator[Connection]:
    """A process that is ready to attack: it begins when it is sent something, and answers with its tally."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_attack, args=(theirs, attack.name, service.port, service.signer, tenant, attack.seconds)
    )
    process.start()
    try:
        ours.recv()
        yield ours
    finally:
        process.kill()
        process.join()


def _attack(pipe: Connection, name: str, port: int, signer: Signer, tenant: str, seconds: float) -> None:
    from tests.abuse.attacks import ATTACKS  # late: it imports what imports us

    os.nice(NICE)
    pipe.send(None)
    pipe.recv()
    pipe.send(carry_out(ATTACKS[name], Attacker(port, signer, tenant, seconds=seconds)))


def carry_out(attack: Attack, attacker: Attacker) -> Tally:
    """Attack from this process, and return what came of it."""
    try:
        attack.run(attacker)
    finally:
        attacker.close()
    tally = attacker.tally
    if strange := set(tally.statuses) - attack.statuses:
        tally.got_through.append(f"answered with {', '.join(map(str, sorted(strange)))}")
    if attack.stopped_with is not None and not tally.statuses[attack.stopped_with]:
        tally.got_through.append(f"never stopped by {attack.stopped_with}")
    return tally
