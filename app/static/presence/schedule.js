// When to send a heartbeat: numbers only, so that they can be reasoned about without a clock.

const MIN_RETRY_MS = 250;
const MAX_WAIT_MS = 3_600_000; // setTimeout fires at once beyond 2^31 ms

export const DEFAULT_INTERVAL_MS = 30_000;

/** A beat that takes longer has failed. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** A beat under way for longer may hang, after a sleep or a change of network; a waking page sends another. */
export const HANGS_AFTER_MS = 2_000;

/** Between a change and the one before it: tabbing through a form is two beats a second, not ten. */
export const CHANGE_GAP_MS = 500;

/**
 * Someone who left may only be reloading. Where there are few viewers, ask again before the avatars remove them, not a
 * whole heartbeat later.
 */
export const RECHECK_MS = 2_000;
export const FEW_VIEWERS = 10;

/** ±10 %, so that tabs that were opened together don't beat together. */
export const nextBeatMs = (intervalMs, random) => intervalMs * (0.9 + 0.2 * random());

/**
 * Exponential back-off with full jitter. Never longer than an interval, and a lease is three of them, so that a server
 * that is back hears from every tab within its lease. What the server itself asked for (Retry-After) comes first, with
 * the jitter on top, because every tab was given the same second.
 */
export function backOffMs(failures, intervalMs, retryAfterMs, random) {
  const ceilingMs = Math.min(intervalMs, 1000 * 2 ** failures);
  return Math.min(MAX_WAIT_MS, (retryAfterMs ?? 0) + Math.max(MIN_RETRY_MS, ceilingMs * random()));
}

/** A list that nothing has confirmed for longer is old: the next beat is late, and so is its answer. */
export const staleAfterMs = (intervalMs) => intervalMs * 1.1 + REQUEST_TIMEOUT_MS;

/** What the server asks for, within bounds: neither a flood of beats nor a silence. */
export function intervalMsOf(seconds) {
  return seconds > 0 ? Math.min(Math.max(seconds * 1000, 1000), MAX_WAIT_MS) : DEFAULT_INTERVAL_MS;
}

/** A lost stream usually comes back at once; until then its list counts as fresh. */
export const STREAM_GRACE_MS = 8_000;

/** After which a heartbeat asks for the list instead; spread, since a server loses all of its streams together. */
export const fallbackMs = (random) => 2_000 + 3_000 * random();
