// A dedicated worker that wakes the page, and stands in for it. It takes [id, delayMs] to set a timer and [id] to clear
// it, and answers with the id when it is due. [id, delayMs, { graceMs, intervalMs, url, init }] sets one that is due to
// be cleared: if it isn't within graceMs, the page stands still, and the worker makes the request itself, again at each
// interval; after five minutes it says that nobody looks at the page. Such a one is cleared with the answer [id], once no
// request is under way.

const REQUEST_TIMEOUT_MS = 10_000;
const AWAY_AFTER_MS = 300_000;

const timers = new Map(); // id -> { handle, request }

function set(id, delayMs, standIn) {
  const timer = { dueAt: Date.now() + delayMs };
  timers.set(id, timer);
  timer.handle = setTimeout(() => {
    postMessage(id);
    if (standIn) timer.handle = setTimeout(send, standIn.graceMs, timer, standIn);
    else timers.delete(id);
  }, delayMs);
}

async function send(timer, standIn) {
  timer.request = request(standIn, Date.now() - timer.dueAt > AWAY_AFTER_MS);
  const isRefused = await timer.request;
  // What is refused, only the page can mend.
  if (!timer.isCleared && !isRefused) timer.handle = setTimeout(send, standIn.intervalMs, timer, standIn);
}

async function request({ url, init }, isAway) {
  try {
    // Not `active`: a service of an earlier release would refuse it, and the tab would be lost.
    const body = isAway ? JSON.stringify({ ...JSON.parse(init.body), visible: false }) : init.body;
    const { type, status } = await fetch(url, { ...init, body, signal: AbortSignal.timeout?.(REQUEST_TIMEOUT_MS) });
    return type === 'opaqueredirect' || (status >= 400 && status < 500 && status !== 429);
  } catch {
    return false;
  }
}

async function clear(id) {
  const timer = timers.get(id);
  if (!timer) return;
  timers.delete(id);
  timer.isCleared = true;
  clearTimeout(timer.handle);
  await timer.request;
}

self.onmessage = ({ data: [id, delayMs, standIn] }) => {
  const cleared = clear(id);
  if (delayMs !== undefined) set(id, delayMs, standIn);
  else cleared.then(() => postMessage([id]));
};
