// What a page knows about the viewers: one immutable snapshot, replaced when something changes, whether a heartbeat or
// the stream brought it.

export const NOTHING_KNOWN = Object.freeze({
  status: 'idle',
  viewers: null, // not []: that would mean "nobody"
  total: null,
  version: null,
  fresh: false,
  staleSince: null,
  unseen: false,
  error: null,
  tabId: null,
  typing: Object.freeze([]),
  saved: null,
  claims: null,
  forecast: null,
});

/** The host's functions for one event. An error in one of them is reported, and stops neither the others nor us. */
export function createListeners(report) {
  const entries = new Set();
  return {
    add(listener) {
      const entry = { listener }; // so that the same function can be added twice
      entries.add(entry);
      return () => entries.delete(entry);
    },
    emit(value) {
      for (const { listener } of [...entries]) {
        try {
          listener(value);
        } catch (error) {
          report(error);
        }
      }
    },
  };
}

export function createStore(report) {
  const { add, emit } = createListeners(report);
  let snapshot = NOTHING_KNOWN;

  return {
    getSnapshot: () => snapshot,

    subscribe: add,

    set(changes) {
      if (Object.keys(changes).every((key) => snapshot[key] === changes[key])) return;
      snapshot = Object.freeze({ ...snapshot, ...changes });
      emit(snapshot);
    },
  };
}

export const isEqual = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** A viewer's or a user's, for maps: 42 and "42" are two people, and an agent is another viewer for each it works for. */
export const userKey = ({ id, agent }) => JSON.stringify([id, agent?.for.id]);

/**
 * The new list, with the old objects for those who didn't change, and the old list itself if nobody did: what was
 * rendered from them need not be rendered again.
 */
export function reconcile(before, after) {
  const known = new Map(before.map((viewer) => [userKey(viewer), viewer]));
  const joined = [];
  const updated = [];
  const viewers = after.map((viewer) => {
    const old = known.get(userKey(viewer));
    known.delete(userKey(viewer));
    if (old && (old === viewer || isEqual(old, viewer))) return old;
    (old ? updated : joined).push(viewer);
    Object.freeze(viewer.active_fields);
    return Object.freeze(viewer);
  });
  const isSame = before.length === viewers.length && viewers.every((viewer, i) => viewer === before[i]);
  return { viewers: isSame ? before : Object.freeze(viewers), joined, updated, left: [...known.values()] };
}
