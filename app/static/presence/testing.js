// For the tests of hosts: a service in the page, or in Node, in which people come, edit and leave by a line of code.

const PING_MS = 15_000; // as the service does
const HEARTBEAT_SECONDS = 30;
const CALL = /^(.*)\/([a-z][a-z0-9_]{0,63})\/([\w-]{1,64})\/(heartbeat|unregister|claim|claim\/decline|saved|signal)$/;
const HERE = 'http://localhost'; // where a page has no address

/** See testing.d.ts. */
export function createFakeService({
  base = '/api/v1/presence',
  me = { id: 'me', name: 'Me' },
  streams: hasStreams = true,
} = {}) {
  const records = new Map(); // "flow:12" -> its state
  const streams = new Set();
  const calls = [];
  const startedAt = new Date().toISOString();
  let failure = null;
  let lastTabId = 0;

  const resolveUrl = (url) => new URL(url, globalThis.location?.href ?? HERE).href;

  function recordOf(name) {
    if (!records.has(name))
      records.set(name, { version: 1, tabs: new Map(), since: new Map(), saves: [], claims: new Map(), waiting: [] });
    return records.get(name);
  }

  // --- what the record's tabs say ---

  function viewersOf(record) {
    const viewers = new Map();
    for (const { user, body, isActive } of record.tabs.values()) {
      if (keyOf(user) === keyOf(me)) continue;
      const known = viewers.get(keyOf(user));
      viewers.set(keyOf(user), {
        ...user,
        tabs: (known?.tabs ?? 0) + 1,
        mode: known?.mode === 'edit' ? 'edit' : body.mode,
        has_dirty_tab: !!known?.has_dirty_tab || body.dirty,
        active_fields: union(known?.active_fields, body.active_field ? [body.active_field] : []),
        away: (known?.away ?? true) && !isActive,
        since: record.since.get(keyOf(user)),
        dirty_fields: union(known?.dirty_fields, body.dirty_fields),
      });
    }
    return [...viewers.values()].map(({ dirty_fields, ...viewer }) =>
      dirty_fields.length ? { ...viewer, dirty_fields } : viewer,
    );
  }

  /** A heartbeat's answer leaves out the tab's own saves. */
  function listOf(record, tabId) {
    const viewers = viewersOf(record);
    const claims = new Map([...record.claims].map(([field, claim]) => [field, withWaiting(record, field, claim)]));
    const saves = record.saves.filter((saved) => saved.tab_id !== tabId);
    return {
      viewers,
      total: viewers.length,
      version: String(record.version),
      ...(saves.length && { saved: saves }),
      ...(claims.size && { claims: Object.fromEntries(claims) }),
    };
  }

  function withWaiting(record, field, claim) {
    const waiting = record.waiting.filter((row) => row.field === field).map(({ field: _, ...row }) => row);
    return waiting.length ? { ...claim, waiting } : claim;
  }

  function forecastFor(record, { tab_id: tab, base_version: baseVersion, dirty_fields: unsaved = [] }) {
    const saves = record.saves
      .filter((save) => save.tab_id !== tab && save.lock_version > baseVersion)
      .map((save) => ({
        ...save,
        own: keyOf(save.user) === keyOf(me),
        touches: save.fields.filter((name) => unsaved.includes(name)),
      }));
    const isUnsavedBy = (name, { body }) => !!body.dirty_fields?.includes(name);
    const others = [...record.tabs.values()].filter(({ user }) => keyOf(user) !== keyOf(me));
    const own = [...record.tabs].filter(([id, { user }]) => id !== tab && keyOf(user) === keyOf(me));
    const contested = unsaved.map((name) => [
      name,
      others.filter((other) => isUnsavedBy(name, other)).map(({ user }) => userOf(user)),
    ]);
    return {
      base_version: baseVersion,
      saves,
      collisions: unsaved.filter((name) => saves.some(({ touches }) => touches.includes(name))),
      contested: Object.fromEntries(contested.filter(([, users]) => users.length)),
      own_tabs: own.length,
      own_contested: unsaved.filter((name) => own.some(([, other]) => isUnsavedBy(name, other))),
      remembered_since: startedAt,
    };
  }

  /** All that follows a change: another version, and the list for everybody who watches. */
  function change(name, apply) {
    const record = recordOf(name);
    const textOf = () => JSON.stringify([[...record.tabs], record.saves, [...record.claims], record.waiting]);
    const before = textOf();
    apply(record);
    if (textOf() === before) return;
    record.version += 1;
    for (const stream of streams) if (stream.names.includes(name)) stream.sendList(name);
  }

  const enter = (name, id, user, body, isActive) =>
    change(name, ({ tabs, since }) => {
      if (!since.has(keyOf(user))) since.set(keyOf(user), new Date().toISOString());
      tabs.set(id, { user, body, isActive });
    });

  const leave = (name, id) =>
    change(name, (record) => {
      const { tabs, since, claims } = record;
      tabs.delete(id);
      const isHere = new Set([...tabs.values()].map(({ user }) => keyOf(user)));
      for (const user of since.keys()) if (!isHere.has(user)) since.delete(user);
      record.waiting = record.waiting.filter((row) => row.tab_id !== id);
      for (const [field, claim] of claims) if (claim.tab_id === id) pass(record, field);
    });

  /** The claim ends, and the first who waits for the field has it. */
  function pass(record, field) {
    const { user: passed_from } = record.claims.get(field);
    record.claims.delete(field);
    const next = record.waiting.find((row) => row.field === field);
    if (!next) return;
    stopWaiting(record, next.tab_id, field);
    record.claims.set(field, {
      user: next.user,
      tab_id: next.tab_id,
      since: new Date().toISOString(),
      passed_from,
    });
  }

  function stopWaiting(record, id, field) {
    record.waiting = record.waiting.filter((row) => row.tab_id !== id || row.field !== field);
  }

  function claim(name, id, user, field, { isForced = false, waits = false }) {
    const held = recordOf(name).claims.get(field);
    const isFree = !held || held.tab_id === id;
    if (isFree || isForced) {
      const taken = isFree ? {} : { taken_from: held.user };
      const next = {
        user: userOf(user),
        tab_id: id,
        since: held?.tab_id === id ? held.since : new Date().toISOString(),
        ...taken,
      };
      change(name, (record) => {
        record.claims.set(field, next);
        stopWaiting(record, id, field);
      });
      return { claimed: true, claim: next };
    }
    if (!waits) return { claimed: false, claim: held };
    const isMine = (row) => row.tab_id === id && row.field === field;
    change(name, (record) => {
      const row = { field, user: userOf(user), tab_id: id, since: new Date().toISOString() };
      if (!record.waiting.some(isMine)) record.waiting = [...record.waiting, row];
    });
    const queue = recordOf(name).waiting.filter((row) => row.field === field);
    return { claimed: false, claim: held, place: queue.findIndex(isMine) + 1 };
  }

  function release(name, id, field) {
    const isTheirs = recordOf(name).claims.get(field)?.tab_id === id;
    change(name, (record) => (isTheirs ? pass(record, field) : stopWaiting(record, id, field)));
    return true;
  }

  function decline(name, id, field) {
    const { claims, waiting } = recordOf(name);
    if (claims.get(field)?.tab_id !== id) return 0;
    const left = waiting.filter((row) => row.field !== field);
    change(name, (record) => (record.waiting = left));
    return waiting.length - left.length;
  }

  const save = (name, id, user, lockVersion, fields) =>
    change(name, (record) => {
      const saved = {
        lock_version: lockVersion,
        fields,
        user: userOf(user),
        tab_id: id,
        saved_at: new Date().toISOString(),
      };
      record.saves = [...record.saves, saved];
    });

  function signal(name, id, user, kind, data) {
    const event = { record: name, tab_id: id, user: userOf(user), kind, data };
    for (const stream of streams) if (stream.names.includes(name)) stream.send('signal', event);
  }

  // --- what a page calls ---

  const answers = {
    heartbeat(name, { sent_at: _, ...body }) {
      const { tab_id: id, version, visible = true, active = visible, ...told } = body;
      enter(name, id, me, told, active);
      const record = recordOf(name);
      const answer = { registered: true, version: String(record.version), heartbeat_seconds: HEARTBEAT_SECONDS };
      if (version === undefined || version === answer.version) return answer;
      const forecast = told.base_version === undefined ? {} : { forecast: forecastFor(record, body) };
      return { ...answer, ...listOf(record, id), ...forecast };
    },
    unregister(name, { tab_id: id }) {
      leave(name, id);
      return { unregistered: true };
    },
    claim(name, { tab_id: id, field, take_over: isForced, wait: waits }, method) {
      const answer =
        method === 'DELETE' ? { released: release(name, id, field) } : claim(name, id, me, field, { isForced, waits });
      return { ...answer, version: String(recordOf(name).version) };
    },
    'claim/decline': (name, { tab_id: id, field }) => ({
      declined: decline(name, id, field),
      version: String(recordOf(name).version),
    }),
    saved(name, { tab_id: id, lock_version: version, fields }) {
      save(name, id, me, version, fields);
      return { announced: true };
    },
    signal: () => ({ relayed: true }), // there is nobody else to tell
  };

  async function fetch(address, init = {}) {
    const url = new URL(resolveUrl(address instanceof Request ? address.url : address));
    if (failure instanceof Error) throw failure;
    const isStream = url.pathname.endsWith('/events');
    if (failure) return reply(failure.status, { success: false, ...failure.answer }, failure.headers);
    if (isStream)
      return hasStreams
        ? openStream(url.searchParams.getAll('record'), init.signal)
        : new Response(null, { status: 204 });
    const [, , type, id, call] = url.pathname.match(CALL) ?? [];
    if (!call) return reply(404, { success: false, message: 'The fake service has no such call.' });
    const body = init.body ? JSON.parse(init.body) : Object.fromEntries(url.searchParams);
    const record = `${type}:${id}`;
    calls.push({ call, record, method: init.method ?? 'GET', body });
    return reply(200, { success: true, data: answers[call](record, body, init.method) });
  }

  function openStream(names, signal) {
    const encoder = new TextEncoder();
    let ping;
    const stream = {
      names,
      write: (text) => stream.controller.enqueue(encoder.encode(text)),
      send(kind, data, id) {
        stream.write(`event: ${kind}\n${id ? `id: ${id}\n` : ''}data: ${JSON.stringify(data)}\n\n`);
      },
      sendList(name) {
        const list = listOf(recordOf(name));
        stream.send('snapshot', { record: name, ...list }, list.version);
      },
      end(finish) {
        if (!streams.delete(stream)) return;
        clearInterval(ping);
        finish();
      },
    };
    const body = new ReadableStream({
      start(controller) {
        stream.controller = controller;
        streams.add(stream);
        stream.write('retry: 1000\n\n');
        names.forEach(stream.sendList);
      },
      cancel: () => stream.end(() => {}),
    });
    ping = setInterval(() => stream.write(':\n\n'), PING_MS);
    ping.unref?.(); // Node: keeps no test running
    signal?.addEventListener('abort', () => stream.end(() => stream.controller.error(signal.reason)));
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
  }

  const hasPage = typeof document !== 'undefined';

  return {
    calls,
    fetch,
    browser: { fetch, resolveUrl, ...(!hasPage && { listen: () => () => {} }) },

    /** Another fetch than before, for as long as it is installed; what is no call of ours goes to that one. */
    install() {
      const before = globalThis.fetch;
      const prefix = resolveUrl(base);
      globalThis.fetch = (address, init) => {
        const isOurs = resolveUrl(address instanceof Request ? address.url : address).startsWith(prefix);
        return isOurs ? fetch(address, init) : before(address, init);
      };
      return () => {
        globalThis.fetch = before;
        for (const stream of streams) stream.end(() => stream.controller.close());
      };
    },

    join(name, user, { mode = 'view' } = {}) {
      const id = `fake-tab-${++lastTabId}`;
      let body = { mode, dirty: false };
      let isActive = true;
      const report = (part) => {
        body = { ...body, ...part };
        enter(name, id, user, body, isActive);
      };
      report({});
      return {
        tabId: id,
        user,
        view: () => report({ mode: 'view', dirty: false, dirty_fields: undefined, active_field: undefined }),
        edit: (...fields) => report({ mode: 'edit', dirty: fields.length > 0, dirty_fields: fields }),
        look(isLooking = true) {
          isActive = isLooking;
          report({});
        },
        focus: (field) => report({ active_field: field ?? undefined }),
        type: (field) => signal(name, id, user, 'typing', field === null ? null : { field }),
        point: (data) => signal(name, id, user, 'cursor', data),
        claim: (field, { takeOver: isForced, wait: waits } = {}) =>
          claim(name, id, user, field, { isForced, waits }).claimed,
        release: (field) => void release(name, id, field),
        decline: (field) => decline(name, id, field),
        save(lockVersion, fields) {
          save(name, id, user, lockVersion, fields);
          report({ dirty: false, dirty_fields: [] });
        },
        leave: () => leave(name, id),
      };
    },

    tabs: (name) =>
      [...recordOf(name).tabs]
        .filter(([, { user }]) => user === me)
        .map(([id, { body }]) => ({ dirty_fields: [], active_field: null, ...body, tab_id: id })),

    fail(status, { message = `HTTP ${status}`, errors, retryAfterSeconds } = {}) {
      const headers = retryAfterSeconds === undefined ? {} : { 'Retry-After': String(retryAfterSeconds) };
      failure = { status, answer: { message, ...(errors && { errors }) }, headers };
    },
    disconnect() {
      failure = new TypeError('Failed to fetch');
      for (const stream of streams) stream.end(() => stream.controller.error(failure));
    },
    recover() {
      failure = null;
    },
  };
}

/** The snapshot of a presence, once it is as wanted. */
export function until(presence, isWanted) {
  return new Promise((resolve) => {
    const look = () => {
      if (!isWanted(presence.getSnapshot())) return;
      unsubscribe();
      resolve(presence.getSnapshot());
    };
    const unsubscribe = presence.subscribe(look);
    look();
  });
}

/** 42 and "42" are two people, and an agent is another viewer for each it works for. */
const keyOf = ({ id, agent }) => JSON.stringify([id, agent?.for.id]);
/** Only a viewer has a picture and more. */
const userOf = ({ id, name, agent }) => ({ id, name, ...(agent && { agent: { for: { id: agent.for.id } } }) });
const union = (some = [], more = []) => [...new Set([...some, ...more])].sort();

const reply = (status, answer, headers) =>
  new Response(JSON.stringify(answer), { status, headers: { 'Content-Type': 'application/json', ...headers } });
