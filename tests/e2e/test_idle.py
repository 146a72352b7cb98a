"""What a tab costs that only stands there: its heartbeats, and no work of the page."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.people import EDITORS, Person
from tests.e2e.server import Server
from tests.waiting import wait_until

BEATS = 3  # a second apart, see conftest.server


@pytest.mark.measured
@pytest.mark.parametrize("path", [*EDITORS.values(), None], ids=[*EDITORS, "list"])
def test_idle_tab_sends_its_heartbeats_and_does_no_layout(
    person: Callable[..., Person], server: Server, flow_id: int, path: str | None
) -> None:
    with server.as_user(99, "Witness", role="operator") as witness:
        for other in range(1, 7):
            witness.evict_all(other)  # who leaves later is drawn in the list until then
    person("bob").edit(flow_id)  # so that there is somebody to draw
    alice = person("alice")
    page = alice.go(f"{path}/{flow_id}" if path else "/")
    wait_until(lambda: page.row(flow_id) if path is None else page.avatars())
    page.tab.mouse.move(0, 0)
    metrics = alice.protocol(page)
    metrics.send("Performance.enable")
    requests: list[str] = []
    page.tab.on("request", lambda request: requests.append(request.url.rpartition("/")[2].partition("?")[0]))

    _let_settle(page.tab, metrics)
    requests.clear()
    before, began = _work(metrics), time.monotonic()
    if path is None:
        wait_until(lambda: page.tab.evaluate("true") and time.monotonic() - began > BEATS)
    else:
        wait_until(lambda: page.tab.evaluate("true") and len(requests) >= BEATS)
    seconds = time.monotonic() - began

    assert set(requests) <= {"heartbeat"}
    assert len(requests) <= seconds / 0.9 + 1
    assert _work(metrics) == before


def _work(metrics: Any) -> dict[str, float]:
    """How often the page was styled and laid out so far."""
    counts = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
    return {name: counts[name] for name in ("LayoutCount", "RecalcStyleCount")}


def _let_settle(tab: Any, metrics: Any) -> None:
    """Until the page has come to rest for a while: fonts, the avatars' arrival, the first stream."""
    last, since = None, time.monotonic()

    def rests() -> bool:
        nonlocal last, since
        tab.evaluate("true")
        if (now := _work(metrics)) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    wait_until(rests)
