// What the tests stand on: a service that keeps the contract, and a page whose life can be played.
import { vi } from 'vitest';

export const viewer = (id, name, more = {}) => ({
  id,
  name,
  tabs: 1,
  mode: 'view',
  has_dirty_tab: false,
  active_fields: [],
  ...more,
});

export const alice = viewer(1, 'Alice');
export const bob = viewer(2, 'Bob');

export const answer = (status, body, headers) =>
  new Response(typeof body === 'string' ? body : JSON.stringify(body), { status, headers });

export const failure = (status, message = 'No.', headers) => answer(status, { success: false, message }, headers);

const SOME_TIME = '2026-11-24T16:18:57.752+00:00';
const bobs = { id: 2, name: 'Bob' };

/** As app/presence/conflicts.py forecasts. */
function notesFor(
  { saves, claims, viewers, ownTabs = 0 },
  { tab_id: tab, base_version: base, dirty_fields: unsaved = [] },
) {
  const saved = saves.filter((save) => save.tab_id !== tab);
  const missed = saved
    .filter((save) => save.lock_version > base)
    .map((save) => ({
      ...save,
      own: save.user.id === 9,
      touches: save.fields.filter((name) => unsaved.includes(name)),
    }));
  const holders = (name) => viewers.filter((viewer) => viewer.dirty_fields?.includes(name));
  const contested = unsaved
    .filter((name) => holders(name).length)
    .map((name) => [name, holders(name).map(({ id, name: who }) => ({ id, name: who }))]);
  const forecast = {
    base_version: base,
    saves: missed,
    collisions: unsaved.filter((name) => missed.some(({ touches }) => touches.includes(name))),
    contested: Object.fromEntries(contested),
    own_tabs: ownTabs,
    remembered_since: SOME_TIME,
  };
  return structuredClone({
    ...(saved.length && { saved }),
    ...(Object.keys(claims).length && { claims }),
    ...(base !== undefined && { forecast }),
  });
}

/** Answers as DESIGN.md, section 3, says; `failing` (a function) answers in its place. */
export function createService({ heartbeatSeconds = 30 } = {}) {
  const service = {
    calls: [],
    tabs: new Set(),
    viewers: [],
    saves: [], // of others; tell() announces one
    claims: {},
    claimsVersion: undefined, // of the lists that show them; older services don't say it
    version: 'v1',
    failing: null,
    gate: null, // a promise that answers wait for
    streams: null, // createStreams(); without it there is no GET events
    heartbeatSeconds,

    show(...viewers) {
      service.viewers = viewers;
      service.version = `v${Number(service.version.slice(1)) + 1}`;
    },

    /** Bob, say, saves a version. */
    tell(lockVersion, fields, more = {}) {
      const save = { lock_version: lockVersion, fields, user: bobs, tab_id: 'b', saved_at: SOME_TIME, ...more };
      service.saves.push(save);
      service.show(...service.viewers);
      return save;
    },

    fetch: vi.fn(async (address, init = {}) => {
      if (address.includes('/events?')) return service.streams ? service.streams.answer(address, init) : failure(404);
      const [url, query] = address.split('?');
      // A proxy has dropped the body of a DELETE.
      const body = init.method === 'DELETE' ? Object.fromEntries(new URLSearchParams(query)) : JSON.parse(init.body);
      const call = { url, ...init, body, at: performance.now() };
      service.calls.push(call);
      const version = service.version; // what the server knew when the request reached it
      const viewers = structuredClone(service.viewers);
      if (service.gate && init.method === 'POST') await untilAborted(service.gate, init.signal);
      const refused = service.failing?.(call);
      if (refused) return refused;
      if (init.method === 'DELETE' && url.endsWith('/claim')) {
        delete service.claims[call.body.field];
        return answer(200, { success: true, data: { released: true, version: service.claimsVersion } });
      }
      if (init.method === 'DELETE') {
        service.tabs.delete(call.body.tab_id);
        return answer(200, { success: true, data: { unregistered: true } });
      }
      if (url.endsWith('/signal')) return answer(200, { success: true, data: { relayed: true } });
      if (url.endsWith('/claim/decline')) {
        return answer(200, { success: true, data: { declined: 1, version: service.claimsVersion } });
      }
      if (url.endsWith('/saved')) return answer(200, { success: true, data: { announced: true } });
      if (url.endsWith('/claim')) {
        const { tab_id: tab, field, take_over: isForced, wait } = call.body;
        const held = service.claims[field];
        const claimed = !held || isForced || held.tab_id === tab;
        if (claimed) service.claims[field] = { user: { id: 9, name: 'Me' }, tab_id: tab, since: SOME_TIME };
        const { waiting: _, ...claim } = service.claims[field];
        const data = { claimed, claim, version: service.claimsVersion, ...(wait && !claimed && { place: 1 }) };
        return answer(200, { success: true, data });
      }
      service.tabs.add(call.body.tab_id);
      const isKnown = call.body.version === version;
      const data = { registered: true, version, heartbeat_seconds: service.heartbeatSeconds };
      if (service.leftOut) data.left_out = service.leftOut;
      const list = {
        viewers,
        total: viewers.length,
        ...(service.hasLost && call.body.version && { unconfirmed: true }),
        ...notesFor(service, call.body),
      };
      return answer(200, { success: true, data: isKnown || !('version' in call.body) ? data : { ...data, ...list } });
    }),

    get beats() {
      return service.calls.filter(({ url }) => url.endsWith('/heartbeat'));
    },
    get goodbyes() {
      return service.calls.filter(({ method }) => method === 'DELETE');
    },
    get last() {
      return service.beats.at(-1);
    },
    hold() {
      let open;
      service.gate = new Promise((resolve) => (open = resolve));
      return async () => {
        service.gate = null;
        open();
        await settle();
      };
    },
  };
  return service;
}

/** Answers GET events; each stream is written by hand. `refusing` (a function) answers in its place. */
export function createStreams() {
  const streams = {
    all: [],
    refusing: null,
    asked: 0,

    answer(url, init) {
      const { headers, signal } = init;
      streams.asked += 1;
      const refused = streams.refusing?.(url, init);
      if (refused) return refused;
      const encoder = new TextEncoder();
      let controller;
      const body = new ReadableStream({
        start: (given) => (controller = given),
        cancel: () => (stream.isOpen = false),
      });
      const stream = {
        records: new URL(url, 'http://app.test').searchParams.getAll('record'),
        headers,
        isOpen: true,
        async write(text) {
          if (stream.isOpen) controller.enqueue(encoder.encode(text));
          await settle();
        },
        async send(kind, record, more) {
          const data = { record, ...more };
          const id = data.version ? `id: ${data.version}\n` : '';
          await stream.write(`event: ${kind}\n${id}data: ${JSON.stringify(data)}\n\n`);
        },
        snapshot: (record, version, ...viewers) =>
          stream.send('snapshot', record, { viewers, total: viewers.length, version }),
        async end() {
          if (stream.isOpen) controller.close();
          stream.isOpen = false;
          await settle();
        },
      };
      signal?.addEventListener('abort', () => {
        if (stream.isOpen) controller.error(new DOMException('Aborted', 'AbortError'));
        stream.isOpen = false;
      });
      streams.all.push(stream);
      return new Response(body, { headers: { 'Content-Type': 'text/event-stream; charset=utf-8' } });
    },

    get open() {
      return streams.all.filter(({ isOpen }) => isOpen);
    },
    get last() {
      return streams.all.at(-1);
    },
  };
  return streams;
}

function untilAborted(promise, signal) {
  return Promise.race([
    promise,
    new Promise((_, reject) => {
      signal?.addEventListener('abort', () => reject(new DOMException('Aborted', 'AbortError')));
    }),
  ]);
}

/** Lets what is due now happen: promises, and timers of 0 ms. */
export const settle = () => vi.advanceTimersByTimeAsync(0);
export const pass = (ms) => vi.advanceTimersByTimeAsync(ms);

let visibility = 'visible';
Object.defineProperty(document, 'visibilityState', { get: () => visibility, configurable: true });

export const page = {
  hide() {
    visibility = 'hidden';
    document.dispatchEvent(new Event('visibilitychange'));
  },
  show() {
    visibility = 'visible';
    document.dispatchEvent(new Event('visibilitychange'));
  },
  reset() {
    visibility = 'visible';
  },
  goOnline: () => window.dispatchEvent(new Event('online')),
  focus: () => window.dispatchEvent(new Event('focus')),
  freeze: () => document.dispatchEvent(new Event('freeze')),
  thaw: () => document.dispatchEvent(new Event('resume')),
  leave: (persisted = false) => window.dispatchEvent(transition('pagehide', persisted)),
  comeBack: () => window.dispatchEvent(transition('pageshow', true)),
};

const transition = (name, persisted) => Object.assign(new Event(name), { persisted });

/** Web Locks and a BroadcastChannel of one browser, for pages that are played in one. */
export function createOrigin() {
  const queues = new Map();
  const channels = new Set();

  function grant(name) {
    const [entry] = queues.get(name) ?? [];
    if (!entry || entry.isHeld) return;
    entry.isHeld = true;
    Promise.resolve(entry.run()).then(() => {
      queues.get(name).shift();
      grant(name);
      entry.resolve();
    });
  }

  return {
    locks: {
      request: (name, { signal }, run) =>
        new Promise((resolve, reject) => {
          const entry = { run, resolve, isHeld: false };
          if (!queues.has(name)) queues.set(name, []);
          const queue = queues.get(name);
          queue.push(entry);
          signal.addEventListener('abort', () => {
            if (entry.isHeld) return;
            queue.splice(queue.indexOf(entry), 1);
            reject(signal.reason);
          });
          queueMicrotask(() => grant(name));
        }),
    },
    openChannel(name) {
      const channel = {
        name,
        onmessage: null,
        postMessage(data) {
          const copy = structuredClone(data);
          for (const other of channels) {
            if (other === channel || other.name !== name) continue;
            queueMicrotask(() => channels.has(other) && other.onmessage?.({ data: copy }));
          }
        },
        close: () => channels.delete(channel),
      };
      channels.add(channel);
      return channel;
    },
    digest: async (text) => `hash of ${text}`,
  };
}
