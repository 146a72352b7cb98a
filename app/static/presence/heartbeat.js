// Keeps the tab registered: sends its state, one heartbeat at a time, on schedule, soon after a change, and later
// after a failure.

import {
  backOffMs,
  CHANGE_GAP_MS,
  DEFAULT_INTERVAL_MS,
  HANGS_AFTER_MS,
  intervalMsOf,
  nextBeatMs,
  RECHECK_MS,
  REQUEST_TIMEOUT_MS,
} from './schedule.js';
import { isEqual } from './store.js';
import { timedOut } from './transport.js';

const FINAL_FAILURES = ['taken', 'unauthorized', 'refused']; // only the host can help

/**
 * `desired` is the state that the server is to have: the body's fields as in the HTTP contract, and `asks`, a number
 * that conflicts.js raises when it needs a new forecast. A state that the server has answered is `acknowledged`.
 * `canBeat()` and `isStreaming()` are asked before a beat; `onAnswer(answer, sent, wasFailing)` or
 * `onFailure(error, isFinal)` is called after it.
 */
export function createHeartbeat({ browser, store, transport, desired, canBeat, isStreaming, onAnswer, onFailure }) {
  let body; // of the last beat of this tab id
  let acknowledged = null; // the state in the last answered beat of this tab id
  let inFlight = null; // the one beat under way
  let isRepeatDue = false; // after the one under way
  let timer;
  let intervalMs = DEFAULT_INTERVAL_MS;
  let lastBeatAt = -Infinity; // of this tab id
  let othersLeftAt = -Infinity;
  let failures = 0;
  let isTakenOnce = false;
  let backOffUntil = 0; // a change waits for it, a waking page doesn't
  let retryAfterUntil = 0; // the server asked: everything waits for it

  function beat() {
    const request = { sent: desired, abort: new AbortController() };
    inFlight = request;
    browser.clearTimer(timer);
    body = bodyOf(desired);
    request.timeout = setTimer(() => {
      settle(request, fail, timedOut());
      cancel(request);
    }, REQUEST_TIMEOUT_MS);
    isRepeatDue = false;
    lastBeatAt = browser.now();
    request.answered = transport.heartbeat(body, request.abort.signal).then(
      (answer) => settle(request, succeed, answer),
      (error) => settle(request, fail, error),
    );
  }

  function bodyOf({ asks, ...state }) {
    const { tabId, version } = store.getSnapshot();
    const isNewQuestion = asks !== acknowledged?.asks;
    return {
      ...state,
      tab_id: tabId,
      version: isNewQuestion ? null : isStreaming() ? undefined : version,
      visible: browser.isVisible(),
    };
  }

  function settle(request, outcome, value) {
    if (inFlight !== request) return; // abandoned meanwhile: its answer no longer counts
    inFlight = null;
    browser.clearTimer(request.timeout);
    outcome(value, request.sent);
  }

  function succeed(answer, sent) {
    const wasFailing = failures;
    acknowledged = sent;
    retryAfterUntil = 0;
    forgetFailures();
    intervalMs = intervalMsOf(answer.heartbeat_seconds);
    scheduleNext();
    onAnswer(answer, sent, wasFailing);
    if (isRepeatDue || desired !== acknowledged) beatSoon();
  }

  function fail(error) {
    const { kind, retryAfterMs } = error;
    if (kind === 'taken' && !isTakenOnce) {
      isTakenOnce = true;
      takeNewTabId();
      beatSoon();
      return;
    }
    // An `active` that is refused is not sent again, see attention.js.
    const isFinal = FINAL_FAILURES.includes(kind) && !error.errors?.active;
    if (!isFinal) {
      const waitMs = backOffMs(++failures, intervalMs, retryAfterMs, browser.random);
      backOffUntil = browser.now() + waitMs;
      if (retryAfterMs) retryAfterUntil = browser.now() + retryAfterMs;
      schedule(waitMs);
    }
    onFailure(error, isFinal);
    if (isRepeatDue) beatSoon(retryAfterUntil);
  }

  function forgetFailures() {
    failures = backOffUntil = 0;
    isTakenOnce = false;
  }

  function schedule(delayMs) {
    browser.clearTimer(timer);
    timer = setTimer(beat, delayMs);
  }

  /** While the page stands still, the browser's worker beats for it. */
  const setTimer = (run, delayMs) => browser.setTimer(run, delayMs, transport.standIn?.(body, intervalMs));

  function scheduleNext() {
    const nextMs = nextBeatMs(intervalMs, browser.random);
    const recheckMs = othersLeftAt + RECHECK_MS - browser.now();
    schedule(recheckMs > 0 ? Math.min(recheckMs, nextMs) : nextMs);
  }

  /** Beat now, or as soon as `earliest` and the gap to the last beat allow. */
  function beatSoon(earliest = backOffUntil) {
    if (inFlight || !canBeat()) return;
    const waitMs = Math.max(earliest, lastBeatAt + CHANGE_GAP_MS) - browser.now();
    if (waitMs > 0) schedule(waitMs);
    else beat();
  }

  function takeNewTabId() {
    reset();
    store.set({ status: 'connecting', tabId: browser.newTabId(), version: null, error: null });
  }

  /** Gives up the tab id. Returns whether a beat with it may have reached the server. */
  function reset() {
    const wasSent = lastBeatAt > -Infinity;
    body = acknowledged = null;
    lastBeatAt = -Infinity;
    return wasSent;
  }

  /** Stops beating. Returns the beat under way, whose answer no longer counts; null if there is none. */
  function abandon() {
    const request = inFlight;
    inFlight = null;
    browser.clearTimer(timer);
    return request;
  }

  /** Aborts a request. It may reach the server all the same, so a tab that leaves must say goodbye even then. */
  function cancel(request = abandon()) {
    if (!request) return;
    browser.clearTimer(request.timeout);
    request.abort.abort();
  }

  return {
    abandon,
    beatSoon,
    cancel,
    reset,
    schedule,
    takeNewTabId,
    desired: () => desired,
    intervalMs: () => intervalMs,
    isOverdue: () => browser.now() - lastBeatAt > intervalMs * 1.1,

    change(next) {
      desired = acknowledged && isEqual(next, acknowledged) ? acknowledged : next;
      // After this turn of the event loop, so that what changes together is one beat. Before the first
      // answer a beat is under way or planned anyway, and its answer compares.
      if (acknowledged) queueMicrotask(() => acknowledged && desired !== acknowledged && beatSoon());
    },

    start() {
      forgetFailures();
      if (lastBeatAt > -Infinity) store.set({ status: 'connecting', error: null });
      else takeNewTabId();
      // After this turn, so that one that is stopped at once (React's StrictMode) never beats.
      queueMicrotask(() => beatSoon(retryAfterUntil));
    },

    /** Ignores the back-off. A beat that was just sent is repeated after its answer; one that hangs is aborted. */
    beatNow() {
      if (inFlight && browser.now() - lastBeatAt < HANGS_AFTER_MS) {
        isRepeatDue = true;
      } else {
        cancel();
        beatSoon(retryAfterUntil);
      }
    },

    /** One more beat, after the one under way if there is any. */
    beatAgain() {
      if (inFlight) isRepeatDue = true;
      else beatSoon();
    },

    endBackOff() {
      if (failures) beatSoon(retryAfterUntil);
    },

    /** Others have left, but may only be reloading: ask again soon, at most once per interval. */
    recheck() {
      if (browser.now() - othersLeftAt <= intervalMs) return;
      othersLeftAt = browser.now();
      scheduleNext();
    },

    pause: () => browser.clearTimer(timer),
  };
}
