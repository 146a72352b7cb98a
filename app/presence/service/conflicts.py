"""Saves, claims, and what a write would run into."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from ..codec import decode_claim, decode_conflict_state, decode_holders, encode_save, encode_user_id
from ..errors import InvalidPresence
from ..field_check import FieldCheck, field_check, name_contenders
from ..json_codec import encode_text
from ..results import ClaimRefusal, ClaimResult, DeclineResult, SaveRefusal, SaveResult
from ..validation import check_field_names, check_lock_version, check_tab, clean_name
from ..versions import new_nonce
from ..viewers import UserId
from .base import ServiceBase

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


class ConflictCalls(ServiceBase):
    """The calls of those who write."""

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
        return SaveResult(True, None, *name_contenders(decode_holders(sorted(set(fields)), holders, pairs)))

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
            decode_holders(fields, holders, pairs),
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
