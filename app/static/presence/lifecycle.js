// When the tab enters the record and when it leaves: with the page, or as the host says.

import { HANGS_AFTER_MS } from './schedule.js';

/**
 * `attention()` gives what attention.js makes, once it is loaded; `onClose()` is called when the tab has nothing to listen
 * for any more.
 */
export function createLifecycle({ browser, store, transport, heartbeat, freshness, late, onClose }) {
  let isRunning = false;
  let isAway = false; // left with the page, which may come back from the back/forward cache
  let stopListening;

  function resume() {
    if (isRunning) {
      wake();
      return;
    }
    isRunning = true;
    stopListening = browser.listen({ wake, glance, hide: () => late()?.hide(), leave, freeze: heartbeat.pause });
    heartbeat.start();
  }

  function wake() {
    if (!isRunning || late()?.endsFlicker()) return;
    freshness.checkAge();
    if (isAway) {
      isAway = false;
      heartbeat.takeNewTabId();
    }
    heartbeat.beatNow();
  }

  /** The user may be back. A beat is overdue after a sleep that no other event has announced. */
  function glance() {
    if (heartbeat.isOverdue()) wake();
  }

  /** The page is unloaded, and no code runs afterwards: cancels the beat under way, and sends the goodbye at once. */
  function leave() {
    if (isAway) return;
    isAway = true;
    heartbeat.cancel();
    if (retire('paused')) transport.leave(store.getSnapshot().tabId);
  }

  /** The page stays open: the goodbye waits for the beat under way, which might register the tab again after it. */
  async function stop() {
    const last = heartbeat.abandon() ?? browser.workerRequest?.();
    close();
    const { tabId } = store.getSnapshot();
    const sendGoodbye = () => transport.leave(tabId);
    if (retire('stopped')) await (last ? whenOver(last, sendGoodbye) : sendGoodbye());
  }

  /** Calls `run` once the beat is answered or hangs, or the page is unloaded. */
  function whenOver(request, run) {
    return new Promise((resolve) => {
      const timer = browser.setTimer(onOver, HANGS_AFTER_MS);
      let stopWaiting = browser.listen({ wake() {}, glance() {}, hide() {}, leave: onOver });
      request.answered.then(onOver);

      function onOver() {
        if (!stopWaiting) return;
        stopWaiting();
        stopWaiting = null;
        browser.clearTimer(timer);
        heartbeat.cancel(request);
        resolve(run());
      }
    });
  }

  /** The server refuses this tab. Only the host can help, and then call resume(). */
  function halt(error) {
    heartbeat.abandon();
    close();
    retire('stopped', error);
  }

  /** Returns whether there is a goodbye to send. */
  function retire(status, error = null) {
    const wasSent = !error && heartbeat.reset();
    freshness.unconfirm();
    store.set({ status, error });
    return wasSent;
  }

  function close() {
    isRunning = isAway = false;
    onClose();
    stopListening?.();
    stopListening = null;
  }

  return { resume, stop, halt, isActive: () => isRunning && !isAway };
}
