"""Who has records open: viewers and tabs."""

from collections.abc import Sequence
from typing import Any

from ..codec import decode_conflict_state, decode_tab, decode_viewer_page, encode_user_id
from ..greenlets import Turn
from ..limits import DEFAULT_LIMIT, DEFAULT_TABS_LIMIT, MAX_REPLY_BYTES, MAX_TABS_BYTES, NO_LIMIT, Quota
from ..results import TabsPage, ViewerList
from ..validation import check_arrival, check_limit, check_tab_cursor
from ..versions import new_nonce
from ..viewers import Tab, UserId, Viewer
from .base import ServiceBase, keys_with_quota, quota_arguments, version_argument

RECORDS_AT_A_TIME = 10  # in a round trip: meanwhile Redis does nothing else


class ListCalls(ServiceBase):
    """The calls that list who has records open."""

    def get_unique_viewers(self, record_type: str, record_id: str | int) -> list[Viewer]:
        """The users with at least one live tab, first arrival first."""
        viewers: list[Viewer] = []
        after: int | None = 0
        while after is not None:
            page = self.list_viewers(record_type, record_id, limit=NO_LIMIT, after=after)
            viewers += page.viewers or []
            after = page.next
        return viewers

    def list_viewers(
        self,
        record_type: str,
        record_id: str | int,
        *,
        without_user: UserId | None = None,
        known_version: str | None = None,
        limit: int = DEFAULT_LIMIT,
        after: int = 0,
        quota: Quota | None = None,
    ) -> ViewerList:
        """The viewers of a record; None in their place when `known_version` is current.

        At most `limit`, and as many as fit into 1 MB of JSON. `after` is the `next` of
        the page before.

        `quota` as in `update_presence`, except that a full Redis lets the call pass uncounted.
        Raises TooManyCalls.
        """
        record = self._record(record_type, record_id)
        check_arrival("after", after)
        arguments = self._list_arguments(without_user, known_version, limit, quota)
        reply = self._run("viewers", keys_with_quota(record, quota), (*arguments, after, MAX_REPLY_BYTES))
        return _decode_viewer_list(reply, without_user, limit, after)

    def list_viewers_of(
        self,
        records: Sequence[tuple[str, str | int]],
        *,
        without_user: UserId | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[ViewerList]:
        """The viewers of many records, in few round trips; the order is that of `records`.

        All lists together are at most 1 MB of JSON, of which each has an equal share. Where
        one is cut, `list_viewers` goes on from its `next`.
        """
        if not records:
            return []
        calls = []
        max_bytes = MAX_REPLY_BYTES // len(records)
        for record_type, record_id in records:
            keys = keys_with_quota(self._record(record_type, record_id), None)
            arguments = self._list_arguments(without_user, None, limit, None)
            calls.append((keys, (*arguments, 0, max_bytes)))
        lists: list[ViewerList] = []
        turn = Turn()
        for first in range(0, len(calls), RECORDS_AT_A_TIME):
            some = calls[first : first + RECORDS_AT_A_TIME]
            for call, reply in zip(some, self._scripts.run_many(self._redis, "viewers", some), strict=True):
                complete = self._run("viewers", *call) if reply[0] == "SWEEP_FIRST" else reply
                lists.append(_decode_viewer_list(complete, without_user, limit, 0))
                turn.pause_if_over()
        return lists

    def _list_arguments(
        self, without_user: UserId | None, known_version: str | None, limit: int, quota: Quota | None
    ) -> tuple[Any, ...]:
        check_limit(limit)
        user = "" if without_user is None else encode_user_id(without_user)
        return (
            version_argument(known_version),
            limit + (user != ""),
            user,
            self._lease_ms,
            new_nonce(),
            self._timeline_ms,
            *quota_arguments(quota),
        )

    def get_presence(self, record_type: str, record_id: str | int) -> dict[str, Tab]:
        """Every live tab, by tab id."""
        tabs: dict[str, Tab] = {}
        after: str | None = ""
        while after is not None:
            page = self.list_tabs(record_type, record_id, after=after)
            tabs |= page.tabs
            after = page.next
        return tabs

    def list_tabs(
        self, record_type: str, record_id: str | int, *, after: str = "", limit: int = DEFAULT_TABS_LIMIT
    ) -> TabsPage:
        """Live tabs, those first whose leases end first; as many as fit into 150 KB of JSON.

        `after` is the `next` of the page before. A tab that beats meanwhile may be on both
        pages; none is missing.
        """
        record = self._record(record_type, record_id)
        check_limit(limit)
        check_tab_cursor("after", after)
        arguments = (self._lease_ms, new_nonce(), self._timeline_ms, after, limit, MAX_TABS_BYTES)
        _, is_cut, *rows = self._run("tabs", record.keys, arguments)
        tabs, cursor = {}, after
        for tab_id, lease_end, state in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            lease_end_ms = int(float(lease_end))
            tabs[tab_id] = decode_tab(state, lease_end_ms, self._lease_ms)
            cursor = f"{lease_end_ms}-{tab_id}"
        return TabsPage(tabs, cursor if is_cut else None)


def _decode_viewer_list(reply: list[Any], without_user: UserId | None, limit: int, after: int) -> ViewerList:
    if reply[0] == "UNCHANGED":
        return ViewerList(reply[1])
    _, version, is_viewing, is_cut, total, opened_ms, remembered_since_ms, *texts = reply[:10]
    pairs = reply[10:]
    user = None if without_user is None else encode_user_id(without_user)
    viewers, last_arrival, is_over_limit = decode_viewer_page(pairs, limit, int(opened_ms), without=user)
    conflicts = decode_conflict_state(remembered_since_ms, *texts)
    has_more = is_cut or is_over_limit
    return ViewerList(
        version,
        viewers,
        total - is_viewing,
        conflicts,
        next=(last_arrival or after) if has_more else None,
    )
