// Tells users whom others no longer see, since no heartbeat has been answered for a lease, though the list of the others
// may still be fresh.

const INTERVALS_OF_A_LEASE = 3;
const MIN_LEASE_MS = 10_000; // shortly before a token's end, heartbeats are more frequent than a third of it
const LATE_MS = 1000; // a timer that is later stood still with its page, and the browser's worker may have sent beats
const SETTLE_MS = 10_000; // by then a page that goes on has sent one

export function createUnseen({ browser, store, intervalMs }) {
  let timer;
  let wasOut = false;

  function setTimer(delayMs = Math.max(MIN_LEASE_MS, INTERVALS_OF_A_LEASE * intervalMs())) {
    const dueAt = browser.now() + delayMs;
    browser.clearTimer(timer);
    timer = browser.setTimer(() => {
      if (browser.now() - dueAt > LATE_MS) setTimer(SETTLE_MS);
      else store.set({ unseen: true });
    }, delayMs);
  }

  /** By the host's stop(), or with the page: then there is nothing to tell. */
  const isOut = ({ status, error }) => status === 'paused' || (status === 'stopped' && !error);

  store.subscribe((snapshot) => {
    if (isOut(snapshot) === wasOut) return;
    wasOut = !wasOut;
    if (!wasOut) {
      setTimer();
      return;
    }
    browser.clearTimer(timer);
    store.set({ unseen: false });
  });

  return {
    /** A heartbeat was answered. */
    onAnswer() {
      store.set({ unseen: false });
      setTimer();
    },
  };
}
