"""The bounds of what callers may send and ask for, and how calls are counted. Lengths are in characters."""

from dataclasses import dataclass

DEFAULT_TTL_SECONDS = 90  # the lease of a tab
DEFAULT_LIMIT = 100  # viewers of a list, or entries of a timeline, in one answer
DEFAULT_TABS_LIMIT = 1000  # tabs in one answer
NO_LIMIT = 2**31  # in the place of a limit: everything

MAX_REPLY_BYTES = 1_000_000  # of a list, as an HTTP answer; where it is cut, `next` says how to go on
MAX_TABS_BYTES = 150_000  # the same of tabs, each of which Redis has to decode
MAX_WATCHED_BYTES = 250_000  # the same of what a process reads for its streams
MAX_INSPECTED_BYTES = 700_000  # the same of tabs, without the sentence about each

MAX_USER_ID_LENGTH = 255  # of an integer: its digits
MAX_USER_NAME_LENGTH = 200  # longer names are cut
MAX_PICTURE_LENGTH = 512  # of its URL
MAX_ABOUT_ENTRIES = 8
MAX_ABOUT_BYTES = 512  # of an `about`: all names and texts, in UTF-8
MAX_FIELD_NAME_LENGTH = 128
MAX_FIELD_NAMES = 100  # in one list
# Of one user on one record, in all of their tabs together; lua/lib/viewer_budget.lua has the same.
MAX_TABS_PER_USER = 50
MAX_ACTIVE_FIELDS = 20  # different ones
MAX_DIRTY_FIELDS = 200  # the same
MAX_DIRTY_FIELDS_BYTES = 8192  # of their names together, in UTF-8
MAX_SAVES = 50  # that a record remembers; the bounds of saves are those of lua/lib/conflicts.lua
MAX_SAVES_BYTES = 32_768  # of them together
MAX_VERSION_STEP = 1_000  # that a save told by a viewer may be above all that are remembered
MAX_TIMELINE_ENTRIES = 1_000  # of a record; lua/lib/timeline_entries.lua
MAX_TIMELINE_BYTES = 262_144  # of them together
MAX_TIMELINE_ENTRY_BYTES = 512  # ids and one name of a field may make it longer
MAX_CLAIMS = 100  # of a record
MAX_CLAIMS_PER_USER = 20
MAX_WAITING = 100  # rows of a record; the bounds of claims and of who waits are those of lua/lib/claims.lua
MAX_WAITING_BYTES = 32_768  # of them together
MAX_WAITING_PER_USER = 20
MAX_WAITING_BYTES_PER_USER = 8_192
DEFAULT_CLAIM_IDLE_SECONDS = 120  # that a holder may be away while somebody waits
TAKE_OVER_INTERVAL_MS = 5_000  # between two take-overs of a field
MAX_ARRIVAL = 2**53 - 1  # a viewer's place in the order of arrival, the cursor of a list
MAX_LOCK_VERSION = 2**53 - 1  # the largest integer that JavaScript represents exactly
MAX_SENT_AT = 2**53 - 1  # ms of a client's clock
MAX_TOMBSTONES = 1_000  # of a record: goodbyes that are remembered; lua/lib/tombstones.lua
MAX_OPEN_RECORDS_OF_TYPE = 100_000  # in a tenant's index of open records
MAX_OPEN_RECORDS_OF_USER = 2_000  # in a user's
MAX_UNNOTED_RECORDS = 1_000  # of a tenant, that a process remembers while Redis does not take them
MAX_OPEN_PAGE = 100  # records in one page
MAX_PREPARE_SECONDS = 3.0  # that a call waits until leases that are over are swept, or an index is made
MAX_SECONDS = 366 * 86_400  # of a lease, and of how long a timeline is kept


@dataclass(frozen=True, slots=True)
class Quota:
    """How often a user may call: `limit` calls in each window of `window_ms`, counted at the key `key`."""

    key: str
    limit: int
    window_ms: int
