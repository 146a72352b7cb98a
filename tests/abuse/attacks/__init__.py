"""Every attack, in the order of the table."""

from tests.abuse.attack import Attack
from tests.abuse.attacks import (
    conflicts,
    connections,
    identity,
    large_answers,
    memory,
    refused_calls,
    streams,
)

_MODULES = (memory, refused_calls, streams, conflicts, identity, large_answers, connections)
_FOUND = [each for module in _MODULES for each in vars(module).values() if isinstance(each, Attack)]
ATTACKS = {each.name: each for each in sorted(_FOUND, key=lambda each: not each.is_control)}
