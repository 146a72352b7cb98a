// Those who left: still drawn for a moment, since a reload leaves and comes back, and where the host wants it, faded for
// some minutes.

import { userKey } from './store.js';

export const WAS_HERE_MS = 300_000;

/** `onGone()` is called when somebody is to be drawn in another way, or no longer. */
export function createDepartures(onGone) {
  const leaving = new Map(); // key -> timer
  const gone = new Map(); // key -> { viewer, until, timer }; `until`: ms since 1970, null where it isn't known

  function end(key) {
    clearTimeout(leaving.get(key));
    clearTimeout(gone.get(key)?.timer);
    leaving.delete(key);
    gone.delete(key);
  }

  function after(ms, map, key) {
    return setTimeout(() => {
      map.delete(key);
      onGone();
    }, ms);
  }

  return {
    isLeaving: (key) => leaving.has(key),
    /** Those who were here and are drawn as such, the last first. */
    gone: () =>
      [...gone]
        .filter(([key]) => !leaving.has(key))
        .map(([, departure]) => departure)
        .reverse(),

    onPresent: end,

    /** `seenUntil`: when they were last known to be here. `isNow`: and that they left is known at once. */
    onLeft(viewer, { graceMs, isRemembered, seenUntil, isNow }) {
      const key = userKey(viewer);
      end(key);
      if (graceMs > 0) leaving.set(key, after(graceMs, leaving, key));
      const leftMs = seenUntil + WAS_HERE_MS - Date.now();
      if (!isRemembered || !(leftMs > 0)) return;
      gone.set(key, { viewer, until: isNow ? seenUntil : null, timer: after(leftMs, gone, key) });
    },

    forgetGone() {
      for (const { timer } of gone.values()) clearTimeout(timer);
      gone.clear();
    },

    clear() {
      for (const key of [...leaving.keys(), ...gone.keys()]) end(key);
    },
  };
}
