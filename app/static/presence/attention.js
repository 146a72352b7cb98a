// Whether the user looks at this page and does something in it. Of what they do, nothing is kept but the time of the last.

import { attentionOf } from './browserAttention.js';

const FLICKER_MS = 3000; // a page that is hidden for less tells nobody
const AWAY_AFTER_MS = 300_000;
const MIN_AWAY_AFTER_MS = 1000;
const MAX_WAIT_MS = 3_600_000; // setTimeout fires at once beyond 2^31 ms

/**
 * `browser` is the presence's own: its isVisible() no longer sees flickers. `update(part)` changes the state that
 * heartbeats tell. `active` is part of it only as false: otherwise it is `visible`, which the service takes for granted,
 * and which one of an earlier release does not refuse.
 */
export function createAttention({ browser, store, heartbeat, awayAfterMs = AWAY_AFTER_MS, update }) {
  const { isVisible } = browser;
  const { onActivity, isInFrame } = { ...attentionOf(), ...browser };
  const limitMs = Math.max(MIN_AWAY_AFTER_MS, awayAfterMs);
  let hideTimer = null; // while the page is hidden, and that may be a flicker
  let isIdle = false;
  let isRefused = false; // the service doesn't know `active`
  let activeAt;
  let idleTimer;
  let stopListening = null;

  browser.isVisible = () => isVisible() || hideTimer !== null;

  /** Lets the others know. Where no worker may run the timer, it is also the last beat that is on time. */
  function onHidden() {
    hideTimer = null;
    setIdle(false); // a page that is hidden is no longer one in which nothing is done
    heartbeat.beatAgain();
  }

  function endFlicker() {
    browser.clearTimer(hideTimer);
    hideTimer = null;
  }

  function setIdle(value) {
    if (isIdle === value) return;
    isIdle = value;
    update({ active: isIdle && !isRefused ? false : undefined });
  }

  function onDoing() {
    activeAt = browser.now();
    if (!isIdle) return;
    setIdle(false);
    checkIdle();
  }

  function checkIdle() {
    browser.clearTimer(idleTimer);
    // What happens in a frame, nobody hears out here.
    if (!isVisible() || isInFrame?.()) activeAt = browser.now();
    const leftMs = activeAt + limitMs - browser.now();
    if (leftMs > 0) idleTimer = browser.setTimer(checkIdle, Math.min(leftMs, MAX_WAIT_MS));
    else setIdle(true);
  }

  function listen() {
    activeAt = browser.now(); // whoever comes does something
    setIdle(false);
    if (!onActivity || limitMs === Infinity) return () => {};
    const stop = onActivity(onDoing);
    checkIdle();
    return () => {
      browser.clearTimer(idleTimer);
      stop();
    };
  }

  function follow({ status, error }) {
    if (error?.errors?.active) {
      isRefused = true;
      update({ active: undefined });
    }
    const isOut = status === 'paused' || status === 'stopped';
    if (isOut !== !!stopListening) return;
    if (isOut) {
      endFlicker();
      stopListening();
    }
    stopListening = isOut ? null : listen();
  }

  store.subscribe(follow);
  follow(store.getSnapshot());

  return {
    hide() {
      endFlicker();
      hideTimer = browser.setTimer(onHidden, FLICKER_MS);
    },

    /** For a page that wakes: whether it was hidden for so short a time that nobody has to know. */
    endsFlicker() {
      if (!isVisible()) return false;
      const wasFlicker = hideTimer !== null;
      endFlicker();
      return wasFlicker && !heartbeat.isOverdue();
    },
  };
}
