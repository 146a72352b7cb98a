"""Record presence for one tenant: who has a record open right now."""

import json
import time
from collections.abc import Sequence
from functools import cache
from random import random
from typing import Any, Literal

from .codec import (
    agent_id_end,
    decode_claim,
    decode_conflict_state,
    decode_entries,
    decode_holders,
    decode_tab,
    decode_viewer_page,
    encode_save,
    encode_user_id,
    tabs_of,
    user_of,
)
from .errors import (
    InvalidPresence,
    NoOpenIndex,
    StoreUnavailable,
    TabHasLeft,
    TabOwnedByAnotherUser,
    TooManyCalls,
    TooManyTabs,
    TooMuchKeptOfTenant,
)
from .field_check import FieldCheck, Holders, field_check, name_contenders
from .forecast import forecast
from .inspection import Inspection, decode_inspection
from .json_codec import encode_text
from .limits import (
    DEFAULT_CLAIM_IDLE_SECONDS,
    DEFAULT_LIMIT,
    DEFAULT_TABS_LIMIT,
    DEFAULT_TTL_SECONDS,
    MAX_INSPECTED_BYTES,
    MAX_OPEN_PAGE,
    MAX_REPLY_BYTES,
    MAX_SWEEP_SECONDS,
    MAX_TABS_BYTES,
    MAX_TABS_PER_USER,
    NO_LIMIT,
    Quota,
)
from .open_records import OpenRecords
from .open_summary import decode_summary
from .profile import Profile, make_profile
from .records import Record, tenant_text
from .results import (
    ClaimRefusal,
    ClaimResult,
    DeclineResult,
    Forgotten,
    OpenPage,
    SaveRefusal,
    SaveResult,
    TabsPage,
    TimelinePage,
    ViewerList,
)
from .scripts import Scripts
from .stamps import check_sent_at, encode_stamp
from .tab_state import TabState
from .validation import (
    check_arrival,
    check_entry_id,
    check_field_names,
    check_limit,
    check_lock_version,
    check_removal_reason,
    check_seconds,
    check_tab,
    check_tab_cursor,
    clean_name,
    record_errors,
)
from .versions import VERSION_PATTERN, microseconds_of, new_nonce
from .viewers import AgentId, Tab, UserId, Viewer

# In the place of a known version: list no viewers, or list them in any case.
_LIST_NEVER, _LIST_ALWAYS = "", "?"

# Of the status words of the scripts `saved` and `claim`.
_SAVE_REFUSALS: dict[str, SaveRefusal] = {
    "ABSENT": "nobody_there",
    "NOT_EDITING": "not_editing",
    "KNOWN": "already_told",
    "FORGOTTEN": "version_too_old",
    "TOO_FAR": "version_too_far",
}
_CLAIM_REFUSALS: dict[str, ClaimRefusal] = {
    "ABSENT": "not_editing",
    "NOT_EDITING": "not_editing",
    "TOO_MANY": "too_many",
    "TAKEN_RECENTLY": "taken_recently",
}


class RecordPresenceService:
    """Presence of one tenant's records, on any redis-py client.

    Needs no Flask. Every call is one atomic script on Redis and takes its time
    from Redis. A tab lives `ttl_seconds` after its last `update_presence`. The
    timeline of a record is kept for `timeline_seconds`; 0 keeps none. For
    `recovery_grace_seconds` after Redis has lost all data, lists are marked as
    unconfirmed. Whoever has claimed a field that others wait for, and is away for
    `claim_idle_seconds`, loses it to them. With `has_open_index`, whoever comes is also noted
    in the tenant's indexes of open records, which `list_open_records` and `forget_user` read:
    another command, for those who come only.

    Every method raises InvalidPresence for names and values outside the
    contract (before Redis is asked), and StoreUnavailable when Redis gives no answer.

    >>> service = RecordPresenceService(redis.Redis(), tenant_id=1)
    >>> service.update_presence("flow", 12, "tab-1", user_id=42, user_name="Alice", mode="edit")
    >>> service.get_unique_viewers("flow", 12)
    [{'id': 42, 'name': 'Alice', 'tabs': 1, 'mode': 'edit', ...}]
    """

    def __init__(
        self,
        redis: Any,
        tenant_id: int | str,
        *,
        ttl_seconds: float = DEFAULT_TTL_SECONDS,
        timeline_seconds: float = 0,
        recovery_grace_seconds: float = 0,
        claim_idle_seconds: float = DEFAULT_CLAIM_IDLE_SECONDS,
        has_open_index: bool = False,
        scripts: Scripts | None = None,
    ) -> None:
        for name, seconds in (
            ("ttl_seconds", ttl_seconds),
            ("timeline_seconds", timeline_seconds),
            ("recovery_grace_seconds", recovery_grace_seconds),
            ("claim_idle_seconds", claim_idle_seconds),
        ):
            check_seconds(name, seconds)
        for name, seconds in (("ttl_seconds", ttl_seconds), ("claim_idle_seconds", claim_idle_seconds)):
            if seconds == 0:
                raise InvalidPresence({name: ["Must be greater than 0."]})
        self._redis = redis
        self._tenant = tenant_text(tenant_id)
        self._lease_ms = max(1, round(ttl_seconds * 1000))
        self._timeline_ms = round(timeline_seconds * 1000)
        self._recovery_grace_ms = round(recovery_grace_seconds * 1000)
        self._claim_idle_ms = max(1, round(claim_idle_seconds * 1000))
        self._scripts = scripts or _shared_scripts()
        self._open_records: OpenRecords | None = None
        if has_open_index:
            self._open_records = OpenRecords(
                redis, self._scripts, self._tenant, lease_ms=self._lease_ms, timeline_ms=self._timeline_ms
            )

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
            self._lease_ms,
            _version_argument(known_version) if list_viewers else _LIST_NEVER,
            limit + 1,  # the caller may be among them, and is left out
            new_nonce(),
            self._timeline_ms,
            *_quota_arguments(quota),
            int(may_join),
            encode_stamp(arrived_us, sent_at),
            profile.text if profile else "",
        )
        open_records = self._open_records
        keys = (*_keys_with_quota(record, quota), record.left_key)
        try:
            reply = self._run("heartbeat", keys, arguments, tab_id)
        except StoreUnavailable:
            if open_records is not None:
                open_records.note_later(record, user_id)
            raise
        if len(reply) == 2:  # nothing has changed
            if open_records is not None and random() < open_records.chance:  # noqa: S311
                open_records.note_by_chance(record, user_id)
            return ViewerList(reply[1])
        left_out = json.loads(reply.pop(2)) if reply[0] == "TRIMMED" else None
        has_joined = reply[3] == 1
        if open_records is not None:
            if has_joined:
                open_records.note(record, user_id)
            elif random() < open_records.chance:  # noqa: S311
                open_records.note_by_chance(record, user_id)
        if len(reply) == 4:
            return ViewerList(reply[1], left_out=left_out, timeline_bytes=reply[2], has_joined=has_joined)
        _, version, timeline_bytes, _, total, opened_ms, remembered_since_ms, *texts = reply[:10]
        pairs, holders = _split_holders(reply[10:])
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
                tab_id=tab_id,
                user_id=user_id,
                base_version=base_version,
                dirty_fields=sorted(set(dirty_fields)),
                own_tabs=tabs - 1,
                own_fields=own_fields,
                holders=holders,
            )
        is_unconfirmed = self._is_unconfirmed(known_version, version, int(opened_ms))
        return ViewerList(
            version,
            others,
            total - 1,
            conflicts,
            ahead,
            is_unconfirmed,
            left_out,
            next=last_arrival if len(others) < total - 1 else None,
            timeline_bytes=timeline_bytes,
            has_joined=has_joined,
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

    def record_saved(
        self,
        record_type: str,
        record_id: str | int,
        lock_version: int,
        fields: Sequence[str],
        user_id: UserId,
        user_name: str,
        tab_id: str | None = None,
    ) -> bool:
        """Tell the record's viewers that the user has saved this version, on the word of the host.

        True if they were told, by this call or by the same one before. The host's word
        wins: over what a viewer has told of the same version, and over all higher
        versions, which are forgotten, as after a backup was restored. `tab_id` is where
        it was saved; that tab need not be live any more. Raises TabOwnedByAnotherUser.
        """
        save = (record_type, record_id, lock_version, fields, user_id, user_name, tab_id)
        return self.announce_save(*save, told_by="host").is_announced

    def announce_save(
        self,
        record_type: str,
        record_id: str | int,
        lock_version: int,
        fields: Sequence[str],
        user_id: UserId,
        user_name: str,
        tab_id: str | None,
        *,
        told_by: Literal["host", "viewer"],
    ) -> SaveResult:
        """As `record_saved`, of the host or of a viewer, and says why nobody was told.

        A viewer must have the record open in this tab, in mode edit. They are not
        believed where somebody else has told of the version, nor when it is more than
        1,000 above all that are remembered. The result says whose unsaved fields the save
        has touched. Raises TabOwnedByAnotherUser.
        """
        record = self._record(record_type, record_id)
        if tab_id is not None:
            check_tab(tab_id)
        check_field_names("fields", fields)
        check_lock_version("lock_version", lock_version)
        save = encode_save(lock_version, encode_user_id(user_id), clean_name(user_name), tab_id, fields)
        arguments = (save, self._lease_ms, new_nonce(), self._timeline_ms, told_by)
        status, *found = self._run("saved", record.keys, arguments, tab_id)
        if status != "OK":
            return SaveResult(False, _SAVE_REFUSALS[status])
        if told_by == "host" and self._open_records is not None:
            # The user may have no tab, and the record keeps their name.
            self._open_records.note(record, user_id)
        holders, *pairs = found
        return SaveResult(True, None, *name_contenders(decode_holders(holders, pairs)))

    def check_fields(
        self,
        record_type: str,
        record_id: str | int,
        fields: Sequence[str],
        *,
        base_version: int | None = None,
        user_id: UserId | None = None,
        tab_id: str | None = None,
    ) -> FieldCheck:
        """What writing these 1 to 100 fields would run into, however many viewers there are. Changes nothing.

        `stale` are those that another tab has saved after `base_version`, and none without it;
        `contested`, those that somebody has unsaved in another tab than `tab_id`, the asker's own;
        `claimed`, those that another tab has claimed. The field `*` is the whole record. Raises
        TabOwnedByAnotherUser where `user_id` is given and `tab_id` is a live tab of somebody else.
        """
        record = self._record(record_type, record_id)
        check_field_names("fields", fields)
        if not fields:
            raise InvalidPresence({"fields": ["Must not be empty."]})
        if tab_id is not None:
            check_tab(tab_id)
        if base_version is not None:
            check_lock_version("base_version", base_version)
        user = "" if user_id is None else encode_user_id(user_id)
        timings = (self._lease_ms, new_nonce(), self._timeline_ms)
        reply = self._run(
            "check", record.keys, (encode_text(list(fields)), tab_id or "", user, *timings), tab_id
        )
        _, version, remembered_since_ms, saves, claims, holders, *pairs = reply
        return field_check(
            version,
            decode_conflict_state(remembered_since_ms, saves, claims),
            decode_holders(holders, pairs),
            fields,
            base_version=base_version,
            tab_id=tab_id,
        )

    def claim_field(
        self,
        record_type: str,
        record_id: str | int,
        tab_id: str,
        user_id: UserId,
        field: str,
        *,
        take_over: bool = False,
        wait: bool = False,
    ) -> ClaimResult:
        """Say that a tab works on a field. The claim ends with the tab, or when it is released.

        The field `*` is the whole record: nobody else can then claim a field of it, nor `*`
        where others have claimed one.

        A field that another tab has claimed is granted only with `take_over`, and
        everybody is told whom it was taken from; then not to anybody else for 5
        seconds, except that the other user may take it back. Granted only to a live tab
        in mode edit, and only 20 times to a user. If the record has 100 claims, the user
        with most of them loses the oldest.

        With `wait`, the tab waits for a field that it can't have yet, and has it as soon as the
        other tab lets it go, leaves, or its user is away for `claim_idle_seconds`; then the claim
        says `passed_from`. A user waits 20 times at most, and a record has room for 100.

        Raises TabOwnedByAnotherUser, and InvalidPresence where both are asked for.
        """
        if take_over and wait:
            raise InvalidPresence({"wait": ["Must not be given together with take_over."]})
        action = "take" if take_over else "wait" if wait else "claim"
        return self._claim(record_type, record_id, tab_id, user_id, field, action)

    def release_field(
        self, record_type: str, record_id: str | int, tab_id: str, user_id: UserId, field: str
    ) -> ClaimResult:
        """End the tab's claim on a field, or its waiting for it, if any. Raises TabOwnedByAnotherUser.

        The first who waits for the field has it then.
        """
        return self._claim(record_type, record_id, tab_id, user_id, field, "release")

    def decline_waiting(
        self, record_type: str, record_id: str | int, tab_id: str, user_id: UserId, field: str
    ) -> DeclineResult:
        """Send away those who wait for the tab's claim on a field. Raises TabOwnedByAnotherUser.

        They are told by the next list of claims, in which they do not wait any more.
        """
        reply = self._run_claim(record_type, record_id, tab_id, user_id, field, "decline")
        return DeclineResult(reply[3], reply[2]) if reply[0] == "OK" else DeclineResult(0)

    def _claim(
        self, record_type: str, record_id: str | int, tab_id: str, user_id: UserId, field: str, action: str
    ) -> ClaimResult:
        reply = self._run_claim(record_type, record_id, tab_id, user_id, field, action)
        status, row, version, place = (*reply, "", None, None)[:4] if len(reply) == 1 else (*reply, None)[:4]
        claim = None
        if row:
            claimed_field, claim = decode_claim(json.loads(row))
            if claimed_field != field:
                claim["field"] = claimed_field
        return ClaimResult(status == "OK", claim, _CLAIM_REFUSALS.get(status), version, place)

    def _run_claim(
        self, record_type: str, record_id: str | int, tab_id: str, user_id: UserId, field: str, action: str
    ) -> list[Any]:
        record = self._record(record_type, record_id)
        check_tab(tab_id)
        check_field_names("field", [field])
        timings = (self._lease_ms, new_nonce(), self._timeline_ms, self._claim_idle_ms)
        arguments = (tab_id, encode_user_id(user_id), field, action, *timings)
        return self._run("claim", record.keys, arguments, tab_id)

    def get_timeline(
        self, record_type: str, record_id: str | int, *, since: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> TimelinePage:
        """What happened to the record after the entry `since`, oldest first.

        At most 1,000 entries and 256 KB are kept, for `timeline_seconds`; for two leases
        where no two users have had the record open at once. Reads the entries before
        `since` as well. A page has at most 1 MB of JSON.
        """
        record = self._record(record_type, record_id)
        check_limit(limit)
        if since is not None:
            check_entry_id("since", since)
        reply = self._run(
            "timeline",
            record.keys,
            (since or "", limit + 1, self._lease_ms, new_nonce(), self._timeline_ms),
        )
        _, is_cut, earlier, *pairs = reply
        entries, is_full = decode_entries(pairs, earlier=earlier, max_bytes=MAX_REPLY_BYTES)
        has_more = is_cut or is_full or len(entries) > limit
        return TimelinePage(entries[:limit], entries[:limit][-1]["id"] if has_more else None)

    def inspect(
        self, record_type: str, record_id: str | int, *, after: str = "", limit: int = DEFAULT_TABS_LIMIT
    ) -> Inspection:
        """What Redis holds of the record, and why each tab is shown or not. Changes nothing.

        Cut and to be continued like `list_tabs`. Fields without a lease are on the last page.
        """
        record = self._record(record_type, record_id)
        check_limit(limit)
        check_tab_cursor("after", after)
        reply = self._run("inspect", record.keys[:3], (after, limit, MAX_INSPECTED_BYTES))
        return decode_inspection(reply[1:], self._lease_ms)

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
            _keys_with_quota(record, quota),
            (tab_id, user, message, self._lease_ms, *_quota_arguments(quota)),
            tab_id,
        )
        return bool(reply[0] == "OK")

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
        reply = self._run("viewers", _keys_with_quota(record, quota), (*arguments, after, MAX_REPLY_BYTES))
        return _decode_viewer_list(reply, without_user, limit, after)

    def list_viewers_of(
        self,
        records: Sequence[tuple[str, str | int]],
        *,
        without_user: UserId | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[ViewerList]:
        """The viewers of many records, in one round trip; the order is that of `records`.

        All lists together are at most 1 MB of JSON, of which each has an equal share. Where
        one is cut, `list_viewers` goes on from its `next`.
        """
        if not records:
            return []
        calls = []
        max_bytes = MAX_REPLY_BYTES // len(records)
        for record_type, record_id in records:
            keys = _keys_with_quota(self._record(record_type, record_id), None)
            arguments = self._list_arguments(without_user, None, limit, None)
            calls.append((keys, (*arguments, 0, max_bytes)))
        replies = self._scripts.run_many(self._redis, "viewers", calls)
        return [
            _decode_viewer_list(
                self._run("viewers", *call) if reply[0] == "SWEEP_FIRST" else reply, without_user, limit, 0
            )
            for call, reply in zip(calls, replies, strict=True)
        ]

    def list_open_records(
        self,
        record_type: str | None = None,
        *,
        user_id: UserId | None = None,
        after: str = "",
        limit: int = MAX_OPEN_PAGE,
    ) -> OpenPage:
        """The open records of a type, or those that a user has open, each summed up in at most 1 MB of JSON.

        Looks at no more than `limit` records (100 at most) that may be open, and a page has those that
        are: perhaps none, although there is a `next`. `after` is the `next` of the page before. A record
        that somebody comes to meanwhile may be on two pages.

        Those of a type come first that nobody has come to for longest; those of a user, the other way
        round. Raises NoOpenIndex without `has_open_index`.
        """
        index = self._index()
        if type(limit) is not int or not 1 <= limit <= MAX_OPEN_PAGE:
            raise InvalidPresence({"limit": [f"Must be an integer, 1 to {MAX_OPEN_PAGE}."]})
        if record_type is not None and (errors := record_errors(record_type, "1")):
            raise InvalidPresence(errors)
        if user_id is not None:
            user = encode_user_id(user_id)
            page = index.page_of_user(user_id, after, limit)
            records = [Record(self._tenant, *noted.record.split(":", 1)) for noted in page.found]
        elif record_type is not None:
            user = ""
            page = index.page_of_type(record_type, after, limit)
            records = [Record(self._tenant, record_type, noted.record) for noted in page.found]
        else:
            raise InvalidPresence({"type": ["Must be given, unless a user is."]})
        replies = index.summarize(records, user=user, max_bytes=MAX_REPLY_BYTES // limit)
        shown, closed = [], []
        for noted, record, reply in zip(page.found, records, replies, strict=True):
            if reply[0] == "SWEEP_FIRST":
                arguments = index.summary_arguments(user, MAX_REPLY_BYTES // limit)
                reply = self._run("summary", record.keys, arguments)
            total, viewer = reply[1], reply[5]
            if total == 0:
                closed.append((noted, False))
            elif user_id is None or (viewer and record_type in (None, record.type)):
                shown.append(decode_summary(record.name, reply[1:], user_id))
        if record_type is not None and user_id is None:
            index.tell_if_possible(index.type_key(record_type), closed)
        return OpenPage(shown, page.next)

    def forget_user(self, user_id: UserId, records: Sequence[tuple[str, str | int]] = ()) -> Forgotten:
        """Erase what is kept of a user, and of their agents.

        Their tabs, claims and goodbyes, their entries in timelines, and who they were in saves and in
        claims that others took over, of all records in their index and of `records`. A page
        that is still open comes back with its next heartbeat. May be called again.
        """
        user, agent_end = encode_user_id(user_id), agent_id_end(user_id)
        found = self._open_records.all_of_user(user_id) if self._open_records else []
        named = {noted.record: Record(self._tenant, *noted.record.split(":", 1)) for noted in found}
        for record in (self._record(*names) for names in records):
            named[record.name] = record
        counts = [0, 0, 0, 0]
        touched = 0
        for record in named.values():
            arguments = (user, agent_end, self._lease_ms, new_nonce(), self._timeline_ms)
            reply = self._run("forget", (*record.keys, record.left_key), arguments)
            touched += any(reply[1:])
            counts = [count + more for count, more in zip(counts, reply[1:], strict=True)]
        if self._open_records:
            key = self._open_records.user_key(user_id)
            self._open_records.tell(key, [(noted, False) for noted in found])
        return Forgotten(touched, *counts)

    def _index(self) -> OpenRecords:
        if self._open_records is None:
            raise NoOpenIndex
        return self._open_records

    def _run(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], tab_id: str | None = None
    ) -> list[Any]:
        """The reply of a script. Raises what it refuses; `tab_id` is the tab that this may be about."""
        reply = self._scripts.run(self._redis, name, keys, arguments)
        if reply[0] == "SWEEP_FIRST":
            self._sweep(keys)
            reply = self._scripts.run(self._redis, name, keys, arguments)
            if name == "heartbeat" and len(reply) == 2:
                reply += (0, 1)  # whether the user has joined, only the first run knew
        if reply[0] == "SWEEP_FIRST":
            raise StoreUnavailable(f"{name}: leases end faster than they can be swept")
        if reply[0] == "TAB_TAKEN":
            raise TabOwnedByAnotherUser(tab_id)
        if reply[0] == "TAB_LEFT":
            raise TabHasLeft(tab_id)
        if reply[0] == "THROTTLED":
            raise TooManyCalls(reply[1] / 1000)
        if reply[0] == "NO_ROOM":
            raise TooMuchKeptOfTenant(self._lease_ms / 1000)
        if reply[0] == "TOO_MANY_TABS":
            # A lease is the longest that a tab can take to make room after its page is gone.
            raise TooManyTabs(MAX_TABS_PER_USER, self._lease_ms / 1000)
        return reply

    def _sweep(self, keys: Sequence[str]) -> None:
        """Sweep a record of which more leases are over than one script may sweep, at some ms each.

        Others have their turn in between. Raises StoreUnavailable where it takes too long.
        """
        give_up_at = time.monotonic() + MAX_SWEEP_SECONDS
        next_ms = 0
        while next_ms == 0:
            if time.monotonic() > give_up_at:
                raise StoreUnavailable("watch: too many leases are over to sweep them now")
            arguments = (_LIST_ALWAYS, 0, self._lease_ms, new_nonce(), self._timeline_ms, 0, 0)
            _, _, next_ms = self._scripts.run(self._redis, "watch", keys[:6], arguments)

    def _record(self, record_type: str, record_id: str | int) -> Record:
        is_integer = isinstance(record_id, int) and not isinstance(record_id, bool)
        name = str(record_id) if is_integer else record_id
        if errors := record_errors(record_type, name):
            raise InvalidPresence(errors)
        return Record(self._tenant, record_type, str(name))

    def _list_arguments(
        self, without_user: UserId | None, known_version: str | None, limit: int, quota: Quota | None
    ) -> tuple[Any, ...]:
        check_limit(limit)
        user = "" if without_user is None else encode_user_id(without_user)
        return (
            _version_argument(known_version),
            limit + (user != ""),
            user,
            self._lease_ms,
            new_nonce(),
            self._timeline_ms,
            *_quota_arguments(quota),
        )


def _split_holders(items: list[str]) -> tuple[list[str], dict[str, Holders] | None]:
    """The pairs of a list of viewers; and where it is cut, who has the same fields unsaved."""
    if "" not in items[::2]:
        return items, None
    end = 2 * items[::2].index("")
    return items[:end], decode_holders(items[end + 1], items[end + 2 :])


def _keys_with_quota(record: Record, quota: Quota | None) -> tuple[str, ...]:
    """The keys of a script that counts calls; without a quota it does not touch the seventh."""
    return (*record.keys, quota.key if quota else record.tabs_key)


def _quota_arguments(quota: Quota | None) -> tuple[int, int]:
    """The last two arguments of such a script; a limit of 0 counts nothing."""
    return (quota.limit, quota.window_ms) if quota else (0, 0)


def _version_argument(known_version: str | None) -> str:
    """What a script compares with the record's version, which is ASCII."""
    return known_version if known_version and known_version.isascii() else _LIST_ALWAYS


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


@cache
def _shared_scripts() -> Scripts:
    return Scripts()
