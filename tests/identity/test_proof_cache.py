"""What is remembered of proofs: for how long, and of how many."""

import pytest

from record_presence.identity.proof_cache import ProofCache

NOW = 1_000_000.0
LATER = NOW + 3600


@pytest.fixture
def proofs():
    return ProofCache()


def test_proof_is_remembered_for_a_minute(proofs):
    proofs.remember("proof", "Alice", NOW, LATER)

    assert proofs.find("proof", NOW + 59) == "Alice"
    assert proofs.find("proof", NOW + 60) is None
    assert proofs.find("another", NOW) is None


def test_proof_is_remembered_no_longer_than_it_is_valid(proofs):
    proofs.remember("proof", "Alice", NOW, NOW + 10)

    assert proofs.find("proof", NOW + 9) == "Alice"
    assert proofs.find("proof", NOW + 10) is None


def test_those_who_have_left_take_no_memory(proofs):
    for minute in range(10):
        for number in range(100):
            proofs.remember(f"{minute} {number}", "Alice", NOW + 61 * minute, LATER)

    assert len(proofs) <= 200


def test_many_take_no_more_memory_than_a_few_thousand(proofs, monkeypatch):
    monkeypatch.setattr("record_presence.identity.proof_cache.MAX_PROOFS", 10)
    for number in range(30):
        proofs.remember(f"{number}", "Alice", NOW, LATER)

        assert len(proofs) <= 10
        assert proofs.find(f"{number}", NOW) == "Alice"
