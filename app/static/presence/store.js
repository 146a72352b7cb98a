// What a page knows about the viewers: one immutable snapshot, replaced when something changed.
// It doesn't care who brings the news, a heartbeat's answer or a stream.

export const NOTHING_KNOWN = Object.freeze({
  status: 'idle',
  viewers: null, // not [] : "nobody" is an answer, this is none
  total: null,
  version: null,
  fresh: false,
  staleSince: null,
  error: null,
  tabId: null,
  typing: Object.freeze([]),
  saved: null,
  claims: null,
  forecast: null,
});

export function createStore(report) {
  const listeners = new Set();
  let snapshot = NOTHING_KNOWN;

  return {
    getSnapshot: () => snapshot,

    subscribe(listener) {
      const entry = { listener }; // so that the same function can be subscribed twice
      listeners.add(entry);
      return () => listeners.delete(entry);
    },

    set(changes) {
      if (Object.keys(changes).every((key) => snapshot[key] === changes[key])) return;
      snapshot = Object.freeze({ ...snapshot, ...changes });
      for (const { listener } of [...listeners]) {
        try {
          listener(snapshot);
        } catch (error) {
          report(error); // a host's mistake must not stop the beats
        }
      }
    },
  };
}

// 42 and "42" are two people.
export const keyOf = (viewer) => typeof viewer.id + viewer.id;

/**
 * The new list with the old objects for those who didn't change, and the old list itself when nobody
 * did, so that what is drawn from them stays as it is.
 */
export function reconcile(before, after) {
  const known = new Map(before.map((viewer) => [keyOf(viewer), viewer]));
  const joined = [];
  const updated = [];
  const viewers = after.map((viewer) => {
    const old = known.get(keyOf(viewer));
    known.delete(keyOf(viewer));
    if (old && (old === viewer || JSON.stringify(old) === JSON.stringify(viewer))) return old;
    (old ? updated : joined).push(viewer);
    Object.freeze(viewer.active_fields);
    return Object.freeze(viewer);
  });
  const isSame = before.length === viewers.length && viewers.every((viewer, i) => viewer === before[i]);
  return { viewers: isSame ? before : Object.freeze(viewers), joined, updated, left: [...known.values()] };
}
