// What the leader knows of the other pages: which records they want.

const FORGET_MS = 100_000; // a page that said nothing for so long is gone; a hidden one may be slow
const MAX_RECORDS = 100; // of one stream

export function createFollowers(browser) {
  const pages = new Map(); // id -> { records, heardAt, isCrowdedOut }

  return {
    clear: () => pages.clear(),

    /** A page without records is gone. */
    update(id, records) {
      if (records.length) pages.set(id, { records, heardAt: browser.now() });
      else pages.delete(id);
    },

    forgetSilent() {
      for (const [id, { heardAt }] of pages) if (browser.now() - heardAt > FORGET_MS) pages.delete(id);
    },

    /** The records to stream: the leader's own first, then whole pages as long as there is room. */
    withOwn(ownRecords) {
      const all = new Set(ownRecords);
      for (const page of pages.values()) {
        page.isCrowdedOut = new Set([...all, ...page.records]).size > MAX_RECORDS;
        if (!page.isCrowdedOut) for (const record of page.records) all.add(record);
      }
      return [...all];
    },

    /** As of the last withOwn(). */
    isCrowdedOut: (id) => !!pages.get(id)?.isCrowdedOut,
  };
}
