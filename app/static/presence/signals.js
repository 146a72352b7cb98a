// What people do just now, typing or pointing: sent sparingly, and forgotten 3 s after the last word.

const FORGET_MS = 3000;
const BACK_OFF_MS = 5000;

// The server takes 600 a minute of a user, all of her tabs together.
const GAP_MS = { cursor: 150, typing: 1000 };
// Each signal goes to everybody: in a crowd each speaks less often, or the whole would grow with the square.
const CROWD = 10;
const LONGEST_GAP_MS = 2000; // less than FORGET_MS, so that nobody flickers
const MOST_CURSORS = 100; // beyond, nobody could follow them
const keyOf = ({ user, tab_id: tabId, kind }) => JSON.stringify([user.id, tabId, kind]);

/**
 * Gives `signal(kind, data)`: the first at once, then the latest after a gap. null is the last word (stopped
 * typing, pointer gone) and waits for the gap like any other, but is never left out. `countOthers` tells how
 * many hear it.
 */
export function createSender({ post, browser, countOthers = () => 1 }) {
  const gaps = new Map(); // kind -> { latest }, while a gap lasts
  const doing = new Set(); // the kinds of which the others don't know yet that it is over
  let silentUntil = 0;

  function signal(kind, data) {
    if (data === null && !doing.delete(kind)) return;
    if (data !== null && kind === 'cursor' && countOthers() > MOST_CURSORS) return;
    if (data !== null) doing.add(kind);
    send(kind, data);
  }

  function send(kind, data) {
    const gap = gaps.get(kind);
    if (gap) {
      gap.latest = { data };
      return;
    }
    const opened = {};
    gaps.set(kind, opened);
    opened.timer = browser.setTimer(() => {
      gaps.delete(kind);
      if (opened.latest) send(kind, opened.latest.data);
    }, gapMs(kind));
    if (browser.now() < silentUntil) return;
    post({ kind, data }).catch(({ retryAfterMs }) => {
      silentUntil = browser.now() + (retryAfterMs ?? BACK_OFF_MS); // nobody misses a cursor
    });
  }

  const gapMs = (kind) =>
    Math.min((GAP_MS[kind] ?? GAP_MS.typing) * Math.max(1, countOthers() / CROWD), LONGEST_GAP_MS);

  function stop() {
    for (const { timer } of gaps.values()) browser.clearTimer(timer);
    gaps.clear();
  }

  return { signal, stop };
}

/**
 * Keeps what the others do. `onSignal` is told of each signal, and of its end (data: null), so that
 * whoever draws a cursor needs no clock. `onTyping` gets the list of who types when that changes.
 */
export function createReceiver({ onSignal, onTyping, browser }) {
  const alive = new Map(); // key -> { signal, timer }
  let typing = [];

  function receive(signal) {
    const key = keyOf(signal);
    const before = alive.get(key);
    browser.clearTimer(before?.timer);
    if (signal.data === null) {
      if (before) end(key);
      return;
    }
    alive.set(key, { signal: Object.freeze(signal), timer: browser.setTimer(() => end(key), FORGET_MS) });
    onSignal(signal);
    tellTyping();
  }

  function end(key) {
    const { signal, timer } = alive.get(key);
    browser.clearTimer(timer);
    alive.delete(key);
    onSignal(Object.freeze({ ...signal, data: null }));
    tellTyping();
  }

  /** Who left the record is not typing in it. */
  function keepOnly(viewers) {
    const ids = new Set(viewers.map(({ id }) => id));
    for (const [key, { signal }] of alive) if (!ids.has(signal.user.id)) end(key);
  }

  function tellTyping() {
    const now = [...alive.values()].map(({ signal }) => signal).filter(({ kind }) => kind === 'typing');
    const isSame =
      now.length === typing.length &&
      now.every((signal, i) => keyOf(signal) === keyOf(typing[i]) && isEqual(signal.data, typing[i].data));
    if (isSame) return; // she types on
    typing = Object.freeze(now);
    onTyping(typing);
  }

  return { receive, keepOnly, stop: () => [...alive.keys()].forEach(end) };
}

const isEqual = (one, other) => JSON.stringify(one) === JSON.stringify(other);
