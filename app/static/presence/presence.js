// createPresence: registers one tab with one record, and knows who else is there. This module puts the parts together:
// heartbeat.js decides when a heartbeat is sent, lifecycle.js when the tab enters and leaves the record, and
// freshness.js which list of viewers is shown.

import { theBrowser } from './browser.js';
import { createFreshness } from './freshness.js';
import { createHeartbeat } from './heartbeat.js';
import { createLifecycle } from './lifecycle.js';
import { createListeners, createStore, isEqual } from './store.js';
import { createHttpTransport, failureOf, presenceError } from './transport.js';

// The service refuses a heartbeat with any other name: it is left out, and the tab stays registered.
const FIELD_NAME = /^(?:[^\p{C}\p{Z}]| ){1,128}$/u;
const validField = (name) => (FIELD_NAME.test(name ?? '') ? name : undefined);
const MAX_FIELDS = 100; // that the service accepts

/** What a heartbeat says for setDirty's value: true, false or the names of the fields. */
const dirtyState = (value) => ({
  dirty: !!(value.length ?? value),
  dirty_fields: value.filter?.(validField).slice(0, MAX_FIELDS),
});

/** The options and the behaviour are in presence.d.ts and README.md. */
export function createPresence({
  type,
  id,
  base = '/api/v1/presence',
  mode = 'view',
  dirty = false,
  activeField,
  baseVersion,
  autoStart = true,
  stream = true,
  browser: ownBrowser,
  transport: ownTransport,
  token: ownToken,
  ...others // csrfToken, credentials, share, shareKey, awayAfterMs
}) {
  const browser = { ...theBrowser(), ...ownBrowser };
  const token = ownToken == null ? ownToken : { current: ownToken };
  const connection = { ...others, token, base, browser };
  const transport = ownTransport ?? createHttpTransport({ ...connection, type, id });
  const store = createStore(browser.report);
  const listeners = {}; // by event
  const emit = (event, detail) => listeners[event]?.emit(detail);

  let watcher = null; // of the stream: a stand-in while its module is loaded
  let late; // what afterAnswer.js makes, once it is loaded

  const heartbeat = createHeartbeat({
    browser,
    store,
    transport,
    desired: { mode, ...dirtyState(dirty), active_field: validField(activeField), base_version: baseVersion },
    canBeat: () => lifecycle.isActive() && !browser.isPrerendering(),
    isStreaming: () => freshness.isStreaming(),
    onAnswer,
    onFailure,
  });
  const freshness = createFreshness({
    browser,
    store,
    heartbeat,
    onChange: (difference) => emit('change', difference),
  });
  const lifecycle = createLifecycle({
    browser,
    store,
    transport,
    heartbeat,
    freshness,
    late: () => late,
    onClose: closeStream,
  });

  /** What the modules that are loaded late are made with. */
  const parts = {
    ...connection,
    store,
    transport,
    heartbeat,
    freshness,
    lifecycle,
    emit,
    update,
    withConflicts,
  };

  function onAnswer(answer, sent, wasFailing) {
    if (wasFailing) watcher?.back?.();
    freshness.onAnswer(answer);
    withConflicts('apply', answer, sent, freshness.isStreaming()).catch(() => {});
    openStream();
  }

  function onFailure(error, isFinal) {
    if (isFinal) lifecycle.halt(error);
    else store.set({ status: 'retrying', error });
    import('./failures.js').then((failures) => failures.onFailure(error, parts)).catch(() => {});
    emit(error.kind === 'unauthorized' ? error.kind : 'error', error);
  }

  /** Only after an answered beat: a tab that the service refuses needs no stream. */
  async function openStream() {
    if (!stream || ownTransport || watcher || !lifecycle.isActive()) return;
    const opening = (watcher = {});
    try {
      // Loaded late: the core stays small, and a page without it polls.
      const { watchPresence } = await import('./presenceStream.js');
      if (watcher !== opening) return;
      watcher = watchPresence({ ...parts, record: `${type}:${id}`, failureOf, presenceError });
    } catch {
      if (watcher === opening) watcher = null; // the next answered beat tries again
    }
  }

  function closeStream() {
    watcher?.close?.();
    watcher = null;
  }

  /** Calls a method of conflicts.js, loaded on first use. Rejects if it can't be loaded; the next call tries again. */
  async function withConflicts(method, ...values) {
    const { createAfterAnswer } = await import('./afterAnswer.js');
    late ??= createAfterAnswer(parts);
    return late[method](...values);
  }

  function update(part) {
    const before = heartbeat.desired();
    const next = { ...before, ...part };
    next.asks = late?.question(next);
    if (!isEqual(next, before)) heartbeat.change(next);
  }

  if (autoStart) lifecycle.resume();

  return {
    getSnapshot: store.getSnapshot,
    subscribe: store.subscribe,
    on: (event, handler) => (listeners[event] ??= createListeners(browser.report)).add(handler),
    setMode: (value) => update({ mode: value }),
    setDirty: (value) => update(dirtyState(value)),
    setBaseVersion: (value) => update({ base_version: value ?? undefined }),
    claim: (...values) => withConflicts('claim', ...values),
    release: (...values) => withConflicts('release', ...values),
    decline: (...values) => withConflicts('decline', ...values),
    announceSaved: (...values) => withConflicts('announceSaved', ...values),
    setActiveField: (value) => update({ active_field: validField(value) }),
    signal: (...values) => watcher?.signal?.(...values),
    resume() {
      if (token) token.isStale = true; // another person may have signed in
      lifecycle.resume();
      watcher?.resume?.();
    },
    stop: lifecycle.stop,
  };
}
