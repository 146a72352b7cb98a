// One event stream kept open: opened again when it breaks, goes silent or is to carry other records.

import { createRosters } from './roster.js';
import { readEvents } from './sse.js';

const BATCH_MS = 50; // records that are wanted together are asked for together
const UNSUBSCRIBE_DELAY_MS = 5000; // records that nobody wants any more are streamed a little longer
const OPEN_TIMEOUT_MS = 10_000; // a proxy that holds the stream back is as good as none
const SILENCE_TIMEOUT_MS = 40_000; // the server sends something every 15 s
const MIN_LIFETIME_MS = 5000; // a stream that ends sooner has failed
const DEFAULT_RETRY_MS = 2000; // until the server sends its own
const MAX_RETRY_MS = 30_000;
const REFUSED_RETRY_MS = 15_000; // at least

const ROSTER_EVENTS = ['snapshot', 'join', 'update', 'leave', 'saved', 'claims'];

/**
 * `sendAuthorized(send)` calls `send` with the headers that say who asks. `onRoster(record, roster)` is called for each change and each confirmation,
 * `onLost(goodUntil)` when nothing is confirmed any more, `onHeard()` for any sign of life, `onRefused(error)` for 401
 * and 403, `onForbidden(records)` where only some records are, `onUnsupported()` where the server has no streams, and
 * `onEvent(kind, data)` for whatever else comes. `failureOf` and `presenceError` are those of transport.js.
 */
export function createEventStream({
  browser,
  base,
  credentials,
  sendAuthorized,
  failureOf,
  presenceError,
  onRoster,
  onLost,
  onHeard,
  onRefused,
  onForbidden,
  onUnsupported,
  onEvent,
  isUnsupported = false, // as an earlier stream found; until somebody asks for another try
}) {
  const { fetch } = browser; // called bare: the native one refuses to be a method of something else
  const rosters = createRosters(onRoster);
  let wanted = [];
  let current = null; // the request that is read
  let next = null; // the one that will take its place
  let connectTimer;
  let connectAt = Infinity;
  let notBefore = 0; // the server asked: everything waits for it
  let failures = 0;
  let retryMs = DEFAULT_RETRY_MS;
  let forbidden = []; // of the records that are streamed
  let isClosed = false;

  const unreachable = (message, details) => presenceError('unreachable', message, details);
  const silence = () => unreachable('The stream went silent.', { isSilence: true });

  function want(records) {
    const before = wanted;
    wanted = [...new Set(records)].sort();
    if (String(wanted) === String(before)) return;
    rosters.keepOnly(wanted);
    if (!wanted.length) {
      disconnect();
      return;
    }
    const streamed = (next ?? current)?.records ?? [];
    const hasMore = wanted.some((record) => !streamed.includes(record));
    connectIn(hasMore ? BATCH_MS : UNSUBSCRIBE_DELAY_MS);
  }

  // --- the request ---

  function connectIn(delayMs) {
    const at = Math.max(browser.now() + delayMs, notBefore);
    if (at >= connectAt) return;
    browser.clearTimer(connectTimer);
    connectAt = at;
    connectTimer = browser.setTimer(connect, at - browser.now());
  }

  function cancelConnect() {
    browser.clearTimer(connectTimer);
    connectAt = Infinity;
  }

  async function connect() {
    cancelConnect();
    if (isClosed || isUnsupported || !wanted.length || String((next ?? current)?.records) === String(wanted)) return;
    if (next) drop(next);
    const request = {
      records: wanted,
      abort: new AbortController(),
      heardAt: browser.now(),
      resumeId: current ? null : rosters.resumeId(),
    };
    next = request;
    request.timer = browser.setTimer(() => fail(request, unreachable('Timed out.')), OPEN_TIMEOUT_MS);
    try {
      const response = await open(request);
      if (!response) return;
      await readEvents(response.body, {
        onChunk: () => onChunk(request),
        onEvent: (event) => receive(request, event),
        onRetry: (ms) => (retryMs = Math.min(ms, MAX_RETRY_MS)),
      });
      fail(request, unreachable('The stream ended.'));
    } catch (error) {
      fail(request, error.kind ? error : unreachable(error.message, { cause: error }));
    }
  }

  /** Gives nothing where the request was dropped meanwhile; throws for anything but a stream. */
  async function open(request) {
    const headers = { Accept: 'text/event-stream' };
    if (request.resumeId) headers['Last-Event-ID'] = request.resumeId;
    const query = new URLSearchParams(request.records.map((record) => ['record', record]));
    const response = await sendAuthorized((authorization) =>
      request.isOver
        ? null
        : fetch(`${base}/events?${query}`, {
            headers: { ...headers, ...authorization },
            credentials,
            cache: 'no-store',
            redirect: 'manual',
            signal: request.abort.signal,
          }),
    );
    if (!response) return null;
    const isStream = response.headers?.get('Content-Type')?.startsWith('text/event-stream');
    if (!response.ok || !isStream || !response.body) throw await refusalOf(response);
    return response;
  }

  async function refusalOf(response) {
    // As the standard for event streams has it: "don't reconnect". Anything else may be somebody else's answer.
    if (response.status === 204) return presenceError('unsupported', 'No event streams here.', { status: 204 });
    const answer = await response.json?.().catch(() => null);
    return failureOf(response, answer, browser.wallNow());
  }

  function drop(request) {
    request.isOver = true;
    browser.clearTimer(request.timer);
    request.abort.abort();
    if (request === next) next = null;
    if (request === current) current = null;
  }

  function disconnect() {
    cancelConnect();
    if (next) drop(next);
    if (!current) return;
    drop(current);
    lose(browser.now());
  }

  // --- what comes ---

  function onChunk(request) {
    if (request.isOver) throw new Error('Over.');
    request.heardAt = browser.now();
    if (request === next) takeOver(request);
    onHeard();
  }

  /** The new stream speaks, so the old one, if any, has sent all that it had to. */
  function takeOver(request) {
    const old = current;
    current = request;
    next = null;
    forbidden = [];
    if (old) drop(old);
    request.openedAt = browser.now();
    browser.clearTimer(request.timer);
    failWhenSilent(request);
    if (request.resumeId) rosters.confirmVersion(request.resumeId);
  }

  function failWhenSilent(request) {
    const leftMs = request.heardAt + SILENCE_TIMEOUT_MS - browser.now();
    if (leftMs <= 0) fail(request, silence());
    else request.timer = browser.setTimer(() => failWhenSilent(request), leftMs);
  }

  function receive(request, { kind, data, id }) {
    if (request.isOver) return;
    // An event without data is a change of one's own. It is known of which record only where there is just one.
    const isOwnChange = !data && request.records.length === 1;
    if (id !== undefined) rosters.setVersion(id, isOwnChange ? request.records[0] : null);
    if (!data) return;
    const message = JSON.parse(data);
    if (kind === 'forbidden') {
      forbidden = message.records;
      onForbidden(forbidden.filter((record) => wanted.includes(record)));
      return;
    }
    if (!wanted.includes(message.record)) return;
    if (ROSTER_EVENTS.includes(kind)) rosters.apply(message.record, kind, message);
    else onEvent(kind, message);
  }

  // --- what fails ---

  function fail(request, error) {
    if (request.isOver) return;
    const wasCurrent = request === current;
    const didLast = wasCurrent && browser.now() - request.openedAt > MIN_LIFETIME_MS;
    failures = didLast ? 0 : failures + 1;
    drop(request);
    // A stream that ended was good until now; one that is silent, only until its last word.
    if (wasCurrent) lose(error.isSilence ? request.heardAt : browser.now());
    if (error.kind === 'unauthorized') onRefused(error);
    if (error.kind === 'unsupported') {
      isUnsupported = true;
      onUnsupported();
      return;
    }
    if (isClosed || !wanted.length || (wasCurrent && next)) return;
    const askedMs = error.retryAfterMs ?? 0;
    if (askedMs) notBefore = browser.now() + askedMs;
    connectIn(askedMs + backOffMs(error));
  }

  /** Full jitter: after a restart every client comes back at once, but for it. */
  function backOffMs({ kind }) {
    if (kind === 'unauthorized') return REFUSED_RETRY_MS * (1 + browser.random());
    return Math.min(MAX_RETRY_MS, retryMs * 2 ** Math.max(0, failures - 1)) * browser.random();
  }

  function lose(goodUntil) {
    rosters.lose();
    onLost(goodUntil);
  }

  /** For a page that may have slept: a stream that was silent meanwhile is not to be trusted. */
  function checkSilence() {
    if (current && browser.now() - current.heardAt > SILENCE_TIMEOUT_MS) fail(current, silence());
  }

  return {
    want,
    checkSilence,
    rosterOf: rosters.get,
    isForbidden: (record) => forbidden.includes(record),
    isOpen: () => !!current,

    /**
     * The page is looked at, or the service answers again: no reason to wait longer. `isAsked`: by the host, which may
     * know of streams that there were not before.
     */
    wake(isAsked = false) {
      if (isAsked) isUnsupported = false;
      checkSilence();
      if (!isClosed && wanted.length && !current && !next) connectIn(0);
    },

    close() {
      disconnect();
      isClosed = true;
    },
  };
}
