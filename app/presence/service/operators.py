"""What operators ask: the past, the reasons, all open records, and the end of a user."""

from collections.abc import Sequence

from ..codec import agent_id_end, decode_entries, encode_user_id
from ..errors import InvalidPresence, NoOpenIndex
from ..inspection import Inspection, decode_inspection
from ..limits import DEFAULT_LIMIT, DEFAULT_TABS_LIMIT, MAX_INSPECTED_BYTES, MAX_OPEN_PAGE, MAX_REPLY_BYTES
from ..open_records import OpenRecords
from ..open_summary import decode_summary
from ..records import Record
from ..results import Forgotten, OpenPage, TimelinePage
from ..validation import check_entry_id, check_limit, check_tab_cursor, record_errors
from ..versions import new_nonce
from ..viewers import UserId
from .base import ServiceBase


class OperatorCalls(ServiceBase):
    """The calls of operators, and of the programs of a tenant."""

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
