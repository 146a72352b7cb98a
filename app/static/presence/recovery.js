// The service answers again, as this page or another one has found: whatever waits for its next try goes on at once.

const SPREAD_MS = 500; // the tabs of one browser go on one after the other
const MIN_GAP_MS = 5000; // where the service comes and goes

export function createRecovery({ browser, onRecovered }) {
  let timer = null;
  let recoveredAt = -Infinity;

  return {
    /** Whether it was so recent that the other pages need not hear of it again. */
    isRecent: () => browser.now() - recoveredAt <= MIN_GAP_MS,

    schedule() {
      if (timer !== null) return;
      const waitMs = Math.max(0, recoveredAt + MIN_GAP_MS - browser.now()) + SPREAD_MS * browser.random();
      timer = browser.setTimer(() => {
        timer = null;
        recoveredAt = browser.now();
        onRecovered();
      }, waitMs);
    },

    cancel() {
      browser.clearTimer(timer);
      timer = null;
    },
  };
}
