// All contact with the browser. The rest of the client gets it injected and runs without one.

// Written out so that bundlers see it and ship the worker's file.
const startTimerWorker = () => new Worker(new URL('./presence-timer.js', import.meta.url), { type: 'module' });

// A browser thaws a frozen tab to close it: whoever beat then would race with the goodbye, and could leave a ghost.
const THAW_MS = 250;

let shared;

/** The page's own browser: one for all presences, so that they share one timer worker. */
export const theBrowser = () => (shared ??= createBrowser());

export function createBrowser(win = globalThis, { startWorker = startTimerWorker } = {}) {
  const now = createClock(win);
  const timers = createTimers(win, now, startWorker);
  const isHidden = () => win.document?.visibilityState === 'hidden';

  return {
    now,
    setTimer: timers.set,
    clearTimer: timers.clear,
    wallNow: () => Date.now(),
    random: Math.random,
    fetch: (url, init) => win.fetch(url, init),
    newTabId: () => newTabId(win.crypto),
    csrfToken: () => win.document?.querySelector('meta[name="csrf-token"]')?.content,
    isVisible: () => !isHidden(),
    /** A page that the browser renders ahead of a click: nobody has it open yet. */
    isPrerendering: () => !!win.document?.prerendering,
    report: (error) => (win.reportError ? win.reportError(error) : console.error(error)),

    /**
     * Tell when the page comes back to a person (`wake`), may just have done so (`glance`), is hidden
     * (`hide`), stands still (`freeze`), or goes away (`leave`). Never unload or beforeunload: they don't
     * fire on phones and shut the page out of the back/forward cache. Returns the function that stops it.
     */
    listen({ wake, glance, hide, leave, freeze = () => {} }) {
      let thaw;
      const onThaw = () => {
        timers.clear(thaw);
        thaw = timers.set(wake, THAW_MS);
      };
      const onLeave = () => {
        timers.clear(thaw);
        leave();
        timers.stopWorker();
      };
      const doc = win.document;
      const events = [
        [doc, 'visibilitychange', () => (isHidden() ? hide() : wake())],
        [doc, 'freeze', freeze],
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
 * machine sleeps and the wall clock does not: what the wall clock is ahead counts, so that a list from
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

/**
 * setTimeout that also fires on time in a hidden page: while the page is hidden, a worker carries each
 * timer as well, and whichever comes first runs it. So a worker that is forbidden (Content Security
 * Policy), missing or dead costs accuracy, never a beat.
 */
function createTimers(win, now, startWorker) {
  const pending = new Map(); // id -> { run, dueAt, handle }
  let lastId = 0;
  let holders = 0;
  let worker = null;
  let isForbidden = false;

  const isHidden = () => win.document?.visibilityState === 'hidden';

  function fire(id) {
    const timer = pending.get(id);
    if (!timer) return;
    clear(id);
    timer.run();
  }

  function set(run, delayMs) {
    const id = ++lastId;
    pending.set(id, { run, dueAt: now() + delayMs, handle: win.setTimeout(fire, delayMs, id) });
    if (isHidden()) getWorker()?.postMessage([id, delayMs]);
    return id;
  }

  function clear(id) {
    const timer = pending.get(id);
    if (!timer) return;
    pending.delete(id);
    win.clearTimeout(timer.handle);
    worker?.postMessage([id]);
  }

  // Started by the first hidden moment: a page that is never hidden pays for no worker.
  function getWorker() {
    if (worker || isForbidden) return worker;
    try {
      worker = startWorker();
      worker.onmessage = ({ data }) => fire(data);
      worker.onerror = (event) => {
        event.preventDefault?.();
        isForbidden = true;
        stopWorker();
      };
    } catch {
      isForbidden = true;
    }
    return worker;
  }

  function stopWorker() {
    worker?.terminate();
    worker = null;
  }

  function onVisibility() {
    if (!isHidden()) return;
    for (const [id, { dueAt }] of pending) getWorker()?.postMessage([id, Math.max(0, dueAt - now())]);
  }

  function hold() {
    if (holders++ === 0) win.document.addEventListener('visibilitychange', onVisibility);
    return () => {
      if (--holders > 0) return;
      win.document.removeEventListener('visibilitychange', onVisibility);
      stopWorker();
    };
  }

  return { set, clear, hold, stopWorker };
}

/**
 * A new id for each load, never stored: a duplicated tab copies what is stored. 128 random bits in 22 letters,
 * since Redis keeps it twice. Not by randomUUID: that is longer, and missing on plain http.
 */
function newTabId(crypto) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').slice(0, 22);
}
