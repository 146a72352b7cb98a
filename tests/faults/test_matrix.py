"""The fault matrix in its short form: the faults that no other test makes, and every goal met."""

import asyncio

import pytest

from tests.faults.faults import FAULTS
from tests.faults.matrix import SHORT, play

AT_ONCE = 5  # most of a fault's time is waiting
SHORT_FAULTS = [fault for fault in FAULTS if fault.is_short]


@pytest.mark.measured
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "faults",
    [SHORT_FAULTS[first : first + AT_ONCE] for first in range(0, len(SHORT_FAULTS), AT_ONCE)],
    ids=lambda faults: "-".join(fault.name for fault in faults),
)
def test_every_goal_is_met(faults, apart):
    async def play_all():
        return await asyncio.gather(*(play(fault, SHORT) for fault in faults))

    outcomes = apart(lambda: asyncio.run(play_all()))
    missed = [outcome.fault for outcome in outcomes if outcome.misses()]
    # Five services at once keep a slow machine busy: by itself, each has all of it.
    again = [apart(lambda fault=fault: asyncio.run(play(fault, SHORT))) for fault in missed]

    assert {outcome.fault.name: outcome.misses() for outcome in again} == {fault.name: [] for fault in missed}
