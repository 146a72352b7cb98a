// <record-presence>: what a page gets for writing only HTML.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import 'presence/element.js';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/presenceStream.js';
import 'presence/failures.js';
import 'presence/fieldLock.js';
import { alice, failure, pass } from './fakes.js';
import { service, streams, useService } from './harness.js';

useService();
beforeEach(() => {
  vi.stubGlobal('fetch', (...request) => service.fetch(...request));
});
afterEach(async () => {
  document.body.replaceChildren();
  await pass(3000);
  vi.unstubAllGlobals();
});

async function show(html) {
  document.body.innerHTML = html;
  await pass(100);
  return document.querySelector('record-presence');
}

const FORM = '<form id="editor"><input name="title" value="Old"></form>';

test('draws the others, and tells what is unsaved in the form', async () => {
  service.show(alice);
  const element = await show(`<record-presence type="flow" id="12" form="editor"></record-presence>${FORM}`);
  expect(element.querySelector('.presence-face').getAttribute('aria-label')).toContain('Alice');
  expect(service.last).toMatchObject({
    url: '/api/v1/presence/flow/12/heartbeat',
    body: { mode: 'edit', dirty: false },
  });

  const input = document.querySelector('input');
  input.focus();
  input.value = 'New';
  input.dispatchEvent(new Event('input', { bubbles: true }));
  await pass(600);
  expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: ['title'], active_field: 'title' });
  element.tracker.rebase();
  await pass(600);
  expect(service.last.body.dirty).toBe(false);
});

test('taken out of the page it says goodbye, moved it stays', async () => {
  const element = await show('<record-presence type="flow" id="12"></record-presence><p></p>');
  document.querySelector('p').append(element);
  await pass(1000);
  expect(service.goodbyes).toHaveLength(0);
  expect(service.beats).toHaveLength(1);
  expect(service.last.body.mode).toBe('view');

  element.remove();
  await pass(100);
  expect(service.tabs.size).toBe(0);
  expect(element.presence).toBe(null);
  expect(element.children).toHaveLength(0);
});

test('another id is another presence, and without one there is none', async () => {
  const element = await show('<record-presence type="flow"></record-presence>');
  expect(service.beats).toHaveLength(0);
  element.id = '12';
  await pass(1000);
  element.id = '13';
  await pass(1000);
  expect(service.beats.map(({ url }) => url.split('/').at(-2))).toEqual(['12', '13']);
  expect(service.tabs.size).toBe(1);
});

test('an attribute that is set to what it is, or says how the tab is there, leaves the tab as it is', async () => {
  const element = await show(`<record-presence type="flow" id="12" form="editor"></record-presence>${FORM}`);
  await pass(1000);
  const { presence } = element;
  const { tabId } = presence.getSnapshot();
  await presence.claim('title');
  for (const name of ['type', 'id', 'form']) element.setAttribute(name, element.getAttribute(name));
  element.setAttribute('mode', 'view');
  element.setAttribute('base-version', '7');
  await pass(1000);
  expect(service.last.body).toMatchObject({ tab_id: tabId, mode: 'view', base_version: 7 });

  document.body.insertAdjacentHTML('beforeend', '<form id="other"><input name="note" value="a"></form>');
  document.querySelector('[name=note]').value = 'b';
  element.setAttribute('form', 'other');
  element.removeAttribute('mode');
  await pass(1000);
  expect(service.last.body).toMatchObject({ tab_id: tabId, mode: 'edit', dirty_fields: ['note'] });
  expect(service.goodbyes).toHaveLength(0);
  expect(service.claims.title.tab_id).toBe(tabId);
  expect(element.presence).toBe(presence);
});

test('a mode and a version that the page has set stay while attributes change that say nothing of them', async () => {
  const element = await show('<record-presence type="flow" id="12" base-version="7"></record-presence>');
  element.presence.setMode('edit');
  element.presence.setBaseVersion(8);
  element.presence.setDirty(['title']);
  element.setAttribute('form', 'not-there-yet');
  await pass(1000);
  expect(service.last.body).toMatchObject({ mode: 'edit', base_version: 8, dirty_fields: ['title'] });
});

test('two elements that exchange their records keep both tabs', async () => {
  await show(
    '<record-presence type="flow" id="12"></record-presence><record-presence type="flow" id="13"></record-presence>',
  );
  const [one, other] = document.querySelectorAll('record-presence');
  const ids = () => [one, other].map(({ presence }) => presence.getSnapshot().tabId);
  const before = ids();
  one.id = '13';
  other.id = '12';
  await pass(1000);
  expect(ids()).toEqual(before.reverse());
  expect(service.goodbyes).toHaveLength(0);
});

test('another element on the same record takes over in the same turn, and not in a later one', async () => {
  const element = await show('<record-presence type="flow" id="12"></record-presence>');
  const { tabId } = element.presence.getSnapshot();
  const next = element.cloneNode();
  element.replaceWith(next);
  await pass(1000);
  expect([...service.tabs]).toEqual([tabId]);
  expect(next.presence.getSnapshot().tabId).toBe(tabId);
  expect(element.presence).toBe(null);

  next.remove();
  await pass(100);
  document.body.append(element);
  await pass(1000);
  expect(service.tabs.size).toBe(1);
  expect(service.tabs.has(tabId)).toBe(false);
});

test('what is drawn comes back before anybody sees that a morph took it away', async () => {
  service.show(alice);
  const element = await show('<record-presence type="flow" id="12"></record-presence>');
  const [, note] = element.children;
  note.className = 'a placeholder of the host';
  element.replaceChildren(note);
  for (const name of ['class', 'role', 'aria-label']) element.removeAttribute(name);
  await Promise.resolve();
  expect(element.querySelector('.presence-face').getAttribute('aria-label')).toContain('Alice');
  expect(element).toMatchObject({ className: 'presence', role: 'group', ariaLabel: 'Also here' });
  expect(element.querySelectorAll('.placeholder')).toHaveLength(0);
});

test('a form that comes later is watched, and so is the one that takes its place', async () => {
  const element = await show('<record-presence type="flow" id="12" form="editor"></record-presence><main></main>');
  expect(service.last.body.mode).toBe('view');
  const main = document.querySelector('main');
  main.innerHTML = FORM;
  await pass(1000);
  expect(service.last.body.mode).toBe('edit');

  for (const value of ['New', 'Newer']) {
    main.innerHTML = FORM.replace('Old', value);
    await pass(1000);
    expect(service.last.body.dirty).toBe(false);
    const input = document.querySelector('input');
    input.value = 'Typed';
    input.dispatchEvent(new Event('input', { bubbles: true }));
    await pass(1000);
    expect(service.last.body.dirty_fields).toEqual(['title']);
  }
  element.tracker
    .form()
    .dispatchEvent(new CustomEvent('presence:saved', { bubbles: true, detail: { lockVersion: 9 } }));
  await pass(1000);
  expect(service.last.body).toMatchObject({ dirty: false, base_version: 9 });

  main.replaceChildren();
  await pass(1000);
  expect(service.last.body).toMatchObject({ mode: 'view', dirty: false });
});

test('events bubble out of shadow roots', async () => {
  const seen = [];
  const events = ['state', 'change', 'unauthorized', 'error'];
  const listen = ({ type, detail }) => seen.push([type, detail]);
  for (const event of events) document.addEventListener(`presence:${event}`, listen);
  const host = document.body.appendChild(document.createElement('section'));
  host.attachShadow({ mode: 'open' }).innerHTML = '<record-presence type="flow" id="12"></record-presence>';
  await pass(100);
  expect(seen.at(-1)).toEqual(['presence:state', expect.objectContaining({ status: 'live', viewers: [] })]);
  service.show(alice);
  await pass(35_000);
  expect(seen).toContainEqual(['presence:change', { joined: [alice], updated: [], left: [] }]);
  service.failing = () => failure(503);
  await pass(35_000);
  expect(seen).toContainEqual(['presence:error', expect.objectContaining({ kind: 'unavailable' })]);
  service.failing = () => failure(401);
  await pass(35_000);
  expect(seen).toContainEqual(['presence:unauthorized', expect.objectContaining({ status: 401 })]);
  for (const event of events) document.removeEventListener(`presence:${event}`, listen);
});

test('a token that a script has set counts after a morph has taken it away', async () => {
  const element = await show('<record-presence type="flow" id="12"></record-presence>');
  element.setAttribute('token', 'one');
  await pass(1000);
  const { tabId } = element.presence.getSnapshot();
  element.removeAttribute('token');
  await pass(35_000);
  expect(service.last).toMatchObject({ body: { tab_id: tabId }, headers: { Authorization: 'Bearer one' } });
});

const answerTokens = (tokens) =>
  vi.stubGlobal('fetch', async (url, init) => (url in tokens ? new Response(tokens[url]) : service.fetch(url, init)));

test('an address says who is calling, another one is no other tab, and a morph may take it away', async () => {
  answerTokens({ '/one': '{"token": "one"}', '/two': 'two' });
  service.failing = ({ headers }) => !/^Bearer (one|two)$/.test(headers.Authorization) && failure(401);
  const element = await show('<record-presence type="flow" id="12" token-url="/one"></record-presence>');
  await pass(1000);
  const { tabId } = element.presence.getSnapshot();
  element.setAttribute('token-url', '/two');
  service.failing = ({ headers }) => headers.Authorization !== 'Bearer two' && failure(401);
  await pass(35_000);
  element.removeAttribute('token-url');
  await pass(35_000);
  expect(service.beats.map(({ headers }) => headers.Authorization)).toEqual([
    'Bearer one',
    'Bearer one', // kept, until it is refused
    'Bearer two',
    'Bearer two',
  ]);
  expect(element.presence.getSnapshot()).toMatchObject({ status: 'live', tabId });
});

test('a function gives tokens before the attributes do, and nothing is sent before it is set', async () => {
  answerTokens({ '/one': 'one' });
  const element = await show('<record-presence type="flow" id="12" token=""></record-presence>');
  await pass(10_000);
  expect(service.calls).toHaveLength(0);
  element.setAttribute('token-url', '/one');
  element.getToken = async () => 'two';
  await pass(1000);
  expect(service.beats.map(({ headers }) => headers.Authorization)).toEqual(['Bearer two']);
  expect(service.tabs.size).toBe(1);
});

test('a function that was set before the element’s file was there counts', async () => {
  const element = document.implementation.createHTMLDocument().createElement('record-presence');
  Object.assign(element, { getToken: () => 'early', id: '12' });
  element.setAttribute('type', 'flow');
  document.body.append(element);
  await pass(1000);
  expect(service.beats.map(({ headers }) => headers.Authorization)).toEqual(['Bearer early']);
});

test('base and token say where and who, and a new token is used by the next call', async () => {
  const element = await show(
    '<record-presence type="flow" id="12" base="https://presence.test/v1" token="one"></record-presence>',
  );
  expect(service.last).toMatchObject({
    url: 'https://presence.test/v1/flow/12/heartbeat',
    headers: { Authorization: 'Bearer one' },
  });

  service.failing = () => failure(401);
  await pass(35_000);
  service.failing = null;
  element.setAttribute('token', 'two');
  await pass(100);
  expect(service.last.headers.Authorization).toBe('Bearer two');
  expect(element.presence.getSnapshot().status).toBe('live');
});

test.each([
  ['is empty', ' token=""'],
  ['is missing', ''],
])('a token that %s at first is used when it comes', async (_, attribute) => {
  service.failing = ({ headers }) => !headers.Authorization && failure(401);
  const element = await show(`<record-presence type="flow" id="12"${attribute}></record-presence>`);
  await pass(5000);
  element.setAttribute('token', 'one');
  await pass(1000);
  expect(element.presence.getSnapshot().status).toBe('live');
  const { tabId } = element.presence.getSnapshot();
  element.setAttribute('token', 'two');
  await pass(34_000);
  expect(service.last.headers.Authorization).toBe('Bearer two');
  expect(element.presence.getSnapshot().tabId).toBe(tabId);
});

test('a user whom others no longer see is told so', async () => {
  service.show(alice);
  const element = await show('<record-presence type="flow" id="12"></record-presence>');
  service.failing = () => failure(503);
  await pass(125_000);
  expect(element.textContent).toContain('Others can’t see you');
  service.failing = null;
  await pass(40_000);
  expect(element.textContent).not.toContain('Others can’t see you');
});

test('shows who was here, no pictures, and another idea of away, where the page says so', async () => {
  service.show({ ...alice, picture: 'https://pictures.example/alice' });
  const attributes = 'was-here pictures="off" away-after-ms="10000"';
  const element = await show(`<record-presence type="flow" id="12" ${attributes}></record-presence>`);
  await pass(9000);
  expect(element.querySelector('img')).toBeNull();
  expect(service.last.body.active).toBe(undefined);
  service.show();
  await pass(25_000);
  expect(service.last.body.active).toBe(false);
  await pass(5000);
  expect(element.querySelector('[data-gone]')).not.toBeNull();
});

describe('with lock', () => {
  const HTML = `<record-presence type="flow" id="12" form="editor" lock></record-presence>
    <form id="editor">
      <input name="title" value="Old" aria-describedby="hint"><input name="code" value="7" readonly>
      <label><input type="checkbox" name="tags"> Tags</label>
      <select name="status"><option>draft</option><option>active</option></select><b data-presence-lock="status"></b>
    </form>`;
  const bobs = { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: 's' };
  const field = (name) => document.querySelector(`[name=${name}]`);
  const reasonOf = (name) => {
    const ids = field(name).getAttribute('aria-describedby')?.split(' ') ?? [];
    return ids
      .map((id) => document.getElementById(id)?.textContent)
      .join('')
      .replace(/[\u2068\u2069]/g, '');
  };
  let version = 1;
  /** As the stream tells of them. */
  async function tellClaims(claims) {
    await streams.last.send('claims', 'flow:12', { version: `${++version}`, claims });
    await pass(10);
  }
  async function showLocked(html = HTML) {
    service.streams = streams;
    service.show(alice);
    const element = await show(html);
    await pass(1000);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '1', alice);
    await pass(100);
    return element;
  }

  test('what others have claimed can be read, says why, and is the page’s own again afterwards', async () => {
    await showLocked();
    const before = document.getElementById('editor').outerHTML;
    await tellClaims({ title: bobs, code: bobs, tags: bobs, status: bobs });
    expect(field('title').readOnly).toBe(true);
    for (const name of ['title', 'code', 'tags', 'status']) expect(reasonOf(name)).toContain('Bob has this field.');
    expect(field('title').getAttribute('aria-describedby')).toMatch(/^hint /);
    field('tags').click();
    expect(field('tags').checked).toBe(false);
    expect(field('status').dispatchEvent(new MouseEvent('mousedown', { bubbles: true, cancelable: true }))).toBe(false);
    expect(new FormData(document.getElementById('editor')).get('status')).toBe('draft');
    await tellClaims({});
    expect(document.getElementById('editor').outerHTML.replace(/ id="presence-lock-\d+"/, '')).toBe(before);
    field('tags').click();
    expect(field('tags').checked).toBe(true);
  });

  test('a claim of the whole record locks all, one of this tab none, and a list that is old none', async () => {
    const element = await showLocked();
    const { tabId } = element.presence.getSnapshot();
    await tellClaims({ title: { ...bobs, tab_id: tabId } });
    expect(reasonOf('title')).toBe('');
    await tellClaims({ '*': bobs });
    expect(field('title').readOnly && reasonOf('status')).toContain('Bob');
    service.failing = () => failure(503);
    streams.refusing = () => failure(503);
    await streams.last.end();
    await pass(20_000);
    expect(element.presence.getSnapshot().fresh).toBe(false);
    expect(field('title').readOnly).toBe(false);
  });

  test('who is typing hears why; words, a morph and the end of the lock are the page’s', async () => {
    const element = await showLocked(HTML.replace('lock>', 'lock="{name} schreibt hier.">'));
    field('title').focus();
    field('title').value = 'Mine';
    await tellClaims({ title: bobs });
    expect(document.querySelector('[role=alert]').textContent).toContain('schreibt hier.');
    field('title').removeAttribute('readonly'); // a morph
    await pass(10);
    expect(field('title')).toMatchObject({ readOnly: true, value: 'Mine' });
    element.removeAttribute('lock');
    await pass(10);
    expect(field('title')).toMatchObject({ readOnly: false, value: 'Mine' });
    expect(document.querySelector('.presence-lock')).toBeNull();
  });
});

test('what is asked for and passed on is told as DOM events', async () => {
  service.streams = streams;
  service.show(alice);
  const element = await show('<record-presence type="flow" id="12" mode="edit"></record-presence>');
  await pass(1000);
  await streams.last.write('retry: 1000\n\n');
  await streams.last.snapshot('flow:12', '1', alice);
  const told = [];
  for (const name of ['asked', 'passed']) {
    document.addEventListener(`presence:${name}`, ({ detail }) => told.push([name, detail.field]), { once: true });
  }
  const alices = { user: { id: 1, name: 'Alice' }, tab_id: 'a', since: 's' };
  const mine = { user: { id: 9, name: 'Me' }, tab_id: element.presence.getSnapshot().tabId, since: 't' };
  const claims = { title: { ...mine, passed_from: alices.user, waiting: [alices] } };
  await streams.last.send('claims', 'flow:12', { version: '2', claims });
  await pass(10);
  expect(told).toEqual([
    ['passed', 'title'],
    ['asked', 'title'],
  ]);
});
