// What people are doing right now, typing or pointing: sent sparingly, and forgotten 3 s after the last signal.

const EXPIRY_MS = 3000;
const BACK_OFF_MS = 5000;

// The server takes 600 a minute from a user, for all tabs together.
const GAP_MS = { cursor: 150, typing: 1000 };
// Each signal goes to everyone: in a crowd each tab sends less often, or the sum would grow with the square.
const CROWD_SIZE = 10;
const MAX_GAP_MS = 2000; // less than EXPIRY_MS, so that no one flickers
const MAX_CURSOR_AUDIENCE = 100; // among more, nobody could follow them
const userKey = ({ id, agent }) => JSON.stringify([id, agent?.for.id]); // as in store.js
const tabKey = ({ user, tab_id: tabId, kind }) => JSON.stringify([user.id, tabId, kind]);

/**
 * Gives `signal(kind, data)`, which sends the first at once, and then the latest after each gap. null is the last one
 * (stopped typing, pointer gone): it waits for the gap like any other, but is never left out. `countOthers()` gives
 * the number of those who receive it.
 */
export function createSender({ post, browser, countOthers = () => 1 }) {
  const gaps = new Map(); // kind -> { latest }, while a gap lasts
  const active = new Set(); // the kinds that the others still take to go on
  let silentUntil = 0;

  function signal(kind, data) {
    if (data === null && !active.delete(kind)) return;
    if (data !== null && kind === 'cursor' && countOthers() > MAX_CURSOR_AUDIENCE) return;
    if (data !== null) active.add(kind);
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
      silentUntil = browser.now() + (retryAfterMs ?? BACK_OFF_MS); // nobody will miss a cursor
    });
  }

  const gapMs = (kind) =>
    Math.min((GAP_MS[kind] ?? GAP_MS.typing) * Math.max(1, countOthers() / CROWD_SIZE), MAX_GAP_MS);

  function stop() {
    for (const { timer } of gaps.values()) browser.clearTimer(timer);
    gaps.clear();
  }

  return { signal, stop };
}

/**
 * Keeps what the others are doing. `onSignal` is called with each signal and with its end (data: null), so that code
 * that draws a cursor needs no clock; `onTyping` with the list of those who are typing, when it changes.
 */
export function createReceiver({ onSignal, onTyping, browser }) {
  const alive = new Map(); // key -> { signal, timer }
  let typing = [];

  function receive(signal) {
    const key = tabKey(signal);
    const before = alive.get(key);
    browser.clearTimer(before?.timer);
    if (signal.data === null) {
      if (before) expire(key);
      return;
    }
    alive.set(key, { signal: Object.freeze(signal), timer: browser.setTimer(() => expire(key), EXPIRY_MS) });
    onSignal(signal);
    updateTyping();
  }

  function expire(key) {
    const { signal, timer } = alive.get(key);
    browser.clearTimer(timer);
    alive.delete(key);
    onSignal(Object.freeze({ ...signal, data: null }));
    updateTyping();
  }

  /** Someone who left the record is not typing in it. */
  function keepOnly(viewers) {
    const present = new Set(viewers.map(userKey));
    for (const [key, { signal }] of alive) if (!present.has(userKey(signal.user))) expire(key);
  }

  function updateTyping() {
    const now = [...alive.values()].map(({ signal }) => signal).filter(({ kind }) => kind === 'typing');
    const isSame =
      now.length === typing.length &&
      now.every((signal, i) => tabKey(signal) === tabKey(typing[i]) && isEqual(signal.data, typing[i].data));
    if (isSame) return; // still typing
    typing = Object.freeze(now);
    onTyping(typing);
  }

  return { receive, keepOnly, stop: () => [...alive.keys()].forEach(expire) };
}

const isEqual = (one, other) => JSON.stringify(one) === JSON.stringify(other);
