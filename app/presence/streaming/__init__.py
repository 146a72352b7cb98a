"""Presence pushed to event streams: few subscriptions per process, fanned out to any number of streams.

A `Topic` is a record that streams of this process show. It has a replica of what
Redis holds of the record, and publishes what changes in it to its streams. While
a topic exists, the record's Redis channel is subscribed.

| Module | Reason to change it |
|---|---|
| `broadcast.py` | opening and closing streams; the threads |
| `receiver.py` | what a lost subscription leads to, and what is done between two messages |
| `wakeups.py` | in which order and batches readers are woken, and their timeouts |
| `admission.py` | how many streams a process, a tenant and a user may have open |
| `stream.py` | what one reader takes |
| `event_log.py` | how long events are kept for the readers of a record |
| `topic.py` | what the streams of a record are sent |
| `replica.py` | what a message or a read changes |
| `sync_state.py` | when a replica can be trusted |
| `events.py` | the content of an event |
| `publisher.py`, `token_bucket.py` | how often a record publishes |
| `subscription.py` | a pub/sub connection, and noticing that it is dead |
| `shard_subscription.py` | the same to one node of a Cluster, by SSUBSCRIBE |
| `shards.py` | which node of a Cluster a channel is subscribed at |
| `feed.py` | what belongs to a subscription |
| `messages.py` | what each kind of message leads to |
| `scheduler.py` | when a record is read, swept or checked |
| `refresh.py` | what the result of a read or sweep leads to |
| `watch.py` | the Redis calls of reads and sweeps |
| `outage.py` | what happens while Redis does not answer |
| `timings.py` | every delay and timeout |

A change travels from `Subscription.receive` to `MessageHandler.handle` and
`Replica.apply`, waits in the `Publisher`, and is appended by `Topic.publish` to the
record's `EventLog`, once for all streams; `Wakeups` wakes their readers in small
batches, and each reads it with `Stream.take`.

**On a Cluster** a process has the subscription by SUBSCRIBE, at any node, for what is
published by PUBLISH; and one by SSUBSCRIBE at each node with records of its streams, for
SPUBLISH. A publisher may use either (`scripts/sharded_publishing.py`), and a replica is
trusted only while its channel is subscribed by both. When a slot moves, the server ends the
subscriptions to its channels: each record is read, by a call that follows the slot, and then
its channel is subscribed where the record is now. From a node that refuses SSUBSCRIBE nothing
is expected but what is published by PUBLISH. Without a Cluster there is the one subscription.

**Threads** (greenlets under gevent). The receiver of each subscription takes messages off
it, applies them and publishes. Each message names the version that it
continues, so that a lost, repeated or old one is noticed. The scheduler thread
asks Redis: it reads a record that is new or has missed a message, and sweeps one
whose next lease ends, so that an expired tab is announced even if nobody sends a
heartbeat any more. It also sweeps every record from time to time, because a
message that was forged, or lost without a trace (on the bus of a Cluster), shows
only in the version. The wakeups thread wakes readers, those of each record in turn,
and pauses after each batch: a change that thousands read would otherwise keep
the process from all heartbeats until the last of them has it. It also ends the waits
that have a timeout. Besides these, each reader waits in `Stream.take`, in its own thread.

**Locks.** There are two:

- `lock`, made by `Broadcast` and shared by everything here, guards all topics,
  streams, deadlines and the state of an outage. It is never held during a call to
  Redis. `Topic`, `Replica`, `SyncState`, `TokenBucket` and `Scheduler` expect
  their caller to hold it (`Scheduler.wait` and `wake` don't), and so do `Admission`
  and the methods of `Stream` below its comment about the lock. All other classes
  take it themselves.
- `Subscription._write_lock` is held by a thread that writes to that pub/sub
  connection. A thread that needs both takes this one first.
"""
