"""The soak in its short form: people come and go for six seconds, and nothing is left of them."""

import pytest

from tests.faults.soak import SHORT, soak

MINUTES = 0.1


@pytest.mark.measured  # how soon a call is refused, and all is given back
def test_nothing_is_left_when_all_have_left(apart):
    outcome = apart(soak, MINUTES, SHORT)

    assert outcome.misses() == []
    assert outcome.answers["200"] > 100  # of a busy machine; a quiet one answers 900
    assert max(sample.keys for sample in outcome.samples) > SHORT.records
