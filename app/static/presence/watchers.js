// What the watchers of this page know: the last list of each record, and whether it is live.

/** A watcher has `records` and the callbacks of stream.d.ts. `presenceError` is transport.js's. */
export function createWatchers(presenceError) {
  const watchers = new Set();
  const lists = new Map(); // record -> its list
  const forbidden = new Set(); // records, while the stream brings others

  const watchersOf = (record) => [...watchers].filter(({ records }) => records.includes(record));

  function refuse(watcher, records) {
    const own = watcher.records.filter((record) => records.includes(record));
    if (!own.length) return;
    watcher.onRefused?.(presenceError('unauthorized', 'Forbidden.', { status: 403, records: own }));
  }

  return {
    isEmpty: () => !watchers.size,
    all: () => [...watchers],
    records: () => [...new Set([...watchers].flatMap(({ records }) => records))],
    isLive: (record) => !!lists.get(record)?.isLive,

    /** It gets at once what the others have. */
    add(watcher) {
      watchers.add(watcher);
      for (const record of watcher.records) {
        const list = lists.get(record);
        if (list?.isLive) watcher.onList(record, list);
      }
      refuse(watcher, [...forbidden]);
    },

    delete(watcher) {
      const wasIn = watchers.delete(watcher);
      for (const known of [lists, forbidden]) {
        for (const record of known.keys()) if (!watchersOf(record).length) known.delete(record);
      }
      return wasIn;
    },

    show(record, list) {
      const interested = watchersOf(record);
      if (!interested.length) return;
      forbidden.delete(record);
      const before = lists.get(record);
      lists.set(record, { ...list, isLive: true });
      if (before?.isLive && before.version === list.version && before.viewers === list.viewers) return;
      for (const watcher of interested) watcher.onList(record, list);
    },

    /** Nothing is confirmed any more since `goodUntil`. */
    lose(goodUntil) {
      const lost = [];
      for (const [record, list] of lists) {
        if (list.isLive) lost.push(record);
        list.isLive = false;
      }
      for (const watcher of [...watchers]) {
        if (watcher.records.some((record) => lost.includes(record))) watcher.onLost?.(goodUntil);
      }
    },

    onEvent(kind, data) {
      for (const watcher of watchersOf(data.record)) watcher.onEvent?.(kind, data);
    },

    /** Each watcher of one is told once. */
    onForbidden(records) {
      const news = records.filter((record) => !forbidden.has(record) && watchersOf(record).length);
      for (const record of news) forbidden.add(record);
      for (const watcher of [...watchers]) refuse(watcher, news);
    },

    onUnsupported() {
      for (const watcher of [...watchers]) watcher.onUnsupported?.();
    },

    onRefused(error) {
      for (const watcher of [...watchers]) watcher.onRefused?.(error);
    },
  };
}
