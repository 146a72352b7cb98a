"""Tabs that come, stay, signal and go."""

import json
from collections.abc import Sequence
from random import random
from typing import Any

from ..codec import (
    decode_conflict_state,
    decode_holders,
    decode_viewer_page,
    encode_user_id,
    tabs_of,
    user_of,
)
from ..errors import InvalidPresence, StoreUnavailable
from ..field_check import Holders
from ..forecast import forecast
from ..limits import DEFAULT_LIMIT, Quota
from ..open_records import OpenRecords
from ..profile import Profile, make_profile
from ..records import Record
from ..results import ViewerList
from ..stamps import check_sent_at, encode_stamp
from ..tab_state import TabState
from ..validation import check_limit, check_lock_version, check_removal_reason, check_tab, clean_name
from ..versions import VERSION_PATTERN, microseconds_of, new_nonce
from ..viewers import AgentId, LeftOut, UserId
from .base import LIST_NEVER, ServiceBase, keys_with_quota, quota_arguments, version_argument


class TabCalls(ServiceBase):
    """The calls of a page that has a record open."""

    def update_presence(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId,
        user_name: str,
        mode: str = "view",
        dirty: bool = False,
        *,
        active_field: str | None = None,
        dirty_fields: Sequence[str] = (),
        base_version: int | None = None,
        visible: bool = True,
        active: bool | None = None,
        profile: Profile | None = None,
        known_version: str | None = None,
        list_viewers: bool = False,
        limit: int = DEFAULT_LIMIT,
        lease_seconds: float | None = None,
        quota: Quota | None = None,
        may_join: bool = True,
        is_logged: bool = True,
        arrived_us: int | None = None,
        sent_at: int | None = None,
    ) -> ViewerList:
        """Register a tab or renew its lease, with what its user is doing in it.

        `active`: the tab is on the screen, and its user has done something in the last minutes;
        `visible` where it is None. A user none of whose tabs is active is away. `profile` is
        kept once for all tabs of the user, whichever brings it. A program is shown as a viewer
        of its own where `user_id` is an AgentId.

        With `list_viewers`, the result has the other viewers, at most `limit`,
        unless `known_version` is still the version of the record; and with the
        `base_version` that the tab has loaded, a forecast of what saving its
        `dirty_fields` would run into. `lease_seconds` shortens this lease, for an
        identity that expires sooner. `quota` is counted in the same script; not
        on a Cluster, where its key lies in another slot.

        A user's tabs may together be in 20 fields, and have 200 fields of 8,192
        bytes unsaved. What is beyond that is not recorded and stands in `left_out`;
        the tab lives all the same, and its forecast is of all `dirty_fields`.

        Without `is_logged`, the timeline does not tell of the tab, nor later of its end.
        Without `may_join`, only a live tab is renewed or changed.

        A tab that has said goodbye comes back, and then changes, only by a call that was made after it:
        `arrived_us` is when this one reached the application (µs since the epoch; now
        where it is None), and `sent_at` when the client sent it, in ms of its own clock,
        which decides where the goodbye had one too.

        Raises TabOwnedByAnotherUser and TooManyCalls; TabHasLeft for a call from before a
        goodbye; for a new tab TooManyTabs where its user has 50 live ones on this record,
        and TooMuchKeptOfTenant without `may_join`.
        """
        record = self._record(record_type, record_id)
        profile = profile or (make_profile(user_id) if type(user_id) is AgentId else None)
        tab = TabState(
            tab_id,
            user_id,
            user_name,
            mode,
            dirty,
            active_field,
            dirty_fields,
            visible,
            active,
            lease_seconds,
            profile.digest if profile else None,
            is_logged,
        )
        tab.check()
        check_limit(limit)
        if base_version is not None:
            check_lock_version("base_version", base_version)
        if sent_at is not None:
            check_sent_at(sent_at)
        user = encode_user_id(user_id)
        state, lease_ms = tab.encode(user, self._lease_ms)
        arguments = (
            tab_id,
            state,
            lease_ms,
            version_argument(known_version) if list_viewers else LIST_NEVER,
            *quota_arguments(quota),
            self._lease_ms,
            limit + 1,  # the caller may be among them, and is left out
            new_nonce(),
            self._timeline_ms,
            int(may_join),
            encode_stamp(arrived_us, sent_at),
            profile.text if profile else "",
        )
        keys = (*keys_with_quota(record, quota), record.left_key)
        reply, left_out = self._run_heartbeat(record, tab_id, user_id, keys, arguments)
        if len(reply) == 2:
            return ViewerList(reply[1])
        if len(reply) == 4:
            return ViewerList(reply[1], left_out=left_out, timeline_bytes=reply[2], has_joined=reply[3] == 1)
        return self._decode_list(reply, tab, user, limit, base_version, known_version, left_out)

    def _run_heartbeat(
        self, record: Record, tab_id: str, user_id: UserId, keys: Sequence[str], arguments: Sequence[Any]
    ) -> tuple[list[Any], LeftOut | None]:
        """The script's reply, and what it has left out; the index of open records learns of the tab."""
        open_records = self._open_records
        try:
            reply = self._run("heartbeat", keys, arguments, tab_id)
        except StoreUnavailable:
            if open_records is not None:
                open_records.note_later(record, user_id)
            raise
        left_out = json.loads(reply.pop(2)) if reply[0] == "TRIMMED" else None
        if open_records is not None:
            has_joined = len(reply) > 2 and reply[3] == 1
            _note_open(open_records, record, user_id, has_joined)
        return reply, left_out

    def _decode_list(
        self,
        reply: list[Any],
        tab: TabState,
        user: str,
        limit: int,
        base_version: int | None,
        known_version: str | None,
        left_out: LeftOut | None,
    ) -> ViewerList:
        """The other viewers in a heartbeat's reply, and what the tab's user would run into by saving."""
        _, version, timeline_bytes, has_joined, total, opened_ms, remembered_since_ms, *texts = reply[:10]
        pairs, holders = _split_holders(reply[10:], sorted(set(tab.dirty_fields)))
        others, last_arrival, is_cut = decode_viewer_page(pairs, limit, int(opened_ms), without=user)
        conflicts = decode_conflict_state(remembered_since_ms, *texts)
        ahead = None
        if base_version is not None:
            tabs, own_fields = tabs_of(pairs, user)
            is_all = not is_cut or holders is not None
            viewers = others if is_all else decode_viewer_page(pairs, None, int(opened_ms), without=user)[0]
            ahead = forecast(
                conflicts,
                viewers,
                tab_id=tab.tab_id,
                user_id=tab.user_id,
                base_version=base_version,
                dirty_fields=sorted(set(tab.dirty_fields)),
                own_tabs=tabs - 1,
                own_fields=own_fields,
                holders=holders,
            )
        return ViewerList(
            version,
            others,
            total - 1,
            conflicts,
            ahead,
            self._is_unconfirmed(known_version, version, int(opened_ms)),
            left_out,
            next=last_arrival if len(others) < total - 1 else None,
            timeline_bytes=timeline_bytes,
            has_joined=has_joined == 1,
        )

    def _is_unconfirmed(self, known_version: str | None, version: str, opened_ms: int) -> bool:
        """Whether the record was reopened a moment ago although somebody had known it before that.

        If a tab was lost, this very heartbeat has made the version, by Redis's clock.
        """
        if not known_version or not VERSION_PATTERN.match(known_version):
            return False
        known_us, now_ms = microseconds_of(known_version), microseconds_of(version) // 1000
        return 0 < known_us < opened_ms * 1000 and now_ms - opened_ms < self._recovery_grace_ms

    def remove_presence(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId | None = None,
        *,
        reason: str = "left",
        arrived_us: int | None = None,
        sent_at: int | None = None,
    ) -> bool:
        """Remove a tab at once; True if it was there.

        With `user_id`, raises TabOwnedByAnotherUser for a live tab of somebody
        else; without it, the tab is removed regardless of its owner. The `reason` (`left`
        or `evicted`) is announced if it was the user's last tab. For two leases, no
        heartbeat that was made before this call brings the tab back, whether or not it was
        there; `arrived_us` and `sent_at` as in `update_presence`.
        """
        record = self._record(record_type, record_id)
        check_tab(tab_id)
        check_removal_reason(reason)
        if sent_at is not None:
            check_sent_at(sent_at)
        reply = self._run(
            "leave",
            (*record.keys, record.left_key),
            (
                tab_id,
                "" if user_id is None else encode_user_id(user_id),
                reason,
                self._lease_ms,
                new_nonce(),
                self._timeline_ms,
                encode_stamp(arrived_us, sent_at),
            ),
            tab_id,
        )
        return bool(reply[0] == "OK")

    def send_signal(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId,
        user_name: str,
        kind: str,
        data: Any = None,
        *,
        quota: Quota | None = None,
    ) -> bool:
        """Pass on to the record's streams what a tab's user is doing just now; nothing of it is stored.

        False when the tab is not registered: then nobody was told. Raises
        TabOwnedByAnotherUser and TooManyCalls.
        """
        record = self._record(record_type, record_id)
        check_tab(tab_id)
        user = encode_user_id(user_id)
        signal = {
            "record": record.name,
            "tab_id": tab_id,
            "user": user_of(user_id, clean_name(user_name)),
            "kind": kind,
            "data": data,
        }
        try:
            message = json.dumps({"announce": "signal", "user": user, "data": signal}, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise InvalidPresence({"data": ["Must be JSON."]}) from None
        reply = self._run(
            "signal",
            keys_with_quota(record, quota),
            (tab_id, user, message, self._lease_ms, *quota_arguments(quota)),
            tab_id,
        )
        return bool(reply[0] == "OK")


def _note_open(open_records: OpenRecords, record: Record, user_id: UserId, has_joined: bool) -> None:
    """Keep the index of open records true; costs a heartbeat that changes nothing next to nothing."""
    if has_joined:
        open_records.note(record, user_id)
    elif random() < open_records.chance:  # noqa: S311
        open_records.note_by_chance(record, user_id)


def _split_holders(
    items: list[str], dirty_fields: Sequence[str]
) -> tuple[list[str], dict[str, Holders] | None]:
    """The pairs of a list of viewers; and where it is cut, who has the same fields unsaved."""
    if "" not in items[::2]:
        return items, None
    end = 2 * items[::2].index("")
    return items[:end], decode_holders(dirty_fields, items[end + 1], items[end + 2 :])
