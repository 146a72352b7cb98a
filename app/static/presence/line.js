// One event stream kept open: opened again when it breaks, goes silent or shall show other records.

import { applyEvent } from './roster.js';
import { readEvents } from './sse.js';
import { failureOf, presenceError } from './transport.js';

const GATHER_MS = 50; // records that are wanted together are asked for together
const LINGER_MS = 5000; // records that nobody wants any more are streamed on a little
const OPEN_TIMEOUT_MS = 10_000; // a proxy that holds the stream back is as good as none
const SILENCE_MS = 40_000; // the server says something every 15 s
const SOUND_MS = 5000; // a stream that ends sooner has failed
const RETRY_MS = 2000; // until the server tells its own
const LONGEST_RETRY_MS = 30_000;
const REFUSED_MS = 30_000;
const UNSUPPORTED_MS = 600_000; // no streams here, but perhaps after a deploy

const NOBODY = '0'; // the version of every record that nobody has open
const ROSTER_EVENTS = ['snapshot', 'join', 'update', 'leave', 'saved', 'claims'];

/**
 * `authorize()` gives a request's headers. `onRoster(name, roster)` tells each change and each confirmation,
 * `onLost(goodUntil)` that nothing is confirmed any more, `onHeard()` any sign of life, `onRefused(error)` 401 and
 * 403, `onEvent(kind, data)` whatever else comes.
 */
export function createLine({ browser, base, credentials, authorize, onRoster, onLost, onHeard, onRefused, onEvent }) {
  const { fetch } = browser; // called bare
  const rosters = new Map(); // name -> { viewers, total, version, isLive }
  let wanted = [];
  let current = null; // what is read
  let next = null; // what will take its place
  let dialTimer;
  let dialAt = Infinity;
  let notBefore = 0; // the server asked: everything waits for it
  let failures = 0;
  let retryMs = RETRY_MS;
  let lastId = null; // the version that was heard last, of whichever record
  let isClosed = false;

  // --- which records ---

  function want(names) {
    const before = wanted;
    wanted = [...new Set(names)].sort();
    if (String(wanted) === String(before)) return;
    for (const name of rosters.keys()) if (!wanted.includes(name)) rosters.delete(name);
    if (!wanted.length) {
      hangUp();
      return;
    }
    const streamed = (next ?? current)?.names ?? [];
    const hasMore = wanted.some((name) => !streamed.includes(name));
    dialIn(hasMore ? GATHER_MS : LINGER_MS);
  }

  // --- the request ---

  function dialIn(delayMs) {
    const at = Math.max(browser.now() + delayMs, notBefore);
    if (at >= dialAt) return;
    browser.clearTimer(dialTimer);
    dialAt = at;
    dialTimer = browser.setTimer(dial, at - browser.now());
  }

  function stopDialling() {
    browser.clearTimer(dialTimer);
    dialAt = Infinity;
  }

  async function dial() {
    stopDialling();
    if (isClosed || !wanted.length || String((next ?? current)?.names) === String(wanted)) return;
    if (next) drop(next);
    const resumeFrom = current ? null : lastKnownId();
    const request = (next = { names: wanted, abort: new AbortController(), heardAt: browser.now(), resumeFrom });
    request.timer = browser.setTimer(() => fail(request, unreachable('No answer in time.')), OPEN_TIMEOUT_MS);
    try {
      const headers = { Accept: 'text/event-stream', ...(await authorize()) };
      if (request.isOver) return;
      if (resumeFrom) headers['Last-Event-ID'] = resumeFrom;
      const { signal } = request.abort;
      const query = new URLSearchParams(request.names.map((name) => ['record', name]));
      const response = await fetch(`${base}/events?${query}`, {
        headers,
        credentials,
        cache: 'no-store',
        redirect: 'manual',
        signal,
      });
      const isStream = response.headers?.get('Content-Type')?.startsWith('text/event-stream');
      if (!response.ok || !isStream || !response.body) throw await refusalOf(response);
      await readEvents(response.body, {
        onChunk: () => hear(request),
        onEvent: (event) => take(request, event),
        onRetry: (ms) => (retryMs = Math.min(ms, LONGEST_RETRY_MS)),
      });
      fail(request, unreachable('The stream ended.'));
    } catch (error) {
      fail(request, error.kind ? error : unreachable(error.message, error));
    }
  }

  /** Only where we know whose version it is: that record gets no snapshot when it is still current. */
  function lastKnownId() {
    const isOfRecord = [...rosters.values()].some(({ version }) => version === lastId);
    return isOfRecord && lastId !== NOBODY ? lastId : null;
  }

  async function refusalOf(response) {
    const answer = await response.json?.().catch(() => null);
    const error = failureOf(response, answer, browser.wallNow());
    const passes = ['unauthorized', 'throttled'].includes(error.kind) || [408, 500, 502, 503, 504].includes(error.status);
    return passes ? error : presenceError('unsupported', 'No event stream.', { status: response.status });
  }

  function drop(request) {
    request.isOver = true;
    browser.clearTimer(request.timer);
    request.abort.abort();
    if (request === next) next = null;
    if (request === current) current = null;
  }

  // --- what comes ---

  function hear(request) {
    if (request.isOver) throw new Error('Over.');
    request.heardAt = browser.now();
    if (request === next) takeOver(request);
    onHeard();
  }

  /** The new stream speaks, so the old one, if any, has said all that it had to. */
  function takeOver(request) {
    const old = current;
    current = request;
    next = null;
    if (old) drop(old);
    request.openedAt = browser.now();
    browser.clearTimer(request.timer);
    watchSilence(request);
    if (!request.resumeFrom) return;
    for (const [name, roster] of rosters) {
      if (roster.version === request.resumeFrom) confirm(name, roster); // no snapshot comes for it, or one at once
    }
  }

  function watchSilence(request) {
    const leftMs = request.heardAt + SILENCE_MS - browser.now();
    if (leftMs <= 0) fail(request, silence());
    else request.timer = browser.setTimer(() => watchSilence(request), leftMs);
  }

  function take(request, { kind, data, id }) {
    if (request.isOver) return;
    if (id !== undefined) lastId = id;
    if (!data) {
      // One's own change, which says only that the version moved on; of which record, only where there is one.
      const [name] = request.names;
      const roster = rosters.get(name);
      if (request.names.length === 1 && roster) rosters.set(name, { ...roster, version: id });
      return;
    }
    const message = JSON.parse(data);
    if (!wanted.includes(message.record)) return;
    if (!ROSTER_EVENTS.includes(kind)) {
      onEvent(kind, message);
      return;
    }
    const before = rosters.get(message.record);
    const roster = applyEvent(before, kind, message);
    if (roster) confirm(message.record, roster);
  }

  function confirm(name, roster) {
    const confirmed = { ...roster, isLive: true };
    rosters.set(name, confirmed);
    onRoster(name, confirmed);
  }

  // --- what fails ---

  function fail(request, error) {
    if (request.isOver) return;
    const wasCurrent = request === current;
    const wasSound = wasCurrent && browser.now() - request.openedAt > SOUND_MS;
    failures = wasSound ? 0 : failures + 1;
    drop(request);
    // One that is ended was good until now; one that is silent, only until its last word.
    if (wasCurrent) lose(error.isSilence ? request.heardAt : browser.now());
    if (error.kind === 'unauthorized') onRefused(error);
    if (isClosed || !wanted.length || (wasCurrent && next)) return;
    const askedMs = error.kind === 'unsupported' ? UNSUPPORTED_MS : (error.retryAfterMs ?? 0);
    if (askedMs) notBefore = browser.now() + askedMs;
    dialIn(askedMs + waitMs(error));
  }

  /** Full jitter: after a restart everybody comes back at once, but for it. */
  function waitMs({ kind }) {
    const least = kind === 'unauthorized' ? REFUSED_MS : retryMs;
    const ceiling = Math.min(Math.max(LONGEST_RETRY_MS, least), least * 2 ** Math.max(0, failures - 1));
    return kind === 'unauthorized' ? ceiling * (1 + browser.random()) : ceiling * browser.random();
  }

  function lose(goodUntil) {
    for (const roster of rosters.values()) roster.isLive = false;
    onLost(goodUntil);
  }

  function hangUp() {
    stopDialling();
    if (next) drop(next);
    if (!current) return;
    drop(current);
    lose(browser.now());
  }

  return {
    want,
    rosterOf: (name) => rosters.get(name),
    isOpen: () => !!current,
    /** Somebody may have come back: a stream that was silent in her sleep is not to be trusted. */
    glance() {
      if (current && browser.now() - current.heardAt > SILENCE_MS) fail(current, silence());
    },
    /** Somebody looks: no reason to wait longer. */
    wake() {
      this.glance();
      if (!isClosed && wanted.length && !current && !next) dialIn(0);
    },
    close() {
      hangUp();
      isClosed = true;
    },
  };
}

const silence = () => presenceError('unreachable', 'The stream went silent.', { isSilence: true });
const unreachable = (message, cause) => presenceError('unreachable', message, { cause });
