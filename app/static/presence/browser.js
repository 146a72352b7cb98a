// All contact with the browser. The rest of the client gets it injected and runs without one.

// Browsers thaw a frozen tab in order to close it: a beat sent then would race with the goodbye, and could leave a
// ghost.
const THAW_MS = 250;

let shared;

/** The page's own browser: one for all presences, so that they share one timer worker. */
export const theBrowser = () => (shared ??= createBrowser());

export function createBrowser(win = globalThis, { startWorker } = {}) {
  const now = createClock(win);
  const isHidden = () => win.document?.visibilityState === 'hidden';
  const timers = createTimers(win, now, isHidden, startWorker);

  return {
    now,
    setTimer: timers.set,
    clearTimer: timers.clear,
    workerRequest: timers.request,
    wallNow: () => Date.now(),
    random: Math.random,
    fetch: (url, init) => win.fetch(url, init),
    newTabId: () => newTabId(win.crypto),
    csrfToken: () => win.document?.querySelector('meta[name="csrf-token"]')?.content,
    isVisible: () => !isHidden(),
    /** The browser renders the page ahead of a click: nobody has it open yet. */
    isPrerendering: () => !!win.document?.prerendering,
    report: (error) => (win.reportError ? win.reportError(error) : console.error(error)),

    /**
     * Calls back when the page is looked at again (`wake`), may be looked at again (`glance`), is hidden (`hide`),
     * is frozen (`freeze`) or goes away (`leave`). Never by unload or beforeunload: they don't fire on phones, and
     * they keep the page out of the back/forward cache. Returns the function that stops it.
     */
    listen({ wake, glance, hide, leave, freeze }) {
      let thaw;
      const onThaw = () => {
        timers.clear(thaw);
        thaw = timers.set(wake, THAW_MS);
      };
      const onFreeze = () => {
        timers.stopWorker();
        freeze?.();
      };
      const onLeave = () => {
        timers.clear(thaw);
        timers.stopWorker(); // before the goodbye
        leave();
        timers.stopWorker();
      };
      const doc = win.document;
      const events = [
        [doc, 'visibilitychange', () => (isHidden() ? hide() : wake())],
        [doc, 'freeze', onFreeze],
        [doc, 'resume', onThaw],
        [doc, 'prerenderingchange', wake],
        [win, 'online', wake],
        [win, 'pageshow', (event) => event.persisted && wake()],
        [win, 'focus', glance],
        [win, 'pagehide', onLeave],
      ];
      for (const [target, name, run] of events) target.addEventListener(name, run);
      const release = timers.hold();
      return () => {
        for (const [target, name, run] of events) target.removeEventListener(name, run);
        timers.clear(thaw);
        release();
      };
    },
  };
}

/**
 * Milliseconds that never run backwards. On some systems performance.now() stands still while the
 * machine sleeps, and the wall clock doesn't: what the wall clock gains counts, so that a list from
 * before the sleep isn't taken for fresh.
 */
function createClock(win) {
  let slept = 0;
  let lastGap;
  return () => {
    const now = win.performance.now();
    const gap = Date.now() - now;
    if (gap - lastGap > 1000) slept += gap - lastGap;
    lastGap = gap;
    return now + slept;
  };
}

/** setTimeout that also fires on time in a hidden page, once browserWorker.js is loaded. */
function createTimers(win, now, isHidden, startWorker) {
  const pending = new Map(); // id -> { run, dueAt, handle, standIn }
  let lastId = 0;
  let holders = 0;
  let worker;
  let isLoading = false;

  function fire(id) {
    const timer = pending.get(id);
    if (!timer) return;
    clear(id);
    timer.run();
  }

  function set(run, delayMs, standIn) {
    const id = ++lastId;
    pending.set(id, { run, dueAt: now() + delayMs, handle: win.setTimeout(fire, delayMs, id), standIn });
    if (holders) worker?.carry(id);
    // After the first answered heartbeat, which gives a request to stand in with, or once the page is hidden.
    if (!isLoading && (standIn || isHidden())) load();
    return id;
  }

  function clear(id) {
    const timer = pending.get(id);
    if (!timer) return;
    pending.delete(id);
    win.clearTimeout(timer.handle);
    worker?.drop(id, timer);
  }

  async function load() {
    isLoading = true;
    try {
      const { createBrowserWorker } = await import('./browserWorker.js');
      worker = createBrowserWorker({ win, pending, now, fire, startWorker });
    } catch {
      isLoading = false; // the next timer tries again
    }
  }

  function hold() {
    holders++;
    return () => --holders || worker?.stop();
  }

  return { set, clear, hold, stopWorker: () => worker?.stop(), request: () => worker?.request() };
}

/**
 * A new id for each load, never stored: a duplicated tab copies what is stored. 128 random bits in 22 letters,
 * since Redis keeps it twice. Not by randomUUID: that is longer, and missing on plain http.
 */
function newTabId(crypto) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .slice(0, 22);
}
