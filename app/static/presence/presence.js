// createPresence: keeps one tab on one record, and tells who else is there.

import { theBrowser } from './browser.js';
import {
  CHANGE_GAP_MS,
  DEFAULT_HEARTBEAT_MS,
  HANGS_AFTER_MS,
  REQUEST_TIMEOUT_MS,
  SECOND_LOOK_MS,
  SMALL_ROOM,
  STREAM_GRACE_MS,
  bridgeMs,
  heartbeatMsOf,
  nextBeatMs,
  retryMs,
  staleAfterMs,
} from './schedule.js';
import { createStore, reconcile } from './store.js';
import { createHttpTransport, timedOut } from './transport.js';

const NOBODY = '0'; // the version of a record that nobody has open

// What the service takes for a field's name. Another one is left out: it isn't worth the whole presence.
const FIELD_NAME = /^(?:[^\p{C}\p{Z}]| ){1,128}$/u;
const fieldOf = (name) => (FIELD_NAME.test(name ?? '') ? name : null);
const MOST_FIELDS = 100; // that the service takes

/** Of setDirty's value: true, false or the names of the fields. */
const dirtOf = (value) => ({
  dirty: !!(value.length ?? value),
  dirtyFields: value.filter?.(fieldOf).slice(0, MOST_FIELDS),
});

/** The options and the behaviour are in presence.d.ts and README.md. */
export function createPresence({
  type,
  id,
  base = '/api/v1/presence',
  mode = 'view',
  dirty = false,
  activeField = null,
  baseVersion,
  token,
  csrfToken,
  credentials = 'same-origin',
  autoStart = true,
  stream = true,
  share,
  shareKey,
  browser: ownBrowser,
  transport: ownTransport,
}) {
  const browser = { ...theBrowser(), ...ownBrowser };
  const transport =
    ownTransport ?? createHttpTransport({ type, id, base, token, csrfToken, credentials, browser });
  const store = createStore(browser.report);
  const handlers = { change: new Set(), unauthorized: new Set(), error: new Set(), signal: new Set() };

  // What the next beat says; `asks`: what a forecast depends on, so that another question is a beat that asks.
  let doing = { mode, ...dirtOf(dirty), activeField: fieldOf(activeField), baseVersion };
  let told = null; // what the last answered beat of this tab id said

  let isRunning = false;
  let isAway = false; // left with the page, which may come back from the back/forward cache
  let isEntered = false; // a beat of this tab id may have reached the server
  let isTakenOnce = false;
  let stopListening;

  let inFlight = null; // the one beat under way
  let isWokenInFlight = false;
  let beatTimer;
  let staleTimer;
  let hintTimer; // once
  let heartbeatMs = DEFAULT_HEARTBEAT_MS;
  let failures = 0;
  let lastBeatAt = -Infinity;
  let backOffUntil = 0; // a change waits for it, a waking page doesn't
  let retryAfterUntil = 0; // the server asked: everything waits for it
  let leftAt = -Infinity; // somebody else, last; noticed at most once in a heartbeat
  let confirmedAt = 0;
  let confirmedWallTime = null;
  let watcher = null; // of the stream, once its module is there
  let isStreaming = false; // the stream keeps the list; heartbeats only keep the tab
  let bridgeTimer;
  let conflicts; // once its module is there

  // --- one beat and what comes of it ---

  function beat() {
    const request = (inFlight = { sent: doing, abort: new AbortController() });
    request.timeout = browser.setTimer(() => {
      settle(request, onFailure, timedOut());
      request.abort.abort();
    }, REQUEST_TIMEOUT_MS);
    browser.clearTimer(beatTimer);
    isWokenInFlight = false;
    isEntered = true;
    lastBeatAt = browser.now();

    const { tabId, version } = store.getSnapshot();
    const body = {
      tab_id: tabId,
      mode: doing.mode,
      dirty: doing.dirty,
      active_field: doing.activeField ?? undefined,
      dirty_fields: doing.dirtyFields,
      base_version: doing.baseVersion,
      version: doing.asks !== told?.asks ? null : isStreaming ? undefined : version,
      visible: browser.isVisible(),
    };
    request.answered = transport.heartbeat(body, request.abort.signal).then(
      (answer) => settle(request, onAnswer, answer),
      (error) => settle(request, onFailure, error),
    );
  }

  function settle(request, outcome, value) {
    if (inFlight !== request) return; // given up meanwhile: its answer is history
    inFlight = null;
    browser.clearTimer(request.timeout);
    outcome(value, request.sent);
  }

  function onAnswer(answer, sent) {
    told = sent;
    if (failures) watcher?.back?.();
    failures = backOffUntil = retryAfterUntil = 0;
    isTakenOnce = false;
    heartbeatMs = heartbeatMsOf(answer.heartbeat_seconds);
    planNext();
    if (isStreaming) store.set({ status: 'live', error: null });
    else learn(answer);
    note(answer, sent, isStreaming);
    listenIn();
    if (isWokenInFlight || doing !== told) nudge();
  }

  function onFailure(error) {
    const { kind, retryAfterMs } = error;
    hintTimer ??= browser.setTimer(hint, REQUEST_TIMEOUT_MS);
    if (kind === 'taken' && !isTakenOnce) {
      isTakenOnce = true;
      takeNewTabId();
      nudge();
    } else if (kind === 'unauthorized') {
      halt(error, 'unauthorized');
    } else if (kind === 'taken' || kind === 'refused') {
      halt(error, 'error');
    } else {
      const waitMs = retryMs(++failures, heartbeatMs, retryAfterMs, browser.random);
      backOffUntil = browser.now() + waitMs;
      if (retryAfterMs) retryAfterUntil = browser.now() + retryAfterMs;
      plan(waitMs);
      store.set({ status: 'retrying', error });
      emit('error', error);
      if (isWokenInFlight) nudge(retryAfterUntil);
    }
  }

  /** Why nobody is seen, for who builds the page. */
  const hint = () =>
    import('./hint.js').then(({ hint }) => hint(store.getSnapshot(), { base, token, csrfToken, browser })).catch(() => {});

  function plan(delayMs) {
    browser.clearTimer(beatTimer);
    beatTimer = browser.setTimer(beat, delayMs);
  }

  function planNext() {
    const nextMs = nextBeatMs(heartbeatMs, browser.random);
    const secondLookMs = leftAt + SECOND_LOOK_MS - browser.now();
    plan(secondLookMs > 0 ? Math.min(secondLookMs, nextMs) : nextMs);
  }

  /** Beat now, or as soon as `earliest` and the gap to the last beat allow. */
  function nudge(earliest = backOffUntil) {
    if (!isRunning || isAway || inFlight || browser.isPrerendering()) return;
    const waitMs = Math.max(earliest, lastBeatAt + CHANGE_GAP_MS) - browser.now();
    if (waitMs > 0) plan(waitMs);
    else beat();
  }

  // --- the page comes and goes ---

  function wake() {
    if (!isRunning) return;
    if (!isStreaming && browser.now() - confirmedAt > staleAfterMs(heartbeatMs)) unconfirm();
    if (isAway) {
      isAway = false;
      takeNewTabId();
    } else if (inFlight && browser.now() - lastBeatAt < HANGS_AFTER_MS) {
      isWokenInFlight = true;
      return;
    }
    giveUp();
    nudge(retryAfterUntil);
  }

  /** Somebody looks: after a sleep that nothing else told of, the list is old. */
  function glance() {
    if (isAway || browser.now() - lastBeatAt > heartbeatMs * 1.1) wake();
  }

  /** The last beat on time where no worker may keep the time, and the word that nobody looks. */
  function hide() {
    // After this turn: some browsers hide a page right before they take it away, and then it's a goodbye.
    browser.setTimer(() => (inFlight ? (isWokenInFlight = true) : nudge()), 0);
  }

  /** A beat that falls due meanwhile would go out before the thaw is told of. */
  function freeze() {
    browser.clearTimer(beatTimer);
  }

  /** The page goes, and nothing of it runs afterwards: what is under way is recalled, the goodbye said at once. */
  function leave() {
    if (isAway) return;
    isAway = true;
    giveUp();
    if (retire('paused')) transport.leave(store.getSnapshot().tabId);
  }

  /** The page stays: what is under way may not be overtaken, or it would register the tab again. */
  function stop() {
    const last = inFlight;
    inFlight = null; // its answer is history
    unplug();
    const { tabId } = store.getSnapshot();
    if (!retire('stopped')) return Promise.resolve();
    if (!last) return transport.leave(tabId);

    return new Promise((resolve) => {
      let isSaid = false;
      const say = () => {
        if (isSaid) return;
        isSaid = true;
        last.abort.abort();
        browser.clearTimer(last.timeout);
        browser.clearTimer(patience);
        stopHearing();
        resolve(transport.leave(tabId));
      };
      const patience = browser.setTimer(say, HANGS_AFTER_MS);
      const stopHearing = browser.listen({ wake() {}, glance() {}, hide() {}, leave: say });
      last.answered.then(say);
    });
  }

  /** Whether there is a goodbye to say. */
  function retire(status) {
    const wasEntered = isEntered;
    isEntered = false;
    browser.clearTimer(beatTimer);
    unconfirm();
    store.set({ status });
    return wasEntered;
  }

  function takeNewTabId() {
    isEntered = false;
    told = null;
    lastBeatAt = -Infinity;
    store.set({ status: 'connecting', tabId: browser.newTabId(), version: null, error: null });
  }

  /** Its request may reach the server all the same: a beat can't be recalled, only answered with a goodbye. */
  function giveUp() {
    if (!inFlight) return;
    const { abort, timeout } = inFlight;
    inFlight = null;
    browser.clearTimer(timeout);
    abort.abort();
  }

  /** The server doesn't want this tab, and only the host can help. */
  function halt(error, event) {
    unplug();
    unconfirm();
    store.set({ status: 'stopped', error });
    emit(event, error);
  }

  function unplug() {
    isRunning = isAway = isStreaming = false;
    watcher?.close();
    watcher = null;
    browser.clearTimer(bridgeTimer);
    browser.clearTimer(beatTimer);
    stopListening?.();
    stopListening = null;
  }

  // --- the stream ---

  /** Only after an answered beat: who may not be here need not listen either. */
  async function listenIn() {
    if (!stream || ownTransport || watcher || !isRunning) return;
    const own = (watcher = { close() {}, signal() {} });
    try {
      // Loaded late: the core stays small, and a page without it polls.
      const { watchPresence } = await import('./stream.js');
      if (watcher !== own) return;
      watcher = watchPresence({
        record: `${type}:${id}`,
        base,
        token,
        csrfToken,
        credentials,
        share,
        shareKey,
        browser: ownBrowser,
        store,
        transport,
        onList,
        onLost,
        onBack: () => failures && nudge(retryAfterUntil),
        onRefused: () => !isAway && nudge(), // the beat asks for this record alone, and its answer decides
        onSignal: (signal) => emit('signal', signal),
      });
    } catch {
      if (watcher === own) watcher = null; // the next answered beat tries again
    }
  }

  function onList(list) {
    if (!isRunning || isAway) return;
    isStreaming = true;
    browser.clearTimer(bridgeTimer);
    learn(list);
    note(list);
    browser.clearTimer(staleTimer); // the stream itself says when it is lost
    // Not even this tab: Redis has lost its data, and everybody has to come back.
    if (list.version === NOBODY) plan(1000 * browser.random());
  }

  /** Most come back in a moment; until then the list stays. Then beats ask for it, and then it is old. */
  function onLost(goodUntil) {
    if (!isStreaming) return;
    isStreaming = false;
    const silentMs = browser.now() - goodUntil;
    confirmedAt = goodUntil;
    confirmedWallTime = browser.wallNow() - silentMs;
    bridgeTimer = browser.setTimer(() => !isStreaming && nudge(), bridgeMs(browser.random));
    staleTimer = browser.setTimer(unconfirm, Math.max(0, STREAM_GRACE_MS - silentMs));
  }

  // --- what is known ---

  function learn({ viewers, total, version, unconfirmed }) {
    const { viewers: before, version: known } = store.getSnapshot();
    if (!viewers && !(before && version === known)) return; // it owes us the list; the next beat asks again

    if (unconfirmed && !isStreaming && before && browser.now() - confirmedAt < 3 * heartbeatMs) {
      // Redis has lost its data. The next beat asks again, and by then everybody has beaten. Unless we were
      // away for a lease ourselves: then the others may be gone.
      unconfirm();
      store.set({ version: null, status: 'live', error: null });
      return;
    }
    if (!unconfirmed || !before) {
      confirmedAt = browser.now();
      confirmedWallTime = browser.wallNow();
    }
    browser.clearTimer(staleTimer);
    staleTimer = browser.setTimer(unconfirm, staleAfterMs(heartbeatMs));

    const staleSince = unconfirmed ? confirmedWallTime : null;
    const news = { fresh: !unconfirmed, staleSince, ...(!isStreaming && { status: 'live', error: null }) };
    if (!viewers) {
      store.set(news);
      return;
    }
    const { viewers: after, ...difference } = reconcile(before ?? [], viewers);
    if (!isStreaming && difference.left.length && after.length < SMALL_ROOM && confirmedAt - leftAt > heartbeatMs) {
      leftAt = confirmedAt;
      planNext();
    }
    store.set({ ...news, viewers: after, total: total ?? after.length, version });
    if (before && Object.values(difference).some((part) => part.length)) emit('change', difference);
  }

  // --- saves, claims and the forecast ---

  /** Loaded after the first answer. Rejects where it can't be; the next call tries again. */
  async function late(name, ...what) {
    const { createConflicts } = await import('./conflicts.js');
    conflicts ??= createConflicts(store, transport, change, () => doing);
    return conflicts[name](...what);
  }

  const note = (...news) => late('take', ...news).catch(() => {});

  function unconfirm() {
    browser.clearTimer(staleTimer);
    if (store.getSnapshot().fresh) store.set({ fresh: false, staleSince: confirmedWallTime });
  }

  function emit(event, detail) {
    for (const handler of [...handlers[event]]) {
      try {
        handler(detail);
      } catch (error) {
        browser.report(error);
      }
    }
  }

  // --- for the host ---

  function change(part) {
    const next = { ...doing, ...part };
    next.asks = conflicts?.question(next);
    if (JSON.stringify(next) === JSON.stringify(doing)) return;
    doing = told && JSON.stringify(next) === JSON.stringify(told) ? told : next;
    // After this turn of the event loop, so that what changes together is one beat. Before the first
    // answer a beat is under way or planned anyway, and its answer compares.
    if (told) queueMicrotask(() => told && doing !== told && nudge());
  }

  function resume() {
    if (isRunning) {
      wake();
      return;
    }
    isRunning = true;
    stopListening = browser.listen({ wake, glance, hide, leave, freeze });
    failures = backOffUntil = 0;
    isTakenOnce = false;
    if (isEntered) store.set({ status: 'connecting', error: null });
    else takeNewTabId();
    // After this turn, so that one that is stopped at once (React's StrictMode) never beats.
    queueMicrotask(() => nudge(retryAfterUntil));
  }

  if (autoStart) resume();

  return {
    getSnapshot: store.getSnapshot,
    subscribe: store.subscribe,
    on(event, handler) {
      const own = (detail) => handler(detail);
      handlers[event].add(own);
      return () => handlers[event].delete(own);
    },
    setMode: (value) => change({ mode: value }),
    setDirty: (value) => change(dirtOf(value)),
    setBaseVersion: (value) => change({ baseVersion: value ?? undefined }),
    claim: (...what) => late('claim', ...what),
    release: (...what) => late('release', ...what),
    announceSaved: (...what) => late('announceSaved', ...what),
    setActiveField: (value) => change({ activeField: fieldOf(value) }),
    /** Not to an empty room. */
    signal: (kind, data = null) => store.getSnapshot().viewers?.length && watcher?.signal(kind, data),
    resume,
    stop,
  };
}
