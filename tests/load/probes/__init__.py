"""Applications that are served in the place of the service, with what only a bench asks for."""

import http.client
from pathlib import Path

PROBES = Path(__file__).parent  # in the PYTHONPATH of a process that serves `holds:app`


def longest_hold_ms(caller: http.client.HTTPConnection) -> float:
    """How long one greenlet of `holds:app` has kept all others from running since this was last asked."""
    caller.request("GET", "/presence/longest-hold")
    return float(caller.getresponse().read()) * 1000
