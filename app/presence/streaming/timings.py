"""Every delay and timeout of the streams, in one place because they depend on each other."""

OPEN_TIMEOUT_SECONDS = 1.5  # to subscribe and read, before a new stream is refused

# If a failover leaves the subscription on the old primary, these two are how long it goes unnoticed.
PROBE_INTERVAL_SECONDS = 1.0  # between the messages that a process sends to itself
PROBE_TIMEOUT_SECONDS = 1.5  # for one that Redis has published to arrive
FIRST_MESSAGE_TIMEOUT_SECONDS = 1.5  # a new subscription that stays silent for this long is dead
SILENCE_TIMEOUT_SECONDS = 6.0  # the same after the first message; several probes fit in

MAX_UNCONFIRMED_SECONDS = 3.0  # then the streams of a record end: no answer beats an old one
RETRY_DELAY_SECONDS = 0.5  # between two attempts to reach Redis

REFUSAL_SECONDS = 300.0  # until a node that takes no SSUBSCRIBE is asked again; it may have been upgraded

SWEEP_DELAY_SECONDS = 0.03  # after the end of a lease; Redis counts in milliseconds
MAX_SWEEP_INTERVAL_SECONDS = 20.0  # between two sweeps of a record, whatever its leases
VERSION_CHECK_DELAY_SECONDS = 0.5  # for messages to bring the version that a sweep has reported
