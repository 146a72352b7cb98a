"""Every attack in its short form: bounds of counts and bytes, never of time; `make abuse` has the rest."""

import pytest

from tests.abuse.attacker import Attacker
from tests.abuse.attacks import ATTACKS
from tests.abuse.measure import carry_out, tenant_of
from tests.abuse.service import AttackedService
from tests.abuse.table import MAX_ANSWER_BYTES, MAX_ERROR_BYTES, MAX_PINNED_BYTES

SHORT = [attack for attack in ATTACKS.values() if not attack.is_control]
# What a service says that had a second and a half for a stream, on a machine that is busy with other tests.
NOT_IN_TIME = "answered with 503"
# Limits that it would take hundreds of calls to reach.
LOW_LIMITS = {
    "PRESENCE_SIGNAL_RATE_LIMIT": "100/minute",
    "PRESENCE_FAILED_AUTHENTICATION_LIMIT": "100/minute",
}


def kind_of(attack):
    """Attacks of a kind share a service, since each takes seconds to start.

    Those on the demo don't: its people are the same for all, and one attack uses up their calls of a minute.
    """
    return attack.with_jwks, attack.with_demo and attack.name, attack.has_default_limit


def settings_of(kind):
    """The settings that attacks of this kind need; none of them is in the way of another."""
    needed = (attack.settings for attack in SHORT if kind_of(attack) == kind)
    return LOW_LIMITS | {name: value for settings in needed for name, value in settings.items()}


@pytest.fixture(scope="module")
def service_for():
    """`service_for(attack)`: a service with what it needs."""
    services = {}

    def find(attack):
        kind = kind_of(attack)
        if kind not in services:
            services[kind] = AttackedService(
                with_jwks=attack.with_jwks, with_demo=attack.with_demo, **settings_of(kind)
            )
        return services[kind]

    yield find
    for service in services.values():
        service.close()


@pytest.mark.parametrize("attack", SHORT, ids=lambda attack: attack.name)
def test_attack_gets_nothing_through(attack, service_for):
    service, tenant = service_for(attack), tenant_of(attack)
    attacker = Attacker(
        service.port, service.signer, tenant, seconds=attack.short_seconds, calls=attack.short_calls
    )

    tally = carry_out(attack, attacker)

    assert [what for what in tally.got_through if what != NOT_IN_TIME] == []
    assert tally.largest_answer_bytes <= MAX_ANSWER_BYTES
    assert tally.largest_error_bytes <= MAX_ERROR_BYTES
    assert service.pinned_by(tenant)[1] <= attack.users * MAX_PINNED_BYTES
    assert service.errors() == []
