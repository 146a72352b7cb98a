// Presences whose element has just been removed from the page, or is about another record now. A library that replaces
// part of a page removes one element and inserts another in the same turn of the event loop: where both are about the
// same record, the tab stays as it is, with its id and its claims.

const released = new Set();

/**
 * `held` is `{ key, presence, letGo }`. Stopped after this turn, unless it is acquired before. `letGo()` is called when
 * its former owner has lost it.
 */
export function release(held) {
  if (released.has(held)) return;
  released.add(held);
  setTimeout(() => {
    if (!released.delete(held)) return;
    held.letGo?.();
    held.presence.stop();
  });
}

/** A released one with this key; undefined if there is none. */
export function acquire(key) {
  const held = [...released].find((candidate) => candidate.key === key);
  if (held) {
    released.delete(held);
    held.letGo?.();
  }
  return held;
}

/** For an owner that wants it back. */
export const reclaim = (held) => released.delete(held);
