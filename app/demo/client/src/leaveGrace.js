// The grace period of viewers who left.

import { userKey } from '../../../static/presence/store.js';

/**
 * Keeps viewers who left in the list for a moment, so that a reload of theirs doesn't flicker here. Gives a function
 * from the viewers to those to show; `onGone` is called when such a moment is over.
 */
export function createLeaveGrace(onGone, graceMs = 3000) {
  const leaving = new Map(); // key -> { viewer, place, timer }
  let present = [];

  function update(viewers) {
    const keys = new Set(viewers.map(userKey));
    for (const key of keys) {
      clearTimeout(leaving.get(key)?.timer);
      leaving.delete(key);
    }
    present.forEach((viewer, place) => {
      const key = userKey(viewer);
      if (keys.has(key)) return;
      const timer = setTimeout(() => {
        leaving.delete(key);
        onGone();
      }, graceMs);
      leaving.set(key, { viewer, place, timer });
    });
    present = viewers;
  }

  return (viewers) => {
    if (!viewers) return viewers;
    if (viewers !== present) update(viewers);
    const shown = [...present];
    for (const { viewer, place } of leaving.values()) shown.splice(place, 0, viewer);
    return shown;
  };
}
