// Which list of viewers is shown, and whether it is still current. Lists come in the answers to heartbeats, or by
// the stream while there is one.

import { FEW_VIEWERS, fallbackMs, STREAM_GRACE_MS, staleAfterMs } from './schedule.js';
import { reconcile } from './store.js';

const LIVE = { status: 'live', error: null };

/** `onChange({ joined, updated, left })` is called for each list but the first, if it differs. */
export function createFreshness({ browser, store, heartbeat, onChange }) {
  let isStreaming = false; // the stream brings the lists; heartbeats only renew the lease
  let confirmedAt = 0;
  let confirmedWallTime;
  let staleTimer;
  let fallbackTimer; // until a heartbeat asks for the list, after the stream was lost

  function applyList({ viewers, total, version, unconfirmed }) {
    const { viewers: before, version: known } = store.getSnapshot();
    if (!viewers && !(before && version === known)) return; // no list, and none is known: the next beat asks again

    if (unconfirmed && !isStreaming && before && browser.now() - confirmedAt < 3 * heartbeat.intervalMs()) {
      // Redis has lost its data. Keep the list: the next beat asks again, and by then every tab has sent one. A tab
      // that has missed a whole lease itself doesn't get here, because the others may really be gone.
      unconfirm();
      store.set({ version: null, ...LIVE });
      return;
    }
    if (!unconfirmed || !before) confirm();
    unconfirmAfter(staleAfterMs(heartbeat.intervalMs()));

    const news = {
      fresh: !unconfirmed,
      staleSince: unconfirmed ? confirmedWallTime : null,
      ...(!isStreaming && LIVE),
    };
    if (!viewers) {
      store.set(news);
      return;
    }
    const { viewers: after, ...difference } = reconcile(before ?? [], viewers);
    if (!isStreaming && difference.left.length && after.length < FEW_VIEWERS) heartbeat.recheck();
    store.set({ ...news, viewers: after, total: total ?? after.length, version });
    if (before && Object.values(difference).some((part) => part.length)) onChange(difference);
  }

  function confirm(agoMs = 0) {
    confirmedAt = browser.now() - agoMs;
    confirmedWallTime = browser.wallNow() - agoMs;
  }

  function unconfirm() {
    browser.clearTimer(staleTimer);
    if (store.getSnapshot().fresh) store.set({ fresh: false, staleSince: confirmedWallTime });
  }

  function unconfirmAfter(delayMs) {
    browser.clearTimer(staleTimer);
    staleTimer = browser.setTimer(unconfirm, delayMs);
  }

  return {
    unconfirm,
    isStreaming: () => isStreaming,

    onAnswer(answer) {
      if (isStreaming) store.set(LIVE);
      else applyList(answer);
    },

    onStreamedList(list) {
      isStreaming = true;
      browser.clearTimer(fallbackTimer);
      applyList(list);
      browser.clearTimer(staleTimer); // the stream itself says when it is lost
    },

    /**
     * Most streams come back in a moment, so the list stays. If this one doesn't, a heartbeat asks for the list; if
     * that fails too, the list is no longer fresh. `goodUntil` is when the stream last confirmed it.
     */
    onStreamLost(goodUntil) {
      if (!isStreaming) return;
      isStreaming = false;
      const silentMs = browser.now() - goodUntil;
      confirm(silentMs);
      fallbackTimer = browser.setTimer(() => !isStreaming && heartbeat.beatSoon(), fallbackMs(browser.random));
      unconfirmAfter(STREAM_GRACE_MS - silentMs);
    },

    onStreamClosed() {
      isStreaming = false;
      browser.clearTimer(fallbackTimer);
    },

    /** For a page that wakes: timers don't run while the machine sleeps. */
    checkAge() {
      if (!isStreaming && browser.now() - confirmedAt > staleAfterMs(heartbeat.intervalMs())) unconfirm();
    },
  };
}
