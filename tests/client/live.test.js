import { describe, expect, test, vi } from 'vitest';
import 'presence/presenceStream.js'; // so that the late import is there at once
import { watch } from 'presence/stream.js';
import { alice, answer, bob, failure, page, pass, settle } from './fakes.js';
import { openPresence, service, streams, useService } from './harness.js';

useService({ streaming: true });

function start(options) {
  const presence = openPresence({ ...options, browser: { locks: undefined } });
  presence.changes = [];
  presence.on('change', (change) => presence.changes.push(change));
  return presence;
}

async function startLive(...viewers) {
  service.show(...viewers);
  const presence = start();
  await pass(100);
  await streams.last.write('retry: 1000\n\n');
  await streams.last.snapshot('flow:12', '1', ...viewers);
  await pass(1000);
  return presence;
}

const see = (presence) => presence.getSnapshot();
const names = (presence) => see(presence).viewers.map(({ name }) => name);

describe('while the stream lives', () => {
  test('after a loss of all data the last list stays, and is old until it is confirmed', async () => {
    const presence = await startLive(alice, bob);
    const list = { viewers: [alice, bob], total: 2, version: '0', unconfirmed: true };
    await streams.last.send('snapshot', 'flow:12', structuredClone(list));
    expect(see(presence)).toMatchObject({ viewers: [alice, bob], fresh: false, status: 'live' });
    expect(see(presence).staleSince).toEqual(expect.any(Number));
    await pass(2000); // this tab has come back
    await streams.last.send('update', 'flow:12', { viewer: alice, total: 2, version: '7-x' });
    expect(see(presence).fresh).toBe(false);
    await streams.last.snapshot('flow:12', '7-x', structuredClone(alice), structuredClone(bob));
    expect(see(presence)).toMatchObject({ fresh: true, staleSince: null });
    expect(presence.changes).toEqual([]);
  });

  test('it is opened after the first answered beat, for this record', async () => {
    const release = service.hold();
    start();
    await pass(1000);
    expect(streams.asked).toBe(0);
    await release();
    await pass(100);
    expect(streams.last.records).toEqual(['flow:12']);
  });

  test('a join, an edit and a leave are seen without any beat', async () => {
    const presence = await startLive(alice);
    const { length } = service.beats;
    const edits = { ...bob, mode: 'edit', active_fields: ['title'] };
    await streams.last.send('join', 'flow:12', { viewer: bob, total: 2, version: '2' });
    expect(names(presence)).toEqual(['Alice', 'Bob']);
    await streams.last.send('update', 'flow:12', { viewer: edits, total: 2, version: '3' });
    expect(see(presence).viewers[1]).toEqual(edits);
    await streams.last.send('leave', 'flow:12', { viewer: edits, reason: 'expired', total: 1, version: '4' });
    expect(see(presence)).toMatchObject({ viewers: [alice], total: 1, version: '4', fresh: true });
    expect(service.beats).toHaveLength(length);
    expect(presence.changes).toMatchObject([{ joined: [bob] }, { updated: [edits] }, { left: [edits] }]);
  });

  test('beats go on and ask for no viewers', async () => {
    await startLive(alice);
    await pass(30_000);
    expect(service.beats).toHaveLength(2);
    expect(service.last.body).not.toHaveProperty('version');
  });

  test('the answer of a beat that asked before is older than the stream', async () => {
    const presence = await startLive(alice);
    await streams.last.end();
    service.show();
    const release = service.hold();
    page.show(); // asks, and the answer is slow
    await pass(1000);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '2', alice, bob);
    await release();
    expect(names(presence)).toEqual(['Alice', 'Bob']);
  });

  test('the list is fresh for hours, without a change', async () => {
    const presence = await startLive(alice);
    const { viewers } = see(presence);
    for (let i = 0; i < 400; i++) {
      await pass(15_000);
      await streams.last.write(':\n\n');
    }
    expect(see(presence)).toMatchObject({ fresh: true, status: 'live' });
    expect(see(presence).viewers).toBe(viewers);
    expect(presence.changes).toEqual([]);
  });

  test('who left is not looked for by a beat', async () => {
    await startLive(alice);
    await streams.last.send('leave', 'flow:12', { viewer: alice, reason: 'left', total: 0, version: '2' });
    await pass(10_000);
    expect(service.beats).toHaveLength(1);
  });

  test('beats that fail are said, and the list stays fresh', async () => {
    const presence = await startLive(alice);
    service.failing = () => failure(500);
    await pass(30_000);
    expect(see(presence)).toMatchObject({ status: 'retrying', fresh: true });
    await streams.last.send('join', 'flow:12', { viewer: bob, total: 2, version: '2' });
    expect(see(presence)).toMatchObject({ status: 'retrying', fresh: true, total: 2 });
  });
});

describe('when the stream is lost', () => {
  test('it comes back, and those who stayed did not flicker', async () => {
    const presence = await startLive(alice, bob);
    const { viewers } = see(presence);
    await streams.last.end();
    await pass(1000);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '9', structuredClone(alice), structuredClone(bob));
    expect(see(presence).viewers).toBe(viewers);
    expect(see(presence).fresh).toBe(true);
    expect(presence.changes).toEqual([]);
    expect(service.beats).toHaveLength(1); // nobody had to ask
  });

  test('a record that nobody has open, though I have, was lost: I come back within a second', async () => {
    const presence = await startLive(alice);
    service.tabs.clear();
    await streams.last.snapshot('flow:12', '0');
    await pass(1000);
    expect([...service.tabs]).toEqual([see(presence).tabId]);
    await streams.last.snapshot('flow:12', '7-x', alice);
    await pass(20_000);
    expect(service.beats).toHaveLength(2);
  });

  test('a beat asks for the list within 5 s, and then beats do', async () => {
    const presence = await startLive(alice);
    streams.refusing = () => failure(503);
    service.show(alice, bob);
    await streams.last.end();
    expect(names(presence)).toEqual(['Alice']);
    await pass(5000);
    expect(service.last.body.version).toBe('1');
    expect(see(presence)).toMatchObject({ fresh: true, total: 2 });
    service.show(bob);
    await pass(31_000);
    expect(names(presence)).toEqual(['Bob']);
  });

  test('with beats failing too, the list is old after 8 s, and says since when', async () => {
    const presence = await startLive(alice);
    streams.refusing = () => failure(503);
    service.failing = () => failure(503);
    await pass(3000);
    await streams.last.end();
    const lost = Date.now();
    await pass(7900);
    expect(see(presence).fresh).toBe(true);
    await pass(200);
    expect(see(presence)).toMatchObject({ fresh: false, staleSince: lost, viewers: [alice] });
    streams.refusing = service.failing = null;
    await pass(60_000);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '9', alice);
    expect(see(presence)).toMatchObject({ fresh: true, staleSince: null, viewers: [alice] });
  });

  test('after 40 s of silence the list is old at once, since the last word', async () => {
    const presence = await startLive(alice);
    const lastWord = Date.now() - 1000;
    service.failing = () => failure(503);
    await pass(39_500);
    expect(see(presence)).toMatchObject({ fresh: false, staleSince: lastWord });
  });

  test('before anything is known, a stream that fails leaves "not known"', async () => {
    service.failing = () => failure(503);
    const presence = start();
    await pass(5000);
    expect(see(presence).viewers).toBe(null);
    expect(streams.asked).toBe(0);
  });

  test('a server without streams is polled', async () => {
    service.streams = null;
    const presence = start();
    await pass(100);
    service.show(bob);
    await pass(31_000);
    expect(service.last.body.version).toBe('v1');
    expect(names(presence)).toEqual(['Bob']);
    expect(see(presence).fresh).toBe(true);
  });

  test('204 is polled at once, and the stream is asked for again only by resume()', async () => {
    const presence = await startLive(alice);
    await pass(6000);
    streams.refusing = () => new Response(null, { status: 204 });
    await streams.last.end();
    const { length } = service.beats;
    await pass(1000); // the stream's own back-off
    expect(service.beats).toHaveLength(length + 1);
    expect(service.last.body.version).not.toBe(undefined);
    await pass(600_000);
    expect(see(presence).fresh).toBe(true);
    streams.asked = 0;
    page.hide();
    page.show();
    page.goOnline();
    await pass(1000);
    expect(streams.asked).toBe(0);
    streams.refusing = null;
    presence.resume();
    await pass(100);
    expect(streams.asked).toBe(1);
  });

  test('one odd answer starts no polling', async () => {
    await startLive(alice);
    await pass(6000);
    streams.refusing = () => answer(522, 'Connection timed out');
    await streams.last.end();
    const { length } = service.beats;
    await pass(600);
    expect(streams.asked).toBe(2);
    streams.refusing = null;
    await pass(1500);
    await streams.last.write('retry: 1000\n\n');
    await pass(10_000);
    expect(service.beats).toHaveLength(length);
  });

  test('a list of records, of which some are forbidden, and an editor share the page’s stream', async () => {
    const presence = await startLive(alice);
    const seen = { lists: [], refused: [] };
    const watcher = watch({
      records: ['flow:12', 'flow:13', 'flow:14'],
      onList: (record) => seen.lists.push(record),
      onRefused: ({ records }) => seen.refused.push(records),
      browser: { fetch: service.fetch, locks: undefined, random: () => 0.5 },
    });
    await pass(100);
    await streams.last.write('retry: 1000\n\nevent: forbidden\ndata: {"records":["flow:14"]}\n\n');
    await streams.last.snapshot('flow:13', '5', bob);
    await pass(100);
    expect(streams.open).toHaveLength(1);
    expect(seen).toEqual({ lists: ['flow:12', 'flow:13'], refused: [['flow:14']] });
    await streams.last.send('join', 'flow:12', { viewer: bob, total: 2, version: '6' });
    expect(names(presence)).toEqual(['Alice', 'Bob']);
    expect(see(presence).status).toBe('live');
    watcher.close();
  });

  test.each([{ token: 'opaque' }, { share: false }])(
    'so do those that share with no other tab: %j',
    async (options) => {
      const { fetch } = service;
      start(options);
      await pass(100);
      const watcher = watch({ ...options, records: ['flow:12'], onList() {}, browser: { fetch, locks: undefined } });
      await pass(200);
      expect(streams.open).toHaveLength(1);
      watcher.close();
    },
  );

  test('stream: false never asks for one', async () => {
    start({ stream: false });
    await pass(61_000);
    expect(streams.asked).toBe(0);
    expect(service.last.body.version).toBe('v1');
  });

  test('401 on the stream makes a beat find out, and that stops it', async () => {
    const presence = await startLive(alice);
    const onUnauthorized = vi.fn();
    presence.on('unauthorized', onUnauthorized);
    streams.refusing = () => failure(401);
    service.failing = () => failure(401);
    await streams.last.end();
    await pass(3000);
    expect(onUnauthorized).toHaveBeenCalledTimes(1);
    expect(see(presence)).toMatchObject({ status: 'stopped', fresh: false, viewers: [alice] });
    streams.asked = 0;
    await pass(600_000);
    expect(streams.asked).toBe(0);

    streams.refusing = service.failing = null;
    presence.resume();
    await pass(100);
    expect(streams.asked).toBe(1);
  });

  test('403 on a stream of several records takes only the record that is forbidden', async () => {
    const mine = await startLive(alice);
    const other = start({ id: 13 });
    await pass(200);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '1', alice);
    await streams.last.snapshot('flow:13', '2', alice);
    streams.refusing = (url) => (url.includes('13') ? failure(403) : null);
    service.failing = ({ url }) => (url.includes('/13/') ? failure(403) : null);
    await streams.last.end();
    await pass(10_000);
    expect(see(other).status).toBe('stopped');
    expect(see(mine).status).toBe('live');
    expect(streams.last.records).toEqual(['flow:12']);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '3', bob);
    expect(names(mine)).toEqual(['Bob']);
  });
});

describe('whoever is answered again takes the others along', () => {
  const beatsOf = (id) => service.beats.filter(({ url }) => url.includes(`/${id}/`)).length;

  async function startTwoAndFail(answer) {
    const mine = await startLive(alice);
    const other = start({ id: 13 });
    await pass(1000);
    service.failing = answer;
    await pass(120_000);
    expect(see(other).status).toBe('retrying');
    const before = beatsOf(13);
    while (beatsOf(13) === before) await pass(100); // it has just failed, and waits for 15 s
    return { mine, other, failed: beatsOf(13) };
  }

  test('within half a second, and not after its own back-off', async () => {
    const { mine, other, failed } = await startTwoAndFail(() => failure(500));
    service.failing = null;
    mine.resume();
    await pass(100);
    expect(see(mine).status).toBe('live');
    expect(see(other).status).toBe('retrying');
    await pass(500);
    expect(see(other).status).toBe('live');
    await pass(10_000);
    expect(beatsOf(13)).toBe(failed + 1);
  });

  test('but not before the time that the server asked for', async () => {
    const { mine, other, failed } = await startTwoAndFail(({ url }) =>
      url.includes('/13/') ? failure(503, 'No.', { 'Retry-After': '20' }) : failure(500),
    );
    service.failing = null;
    mine.resume();
    await pass(19_000);
    expect(beatsOf(13)).toBe(failed);
    await pass(1500);
    expect(see(other).status).toBe('live');
  });

  test('where it fails once more, it goes on with its back-off', async () => {
    const { mine, other, failed } = await startTwoAndFail(() => failure(500));
    service.failing = ({ url }) => (url.includes('/13/') ? failure(500) : null);
    mine.resume();
    await pass(10_000);
    expect(beatsOf(13)).toBe(failed + 1);
    expect(see(other).status).toBe('retrying');
  });

  test('a stream that is back does the same for beats that fail', async () => {
    const { mine, other } = await startTwoAndFail(() => failure(500));
    while (!streams.open.length) await pass(100); // it was silent, and is tried again
    service.failing = null;
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '9', alice);
    await pass(600);
    expect([see(mine).status, see(other).status]).toEqual(['live', 'live']);
  });
});

describe('the page comes and goes', () => {
  test('stop closes the stream', async () => {
    const presence = await startLive(alice);
    await presence.stop();
    await settle();
    expect(streams.open).toHaveLength(0);
    await pass(120_000);
    expect(streams.all).toHaveLength(1);
  });

  test('a presence that is stopped while the stream’s module loads opens none', async () => {
    const presence = start();
    await settle();
    await presence.stop();
    await pass(1000);
    expect(streams.open).toHaveLength(0);
  });

  test('pagehide closes it, and from the back/forward cache both come back', async () => {
    const presence = await startLive(alice);
    page.leave(true);
    await settle();
    expect(streams.open).toHaveLength(0);
    expect(see(presence)).toMatchObject({ status: 'paused', fresh: false, viewers: [alice] });
    page.comeBack();
    await pass(100);
    expect(see(presence)).toMatchObject({ status: 'live', fresh: true });
    expect(service.last.body.version).toBe(null); // a new tab, which asks once
    expect(streams.open).toHaveLength(1);
  });

  test('a frozen page lets go of the stream, a thawed one takes it up', async () => {
    const presence = await startLive(alice);
    page.freeze();
    await settle();
    expect(streams.open).toHaveLength(0);
    page.thaw();
    await pass(350);
    expect(streams.open).toHaveLength(1);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:12', '5', bob);
    expect(names(presence)).toEqual(['Bob']);
  });
});

describe('signals', () => {
  const fromBob = (kind, data) => ({ tab_id: 'b', user: { id: 2, name: 'Bob' }, kind, data });

  test('what I type is told, sparingly', async () => {
    const presence = await startLive(alice);
    for (let i = 0; i < 5; i++) presence.signal('typing', { field: 'title' });
    await settle();
    const sent = service.calls.filter(({ url }) => url === '/api/v1/presence/flow/12/signal');
    expect(sent.map(({ body }) => body)).toEqual([
      { tab_id: see(presence).tabId, kind: 'typing', data: { field: 'title' } },
    ]);
  });

  test('nothing is sent while nobody else is there', async () => {
    const presence = await startLive();
    presence.signal('typing', { field: 'title' });
    await pass(2000);
    expect(service.calls.every(({ url }) => !url.endsWith('/signal'))).toBe(true);
  });

  test('who types is in the state, until 3 s after the last word', async () => {
    const presence = await startLive(bob);
    expect(see(presence).typing).toEqual([]);
    await streams.last.send('signal', 'flow:12', fromBob('typing', { field: 'title' }));
    expect(see(presence).typing).toMatchObject([{ user: { name: 'Bob' }, data: { field: 'title' } }]);
    await pass(3001);
    expect(see(presence).typing).toEqual([]);
  });

  test('a cursor is an event, and no new state', async () => {
    const presence = await startLive(bob);
    const onSignal = vi.fn();
    presence.on('signal', onSignal);
    const before = see(presence);
    await streams.last.send('signal', 'flow:12', fromBob('cursor', { x: 0.5 }));
    expect(onSignal.mock.lastCall[0]).toMatchObject({ kind: 'cursor', data: { x: 0.5 } });
    expect(see(presence)).toBe(before);
    await pass(3001);
    expect(onSignal.mock.lastCall[0].data).toBe(null);
  });

  test('nobody types in a record that I have left', async () => {
    const presence = await startLive(bob);
    await streams.last.send('signal', 'flow:12', fromBob('typing', { field: 'title' }));
    await presence.stop();
    expect(see(presence).typing).toEqual([]);
  });
});
