// When to beat: numbers only, so that it can be reasoned about without a clock.

const SHORTEST_RETRY_MS = 250;
const LONGEST_WAIT_MS = 3_600_000; // setTimeout fires at once beyond 2^31 ms

export const DEFAULT_HEARTBEAT_MS = 30_000;

/** A beat that takes longer has failed. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** A beat under way for longer may hang, after a sleep or a change of network; a waking page sends another. */
export const HANGS_AFTER_MS = 2_000;

/** Between a change and the one before it: tabbing through a form is two beats a second, not ten. */
export const CHANGE_GAP_MS = 500;

/**
 * Who left may only be reloading: in a room so small that she is missed, look again before the avatars let
 * her go, and not a whole heartbeat later.
 */
export const SECOND_LOOK_MS = 2_000;
export const SMALL_ROOM = 10;

/** Around what the server asks for, so that tabs opened together don't beat together. */
export const nextBeatMs = (heartbeatMs, random) => heartbeatMs * (0.9 + 0.2 * random());

/**
 * Exponential back-off with full jitter. Never more than a heartbeat at a time, and a lease is three
 * of them, so that a server that is back finds every tab within its lease. What the server itself
 * asked for (Retry-After) comes first, with the jitter on top: everybody was told the same second.
 */
export function retryMs(failures, heartbeatMs, retryAfterMs, random) {
  const ceiling = Math.min(heartbeatMs, 1000 * 2 ** failures);
  return Math.min(LONGEST_WAIT_MS, (retryAfterMs ?? 0) + Math.max(SHORTEST_RETRY_MS, ceiling * random()));
}

/** A list not confirmed for longer is old: the next beat is late, and so is its answer. */
export const staleAfterMs = (heartbeatMs) => heartbeatMs * 1.1 + REQUEST_TIMEOUT_MS;

/** What the server asks for, in bounds that can't make a storm or a silence. */
export function heartbeatMsOf(seconds) {
  return seconds > 0 ? Math.min(Math.max(seconds * 1000, 1000), LONGEST_WAIT_MS) : DEFAULT_HEARTBEAT_MS;
}

/** A lost stream mostly comes back at once; until then its list counts as fresh. */
export const STREAM_GRACE_MS = 8_000;

/** When a heartbeat asks for the list instead; spread, since a server loses all of its streams together. */
export const bridgeMs = (random) => 2_000 + 3_000 * random();
