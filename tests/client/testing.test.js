// @vitest-environment node
// The fake service of record-presence/testing, with the real client, in plain Node.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createPresence } from 'presence/presence.js';
import { watch } from 'presence/stream.js';
import { createFakeService, until } from 'presence/testing.js';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PATIENTLY } from './patience.js';

const client = fileURLToPath(new URL('../../app/static/presence/', import.meta.url));
const bobs = { id: 2, name: 'Bob' };
let service;
let presence;
const open = (options) => {
  presence = createPresence({ type: 'flow', id: 12, mode: 'edit', browser: service.browser, ...options });
  return until(presence, ({ status }) => status === 'live');
};
const untilState = (isWanted) => until(presence, isWanted);

beforeEach(() => {
  service = createFakeService();
});
afterEach(() => presence?.stop());

test.each([true, false])('people come, edit, and leave (streams: %s)', async (streams) => {
  service = createFakeService({ streams });
  const bob = service.join('flow:12', bobs);
  await open();
  const { viewers } = await untilState(({ viewers }) => viewers?.length === 1);
  expect(viewers[0]).toMatchObject({ ...bobs, tabs: 1, mode: 'view', has_dirty_tab: false });
  bob.edit('title');
  bob.focus('title');
  if (!streams) presence.resume();
  const { viewers: after } = await untilState(({ viewers: [viewer] }) => viewer.has_dirty_tab);
  expect(after[0]).toMatchObject({ mode: 'edit', dirty_fields: ['title'], active_fields: ['title'] });
  bob.look(false);
  if (!streams) setTimeout(presence.resume, 500);
  await untilState(({ viewers: [viewer] }) => viewer.away);
  bob.leave();
  if (!streams) setTimeout(presence.resume, 500);
  await untilState(({ viewers }) => viewers.length === 0);
});

test('an agent is a viewer of its own, with what is known of it', async () => {
  const agent = { for: { id: 1, name: 'Alice' } };
  const about = { title: 'Reads along' };
  const summariser = service.join('flow:12', { ...bobs, name: 'Summariser', agent, about }, { mode: 'edit' });
  service.join('flow:12', bobs);
  summariser.save(8, ['title']);
  await open({ dirty: ['title'], baseVersion: 7 });
  const { viewers, saved } = await untilState(({ saved }) => saved?.length);
  expect(viewers).toMatchObject([{ name: 'Summariser', agent, about }, { name: 'Bob' }]);
  expect(saved[0].user).toEqual({ id: 2, name: 'Summariser', agent: { for: { id: 1 } } });
});

test('the test sees what the page tells, and when it is gone', async () => {
  await open();
  presence.setDirty(['title']);
  presence.setActiveField('title');
  await vi.waitFor(
    () =>
      expect(service.tabs('flow:12')).toMatchObject([{ mode: 'edit', dirty_fields: ['title'], active_field: 'title' }]),
    PATIENTLY,
  );
  expect(service.calls.at(-1)).toMatchObject({ call: 'heartbeat', record: 'flow:12' });
  await presence.stop();
  expect(service.tabs('flow:12')).toEqual([]);
});

test('saves, claims, typing and the forecast of a conflict', async () => {
  const bob = service.join('flow:12', bobs);
  await open({ baseVersion: 7, dirty: ['title'] });
  await untilState(({ viewers }) => viewers?.length);
  expect(bob.claim('title')).toBe(true);
  await untilState(({ claims }) => claims?.title?.user.name === 'Bob');
  expect((await presence.claim('title')).claimed).toBe(false);
  expect((await presence.claim('title', { takeOver: true })).claim.taken_from).toEqual(bobs);
  expect(bob.claim('title')).toBe(false);
  bob.type('title');
  await untilState(({ typing }) => typing[0]?.data.field === 'title');
  bob.type(null);
  await untilState(({ typing }) => typing.length === 0);
  bob.save(8, ['title']);
  const { forecast } = await untilState((state) => state.forecast?.collisions.length);
  expect(forecast).toMatchObject({ collisions: ['title'], saves: [{ lock_version: 8, own: false }] });
  await presence.announceSaved(9, ['title']);
  expect(service.calls.at(-1)).toMatchObject({ call: 'saved', body: { lock_version: 9 } });
});

test('somebody asks for my field, has it, and is asked for it in turn', async () => {
  const bob = service.join('flow:12', bobs, { mode: 'edit' });
  await open();
  await untilState(({ viewers }) => viewers?.length);
  const told = [];
  presence.on('asked', ({ field }) => told.push(`asked ${field}`));
  presence.on('passed', ({ field, isMine }) => told.push(`passed ${field} ${isMine}`));
  await presence.claim('title');
  expect(bob.claim('title', { wait: true })).toBe(false);
  await untilState(({ claims }) => claims.title.waiting);
  expect(await presence.decline('title')).toBe(1);
  bob.claim('title', { wait: true });
  await untilState(({ claims }) => claims.title.waiting);
  await presence.release('title');
  await untilState(({ claims }) => claims.title?.passed_from);
  expect(await presence.claim('title', { wait: true })).toMatchObject({ claimed: false, place: 1 });
  await untilState(({ claims }) => claims.title.waiting);
  bob.leave();
  await untilState(({ claims, tabId }) => claims.title?.tab_id === tabId);
  expect(told).toEqual(['asked title', 'asked title', 'passed title false', 'passed title true']);
});

test('it refuses, is gone, and comes back', async () => {
  await open();
  service.fail(401);
  presence.resume();
  await untilState(({ status, error }) => status === 'stopped' && error.status === 401);
  service.recover();
  presence.resume();
  await untilState(({ status }) => status === 'live');
  service.disconnect();
  presence.resume();
  await untilState(({ status, error }) => status === 'retrying' && error.kind === 'unreachable');
  service.recover();
  presence.resume();
  await untilState(({ status }) => status === 'live');
});

test('a list of records is watched', async () => {
  service.join('flow:2', bobs);
  const lists = {};
  await new Promise((resolve) => {
    const watcher = watch({
      records: ['flow:1', 'flow:2'],
      browser: service.browser,
      onList(record, { viewers }) {
        lists[record] = viewers.map(({ name }) => name);
        if (Object.keys(lists).length < 2) return;
        watcher.close();
        resolve();
      },
    });
  });
  expect(lists).toEqual({ 'flow:1': [], 'flow:2': ['Bob'] });
});

test('installed, it answers what the page fetches from the service, and nothing else', async () => {
  const before = globalThis.fetch;
  const uninstall = service.install();
  expect((await fetch('http://localhost/api/v1/presence/flow/12/nothing')).status).toBe(404);
  expect(await (await fetch('data:text/plain,elsewhere')).text()).toBe('elsewhere');
  uninstall();
  expect(globalThis.fetch).toBe(before);
});

test('the README’s example is a test that passes', () => {
  const [, example] = readFileSync(path.join(client, 'README.md'), 'utf8').match(
    /^## In your own tests$.*?^```js\n(.*?)^```$/ms,
  );
  const folder = mkdtempSync(path.join(tmpdir(), 'host-'));
  try {
    mkdirSync(path.join(folder, 'node_modules'));
    symlinkSync(client, path.join(folder, 'node_modules/record-presence'));
    writeFileSync(path.join(folder, 'editor.test.mjs'), example);
    const run = spawnSync(process.execPath, ['--test', 'editor.test.mjs'], {
      cwd: folder,
      encoding: 'utf8',
      env: { PATH: process.env.PATH },
    });
    expect(run.stdout).toMatch(/^\S+ pass 1$/m);
    expect(run.status).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
