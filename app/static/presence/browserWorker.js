// The worker beside the page, loaded by browser.js. It fires the page's timers on time in a hidden page, where browsers
// slow them to one a minute, and it sends heartbeats for a page that stands still: in a dialog or a debugger, or where a
// script runs too long.

// Written out, so that bundlers see it and ship the worker's file.
const startPresenceTimer = () => new Worker(new URL('./presence-timer.js', import.meta.url), { type: 'module' });

const ANSWER_TIMEOUT_MS = 2000; // for a worker that is asked whether it still sends

const graceMsOf = ({ intervalMs }) => intervalMs / 2;

/**
 * Carries the page's timers as well, and whichever comes first runs one. So a worker that is forbidden (Content Security
 * Policy), missing or dead costs accuracy, never a beat. `pending`: id -> { dueAt, standIn }, the page's timers;
 * `fire(id)` runs one. `standIn` is { intervalMs, request }: what the worker fetches if nobody has cleared the timer
 * within half an interval after it was due, and again at each interval.
 */
export function createBrowserWorker({ win, pending, now, fire, startWorker = startPresenceTimer }) {
  const questions = new Map(); // id -> runs when the worker has answered, or doesn't
  let request = null;
  let worker;
  let isForbidden;

  function start() {
    try {
      worker = startWorker();
      worker.onmessage = ({ data }) => (Array.isArray(data) ? questions.get(data[0])?.() : fire(data));
      worker.onerror = (event) => {
        event.preventDefault?.();
        isForbidden = true;
        stop();
      };
      for (const id of pending.keys()) carry(id);
    } catch {
      isForbidden = true;
    }
  }

  function carry(id) {
    if (!worker) {
      if (!isForbidden) start();
      return;
    }
    const { dueAt, standIn } = pending.get(id);
    const timer = [id, Math.max(0, dueAt - now())];
    if (standIn) {
      const { intervalMs, request } = standIn;
      const url = new URL(request[0], win.document.baseURI).href; // the worker has another base
      timer.push({ intervalMs, graceMs: graceMsOf(standIn), url, init: request[1] });
    }
    worker.postMessage(timer);
  }

  function drop(id, { dueAt, standIn }) {
    if (!worker) return;
    worker.postMessage([id]);
    if (!standIn || now() < dueAt + graceMsOf(standIn)) return;
    const answered = new Promise((resolve) => {
      questions.set(id, resolve);
      win.setTimeout(resolve, ANSWER_TIMEOUT_MS);
    }).then(() => {
      questions.delete(id);
      if (request?.answered === answered) request = null;
    });
    request = { answered, abort: new AbortController() };
  }

  function stop() {
    worker?.terminate();
    worker = null;
    for (const answer of [...questions.values()]) answer();
  }

  start();
  return {
    carry,
    drop,
    stop,
    /** That may be under way, in the words of heartbeat.js, for a page that would make its own; null without one. */
    request: () => request,
  };
}
