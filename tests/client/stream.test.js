import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { alice, answer, bob, createOrigin, createStreams, failure, pass, settle } from './fakes.js';
import { useFakePage } from './harness.js';

let streams;
let origin;
let pages;

useFakePage();
beforeEach(() => {
  streams = createStreams();
  origin = createOrigin();
  pages = [];
});

afterEach(async () => {
  for (const page of pages) page.close();
  await settle();
});

/** Another page of the browser: its own copy of the modules, and a life of its own. */
async function openPage({ shares = true, random = () => 0.5, now, ...options } = {}) {
  vi.resetModules();
  const { watch } = await import('presence/stream.js');
  const lives = new Set();
  const seen = { lists: {}, lost: [], refused: [], events: [], calls: [], backs: 0, unsupported: 0 };
  const play = (name) => () => {
    for (const life of [...lives]) life[name]();
  };
  const page = {
    seen,
    freeze: play('freeze'),
    hide: play('hide'),
    leave: play('leave'),
    wake: play('wake'),
    watchers: [],
    watch(...records) {
      const watcher = watch({
        base: '/p',
        records,
        csrfToken: 'session',
        ...options,
        browser: {
          fetch: async (url, init) =>
            page.isOffline ? Promise.reject(new TypeError('offline')) : streams.answer(url, init),
          random,
          ...(now && { now }),
          locks: undefined,
          openChannel: undefined,
          ...(shares && origin),
          listen(handlers) {
            lives.add(handlers);
            return () => lives.delete(handlers);
          },
        },
        onList(name, { viewers, total, version }) {
          seen.calls.push(name);
          seen.lists[name] = { viewers, total, version };
        },
        onLost: (at) => seen.lost.push(at),
        onBack: () => (seen.backs += 1),
        onRefused: (error) => seen.refused.push(error),
        onUnsupported: () => (seen.unsupported += 1),
        onEvent: (kind, data) => seen.events.push([kind, data]),
      });
      page.watchers.push(watcher);
      return watcher;
    },
    back: () => page.watchers[0].back(),
    close() {
      for (const watcher of page.watchers.splice(0)) watcher.close();
    },
    viewers: (name) => seen.lists[name]?.viewers,
  };
  pages.push(page);
  return page;
}

/** A page alone with an open stream. */
async function openStream(options, ...records) {
  const page = await openPage({ shares: false, ...options });
  page.watch(...(records.length ? records : ['flow:1']));
  await pass(50);
  await streams.last.write('retry: 1000\n\n');
  return page;
}

describe('one stream', () => {
  test('asks for the records, as a stream, and never from a cache', async () => {
    const page = await openStream({}, 'flow:2', 'flow:1');
    expect(streams.last.records).toEqual(['flow:1', 'flow:2']);
    expect(streams.last.headers).toEqual({ Accept: 'text/event-stream' });
    await streams.last.snapshot('flow:1', '5-a', alice);
    expect(page.seen.lists).toEqual({ 'flow:1': { viewers: [alice], total: 1, version: '5-a' } });
  });

  test('carries the bearer token, and a new one where the kept one is refused', async () => {
    const tokens = ['one', 'two', 'three'];
    const page = await openStream({ token: async () => tokens.shift(), share: false });
    expect(streams.last.headers.Authorization).toBe('Bearer one');
    await streams.last.end();
    await pass(2000);
    expect(streams.last.headers.Authorization).toBe('Bearer one');
    streams.refusing = (_, { headers }) => headers.Authorization === 'Bearer one' && failure(401);
    await streams.last.end();
    await pass(4000);
    expect(streams.last.headers.Authorization).toBe('Bearer two');
    expect(page.seen.refused).toEqual([]);
  });

  test('waits for a token that comes late, and is shared then', async () => {
    let token = '';
    const page = await openPage({ token: () => token });
    page.watch('flow:1');
    await pass(10_000);
    expect(streams.asked).toBe(0);
    token = `x.${btoa('{"sub":1}')}.x`;
    await pass(30_000);
    expect(streams.last.headers.Authorization).toBe(`Bearer ${token}`);
    const second = await openPage({ token });
    second.watch('flow:1');
    await pass(100);
    expect(streams.open).toHaveLength(1);
  });

  test('joins, updates and leaves change the list', async () => {
    const page = await openStream();
    await streams.last.snapshot('flow:1', '1', alice);
    await streams.last.send('join', 'flow:1', { viewer: bob, total: 2, version: '2' });
    await streams.last.send('update', 'flow:1', { viewer: { ...bob, mode: 'edit' }, total: 2, version: '3' });
    expect(page.viewers('flow:1')).toEqual([alice, { ...bob, mode: 'edit' }]);
    await streams.last.send('leave', 'flow:1', { viewer: alice, reason: 'left', total: 1, version: '4' });
    expect(page.seen.lists['flow:1']).toEqual({ viewers: [{ ...bob, mode: 'edit' }], total: 1, version: '4' });
  });

  test('after an end it comes back with jitter and Last-Event-ID, and an unchanged record needs no snapshot', async () => {
    const page = await openStream();
    await streams.last.snapshot('flow:1', '5-a', alice);
    await pass(6000);
    await streams.last.end();
    expect(page.seen.lost).toHaveLength(1);
    await pass(499);
    expect(streams.all).toHaveLength(1);
    await pass(2);
    expect(streams.all).toHaveLength(2);
    expect(streams.last.headers['Last-Event-ID']).toBe('5-a');
    page.seen.calls.length = 0;
    await streams.last.write('retry: 1000\n\n');
    expect(page.seen.calls).toEqual(['flow:1']);
    expect(page.viewers('flow:1')).toEqual([alice]);
  });

  test('one’s own changes move the version on', async () => {
    const page = await openStream();
    await streams.last.snapshot('flow:1', '5-a', alice);
    await streams.last.write('id: 6-b\n\n');
    await pass(6000);
    await streams.last.end();
    await pass(1000);
    expect(streams.last.headers['Last-Event-ID']).toBe('6-b');
    await streams.last.write('retry: 1000\n\n');
    expect(page.seen.calls.length).toBe(2);
  });

  test('an id of which nobody knows the record is no reason to skip a snapshot', async () => {
    await openStream({}, 'flow:1', 'flow:2');
    await streams.last.snapshot('flow:1', '5-a', alice);
    await streams.last.snapshot('flow:2', '5-b');
    await streams.last.write('id: 6-c\n\n');
    await streams.last.end();
    await pass(2000);
    expect(streams.last.headers).not.toHaveProperty('Last-Event-ID');
  });

  test('the version of an empty record is every empty record’s: no Last-Event-ID', async () => {
    await openStream();
    await streams.last.snapshot('flow:1', '0');
    await streams.last.end();
    await pass(2000);
    expect(streams.last.headers).not.toHaveProperty('Last-Event-ID');
  });

  test('full jitter: at random 0 at once, at random 1 after what the server said', async () => {
    let random = 0;
    await openStream({ random: () => random });
    await pass(6000);
    await streams.last.end();
    await pass(1);
    expect(streams.all).toHaveLength(2);
    await streams.last.write('retry: 3000\n\n');
    await pass(6000);
    random = 0.999;
    await streams.last.end();
    await pass(2900);
    expect(streams.all).toHaveLength(2);
    await pass(100);
    expect(streams.all).toHaveLength(3);
  });

  test('streams that end as soon as they begin are tried less and less often', async () => {
    streams.refusing = () =>
      new Response(new ReadableStream({ start: (controller) => controller.close() }), {
        headers: { 'Content-Type': 'text/event-stream' },
      });
    const page = await openPage({ shares: false });
    page.watch('flow:1');
    await pass(10 * 60_000);
    expect(streams.asked).toBeLessThan(50);
    expect(streams.asked).toBeGreaterThan(30);
  });

  test('503 waits for Retry-After, whatever happens meanwhile', async () => {
    streams.refusing = () => failure(503, 'Away.', { 'Retry-After': '7' });
    const page = await openPage({ shares: false });
    page.watch('flow:1');
    await pass(60);
    page.wake();
    await pass(6800);
    expect(streams.asked).toBe(1);
    streams.refusing = null;
    await pass(2000);
    expect(streams.all).toHaveLength(1);
  });

  test('somebody who looks again does not wait for the back-off', async () => {
    const page = await openPage({ shares: false });
    page.isOffline = true;
    page.watch('flow:1');
    await pass(20_000);
    page.isOffline = false;
    page.wake();
    await settle();
    expect(streams.all).toHaveLength(1);
  });

  test('40 s of silence, comments included, are an end', async () => {
    const page = await openStream();
    await streams.last.snapshot('flow:1', '1', alice);
    await pass(30_000);
    await streams.last.write(':\n\n');
    await pass(39_000);
    expect(page.seen.lost).toHaveLength(0);
    await pass(1500);
    expect(page.seen.lost).toHaveLength(1);
    expect(page.seen.lost[0]).toBeLessThan(performance.now() - 39_000); // since when, not when it was noticed
    await pass(2000);
    expect(streams.open).toHaveLength(1);
    expect(streams.all).toHaveLength(2);
  });

  test('a stream that a proxy holds back is given up after 10 s', async () => {
    const page = await openPage({ shares: false });
    page.watch('flow:1');
    await pass(10_100);
    expect(streams.all[0].isOpen).toBe(false);
    await pass(3000);
    expect(streams.all).toHaveLength(2);
    expect(page.seen.lost).toHaveLength(0);
  });

  test('401 and 403 are told, and not asked again at once', async () => {
    streams.refusing = () => failure(403);
    const page = await openPage({ shares: false });
    page.watch('flow:1');
    await pass(60);
    expect(page.seen.refused).toMatchObject([{ kind: 'unauthorized', status: 403 }]);
    await pass(15_000);
    expect(streams.asked).toBe(1);
    await pass(15_000);
    expect(streams.asked).toBe(2);
  });

  describe.each([
    ['a 404', () => failure(404)],
    ['a balancer’s 404', () => answer(404, '<h1>Not found</h1>')],
    ['a 405', () => failure(405)],
    ['a 521', () => answer(521, 'Web server is down')],
    ['a 524', () => answer(524, 'A timeout occurred')],
    ['a captive portal’s page', () => answer(200, '<p>Hello</p>', { 'Content-Type': 'text/html' })],
  ])('%s instead of a stream', (_, refusing) => {
    let page;
    beforeEach(async () => {
      streams.refusing = refusing;
      page = await openPage({ shares: false, random: () => 0.999 });
      page.watch('flow:1');
      await pass(200_000);
      expect(page.seen.refused).toEqual([]);
      streams.asked = 0;
    });

    test('is tried again within 30 s', async () => {
      await pass(30_000);
      expect(streams.asked).toBe(1);
    });

    test('is tried again at once when the page is looked at or comes online', async () => {
      page.wake();
      await pass(100);
      expect(streams.asked).toBe(1);
    });

    test('is tried again at once on resume()', async () => {
      page.watchers[0].resume();
      await pass(100);
      expect(streams.asked).toBe(1);
    });
  });

  test('204: the server has no streams, and is asked no more until resume()', async () => {
    streams.refusing = () => new Response(null, { status: 204 });
    const page = await openPage({ shares: false });
    page.watch('flow:1');
    await pass(60);
    expect(page.seen.unsupported).toBe(1);
    await pass(3_600_000);
    page.wake();
    page.watch('flow:2');
    await pass(100);
    expect(streams.asked).toBe(1);
    streams.refusing = null;
    page.watchers[0].resume();
    await pass(100);
    expect(streams.last.records).toEqual(['flow:1', 'flow:2']);
  });

  test('of which some records are forbidden streams the others, and tells once who asked for those', async () => {
    const page = await openStream({}, 'flow:1', 'flow:2');
    const forbid = () => streams.last.write('event: forbidden\ndata: {"records":["flow:2"]}\n\n');
    await forbid();
    await streams.last.snapshot('flow:1', '1', alice);
    expect(page.viewers('flow:1')).toEqual([alice]);
    expect(page.seen.refused).toMatchObject([{ kind: 'unauthorized', status: 403, records: ['flow:2'] }]);
    page.watch('flow:2');
    await settle();
    expect(page.seen.refused).toHaveLength(2); // the newcomer
    await pass(6000);
    await streams.last.end();
    await pass(1000);
    await streams.last.write('retry: 1000\n\n');
    await forbid();
    expect(page.seen.refused).toHaveLength(2);
    expect(streams.all).toHaveLength(2);
  });

  test('what is no event of ours ends the stream, not the page', async () => {
    await openStream();
    await streams.last.write('event: join\ndata: {{{\n\n');
    expect(streams.open).toHaveLength(0);
    await pass(3000);
    expect(streams.open).toHaveLength(1);
  });

  test('the last watcher closes the stream', async () => {
    const page = await openStream();
    page.close();
    await settle();
    expect(streams.open).toHaveLength(0);
    await pass(60_000);
    expect(streams.all).toHaveLength(1);
  });

  test('another record: the new stream is there before the old one goes', async () => {
    const page = await openStream();
    await streams.last.snapshot('flow:1', '1', alice);
    page.watch('flow:2');
    await pass(60);
    expect(streams.open).toHaveLength(2);
    await streams.all[0].send('join', 'flow:1', { viewer: bob, total: 2, version: '2' });
    expect(page.viewers('flow:1')).toEqual([alice, bob]);
    expect(streams.last.records).toEqual(['flow:1', 'flow:2']);
    await streams.last.write('retry: 1000\n\n');
    expect(streams.open).toEqual([streams.last]);
    await streams.last.snapshot('flow:2', '9', alice);
    expect(page.viewers('flow:2')).toEqual([alice]);
    expect(page.seen.lost).toHaveLength(0);
  });

  test('a second watcher of a record is told at once what the first knows', async () => {
    const page = await openStream({ shareKey: 'me' });
    await streams.last.snapshot('flow:1', '1', alice);
    page.seen.calls.length = 0;
    page.watch('flow:1');
    await settle();
    expect(page.seen.calls).toEqual(['flow:1']);
    expect(streams.all).toHaveLength(1);
  });
});

describe('tabs of one browser', () => {
  async function openTwo(options) {
    const first = await openPage(options);
    first.watch('flow:1');
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:1', '1', alice);
    const second = await openPage(options);
    second.watch('flow:1');
    await pass(60);
    return [first, second];
  }

  test('share one stream, and the second knows at once what the first knows', async () => {
    const [first, second] = await openTwo();
    expect(streams.all).toHaveLength(1);
    expect(second.viewers('flow:1')).toEqual([alice]);
    await streams.last.send('join', 'flow:1', { viewer: bob, total: 2, version: '2' });
    expect(first.viewers('flow:1')).toEqual([alice, bob]);
    expect(second.viewers('flow:1')).toEqual([alice, bob]);
    for (let i = 0; i < 20; i++) {
      await pass(15_000);
      await streams.last.write(':\n\n');
    }
    expect(streams.asked).toBe(1);
    expect(second.seen.lost).toEqual([]);
  });

  test('with another record the stream shows both', async () => {
    const [, second] = await openTwo();
    second.watch('flow:2');
    await pass(60);
    expect(streams.last.records).toEqual(['flow:1', 'flow:2']);
    await streams.last.write('retry: 1000\n\n');
    expect(streams.open).toHaveLength(1);
    await streams.last.snapshot('flow:2', '3', bob);
    expect(second.viewers('flow:2')).toEqual([bob]);
  });

  test('a record that nobody watches any more goes after a while', async () => {
    const [first, second] = await openTwo();
    second.watch('flow:2');
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    second.close();
    await pass(4000);
    expect(streams.all).toHaveLength(2);
    await pass(2000);
    expect(streams.last.records).toEqual(['flow:1']);
    expect(first.seen.lost).toHaveLength(0);
  });

  test('signals reach all tabs that watch the record', async () => {
    const [first, second] = await openTwo();
    await streams.last.send('signal', 'flow:1', {
      tab_id: 't',
      user: { id: 2, name: 'Bob' },
      kind: 'typing',
      data: {},
    });
    expect(first.seen.events).toHaveLength(1);
    expect(second.seen.events).toEqual(first.seen.events);
  });

  test.each(['leave', 'freeze', 'close'])(
    'when the leader goes (%s) another takes over, and its list stays',
    async (way) => {
      const [first, second] = await openTwo();
      first[way]();
      await pass(60);
      expect(streams.open).toHaveLength(1);
      expect(streams.all).toHaveLength(2);
      await streams.last.write('retry: 1000\n\n');
      second.seen.calls.length = 0;
      await streams.last.snapshot('flow:1', '2', alice, bob);
      expect(second.viewers('flow:1')).toEqual([alice, bob]);
    },
  );

  test('a thawed leader follows the one who took over', async () => {
    const [first, second] = await openTwo();
    first.freeze();
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:1', '2', bob);
    first.wake();
    await pass(60);
    expect(streams.open).toHaveLength(1);
    expect(first.viewers('flow:1')).toEqual([bob]);
    second.leave();
    await pass(60);
    expect(streams.open).toHaveLength(1);
  });

  test('followers learn that the stream is lost, and that it is back', async () => {
    const [, second] = await openTwo();
    await streams.last.end();
    expect(second.seen.lost).toHaveLength(1);
    await pass(2500);
    await streams.last.write('retry: 1000\n\n');
    second.seen.calls.length = 0;
    await streams.last.snapshot('flow:1', '2', bob);
    expect(second.seen.calls).toEqual(['flow:1']);
    expect(streams.all).toHaveLength(2);
  });

  describe('when a page’s call is answered again', () => {
    /** Two that have lost the stream, and the leader's next try is 15 s away. */
    async function loseTwo() {
      const two = await openTwo();
      streams.refusing = () => failure(500);
      await streams.last.end();
      await pass(60_000);
      const { asked } = streams;
      while (streams.asked === asked) await pass(100);
      streams.refusing = null;
      return two;
    }
    const backs = (two) => two.map(({ seen }) => seen.backs);

    test('every page goes on within half a second, and the leader opens the stream', async () => {
      const two = await loseTwo();
      const { asked } = streams;
      two[1].back();
      await pass(500);
      expect(backs(two)).toEqual([1, 1]);
      expect(streams.asked).toBe(asked + 1);
      await streams.last.write('retry: 1000\n\n');
      await streams.last.snapshot('flow:1', '2', bob);
      expect(two.map((page) => page.viewers('flow:1'))).toEqual([[bob], [bob]]);
    });

    test('however often that is, and whoever says so, they go on once in five seconds', async () => {
      const two = await loseTwo();
      streams.refusing = () => failure(500);
      const { asked } = streams;
      for (let i = 0; i < 100; i++) {
        two[i % 2].back();
        await pass(100);
      }
      expect(Math.max(...backs(two))).toBeLessThanOrEqual(3);
      expect(streams.asked - asked).toBeLessThanOrEqual(4); // its own back-off among them
    });

    test('not while a page stands still', async () => {
      const two = await loseTwo();
      two[1].back();
      two[1].freeze();
      await pass(1000);
      expect(backs(two)).toEqual([1, 0]);
    });
  });

  test('a stream that is back is told to all pages', async () => {
    const two = await openTwo();
    await streams.last.end();
    await pass(2500);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:1', '2', bob);
    await pass(500);
    expect(two.map(({ seen }) => seen.backs)).toEqual([1, 1]);
  });

  test('a stuck leader is noticed: the follower streams for itself, until the leader speaks again', async () => {
    const post = vi.fn();
    const opened = origin.openChannel;
    let isStuck = false;
    origin.openChannel = (name) => {
      const channel = opened(name);
      const { postMessage } = channel;
      if (!post.mock.calls.length) channel.postMessage = (data) => isStuck || postMessage(data); // the first page's
      post();
      return channel;
    };
    const [, second] = await openTwo();
    isStuck = true;
    await pass(7500); // as soon as a stream that is lost
    expect(second.seen.lost.length).toBeGreaterThan(0);
    expect(streams.open.length).toBe(2);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:1', '2', bob);
    expect(second.viewers('flow:1')).toEqual([bob]);

    isStuck = false;
    await streams.all[0].send('join', 'flow:1', { viewer: bob, total: 2, version: '2' });
    await pass(16_000);
    expect(streams.open).toEqual([streams.all[0]]);
    expect(second.viewers('flow:1')).toEqual([alice, bob]);
  });

  test('a follower that was stuck itself asks again before it streams for itself', async () => {
    const first = await openPage();
    first.watch('flow:1');
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:1', '1', alice);
    let stuckMs = 0;
    let isStuck = false;
    const opened = origin.openChannel;
    origin.openChannel = (name) => {
      const channel = opened(name);
      const { postMessage } = channel;
      channel.postMessage = (data) => isStuck || postMessage(data); // so that nothing is answered
      return channel;
    };
    const second = await openPage({ now: () => performance.now() + stuckMs });
    second.watch('flow:1');
    await pass(3900);
    isStuck = true;
    await pass(1000); // it asks
    stuckMs = 60_000;
    await pass(1800); // and will find, late, that nobody has answered
    isStuck = false;
    await pass(20_000);
    expect(streams.all).toHaveLength(1);
    expect(second.viewers('flow:1')).toEqual([alice]);
  });

  test('a tab that finds a leader stuck waits 3 s', async () => {
    const { request } = origin.locks;
    origin.locks.request = (name, options, run) => {
      request(name, { signal: new AbortController().signal }, () => new Promise(() => {})); // somebody was quicker
      return request(name, options, run);
    };
    const page = await openPage({ shareKey: 'k' });
    page.watch('flow:1');
    await pass(2900);
    expect(streams.asked).toBe(0);
    await pass(200);
    expect(streams.asked).toBe(1);
  });

  test('a leader whose stream is down is no stuck leader: its tabs don’t storm', async () => {
    await openTwo();
    streams.refusing = () => failure(503, 'Away.', { 'Retry-After': '5' });
    await streams.last.end();
    streams.asked = 0;
    await pass(60_000);
    expect(streams.asked).toBeLessThan(14);
  });

  test('nor is it for a tab that comes just then', async () => {
    await openTwo();
    streams.refusing = () => failure(503, 'Away.', { 'Retry-After': '60' });
    await streams.last.end();
    await pass(2500);
    streams.asked = 0;
    const third = await openPage();
    third.watch('flow:1');
    await pass(40_000);
    expect(streams.asked).toBe(0);
  });

  test('the new leader asks for what every other tab wants, at once', async () => {
    const [first] = await openTwo();
    const third = await openPage();
    third.watch('flow:3');
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    first.leave();
    await pass(60);
    expect(streams.last.records).toEqual(['flow:1', 'flow:3']);
    await streams.last.write('retry: 1000\n\n');
    await streams.last.snapshot('flow:3', '4', bob);
    expect(third.viewers('flow:3')).toEqual([bob]);
    expect(streams.open).toHaveLength(1);
  });

  test('403 is told to all tabs', async () => {
    const [first, second] = await openTwo();
    streams.refusing = () => failure(403);
    await streams.last.end();
    await pass(2500);
    expect(first.seen.refused).toMatchObject([{ kind: 'unauthorized', status: 403 }]);
    expect(second.seen.refused).toMatchObject([{ kind: 'unauthorized', status: 403 }]);
  });

  test('a record that is forbidden is told to the tab that asked for it, and the others go on', async () => {
    const [first, second] = await openTwo();
    const third = await openPage();
    third.watch('flow:2');
    await pass(60);
    await streams.last.write('retry: 1000\n\nevent: forbidden\ndata: {"records":["flow:2"]}\n\n');
    await streams.last.snapshot('flow:1', '2', bob);
    const fourth = await openPage(); // comes later, and is told by the leader
    fourth.watch('flow:1', 'flow:2');
    await pass(60);
    for (const page of [first, second, fourth]) expect(page.viewers('flow:1')).toEqual([bob]);
    expect([first, second, third, fourth].map(({ seen }) => seen.refused.length)).toEqual([0, 0, 1, 1]);
    expect(fourth.seen.refused[0].records).toEqual(['flow:2']);
    for (let i = 0; i < 8; i++) {
      await pass(15_000);
      await streams.last.write(':\n\n');
    }
    expect(streams.open).toHaveLength(1);
    expect([third, fourth].map(({ seen }) => seen.refused.length)).toEqual([1, 1]);
  });

  test('204 is told to all tabs, and resume() in any of them asks again', async () => {
    const two = await openTwo();
    streams.refusing = () => new Response(null, { status: 204 });
    await streams.last.end();
    await pass(60_000);
    expect(two.map(({ seen }) => seen.unsupported)).toEqual([1, 1]);
    streams.refusing = null;
    two[1].watchers[0].resume();
    await pass(100);
    expect(streams.open).toHaveLength(1);
  });

  test('a follower that is looked at has the leader try again at once', async () => {
    const [, second] = await openTwo();
    streams.refusing = () => failure(503);
    await streams.last.end();
    await pass(120_000);
    streams.refusing = null;
    const { asked } = streams;
    second.wake();
    await pass(100);
    expect(streams.asked).toBe(asked + 1);
  });

  test('more than a hundred records are too many for one stream: the last tab has its own', async () => {
    const many = Array.from({ length: 99 }, (_, i) => `flow:${i}`);
    const first = await openPage();
    first.watch(...many);
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    const second = await openPage();
    second.watch('task:1', 'task:2');
    await pass(100);
    expect(streams.last.records).toEqual(['task:1', 'task:2']);
    expect(streams.open).toHaveLength(2);
  });
});

describe('who shares with whom', () => {
  const jwt = (claims) => `x.${btoa(JSON.stringify(claims)).replace(/=+$/, '')}.x`;
  const me = { sub: 1, tenant: 't' };

  test.each([
    ['the same session', {}, {}, 1],
    ['another session', { csrfToken: 'a' }, { csrfToken: 'b' }, 2],
    ['a renewed token', { token: jwt({ ...me, exp: 1 }) }, { token: jwt({ ...me, exp: 2 }) }, 1],
    ['another user', { token: jwt(me) }, { token: jwt({ ...me, sub: 2 }) }, 2],
    ['a user with another type of id', { token: jwt(me) }, { token: jwt({ ...me, sub: '1' }) }, 2],
    ['another tenant', { token: jwt(me) }, { token: jwt({ ...me, tenant: 'u' }) }, 2],
    ['other records', { token: jwt(me) }, { token: jwt({ ...me, records: ['flow:1'] }) }, 2],
    ['a token and a session', { token: jwt(me) }, {}, 2],
    ['tokens that are no JWT', { token: 'opaque' }, { token: 'opaque' }, 2],
    ['tokens that are no JWT, with a key', { token: 'opaque', shareKey: 'me' }, { token: 'other', shareKey: 'me' }, 1],
    ['another service', { base: '/p' }, { base: '/q' }, 2],
    ['one that wants to be alone', {}, { share: false }, 2],
    ['a browser without locks', {}, { shares: false }, 2],
  ])('%s', async (_, one, other, count) => {
    for (const options of [one, other]) {
      const page = await openPage(options);
      page.watch('flow:1');
      await pass(100);
      if (streams.last) await streams.last.write('retry: 1000\n\n');
    }
    expect(streams.open).toHaveLength(count);
  });

  test('a page whose token became somebody else’s leaves those whom it led', async () => {
    const ending = jwt({ ...me, exp: Date.now() / 1000 + 5 });
    let token = ending;
    const first = await openPage({ token: () => token });
    first.watch('flow:1');
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    const second = await openPage({ token: jwt(me) });
    second.watch('flow:1');
    await pass(60);
    token = jwt({ ...me, sub: 2 });
    await streams.last.end();
    await pass(3000);
    expect(streams.open.map(({ headers }) => headers.Authorization).sort()).toEqual(
      [`Bearer ${jwt(me)}`, `Bearer ${token}`].sort(),
    );
  });

  test('without locks a tab that nobody sees lets its stream go: a browser has six connections to a host', async () => {
    const page = await openPage({ shares: false });
    page.watch('flow:1');
    await pass(60);
    await streams.last.write('retry: 1000\n\n');
    page.hide();
    await settle();
    expect(streams.open).toHaveLength(0);
    await pass(60_000);
    expect(streams.asked).toBe(1);
    page.wake();
    await pass(60);
    expect(streams.open).toHaveLength(1);
  });

  test('a frame that may not have locks streams for itself', async () => {
    origin.locks.request = () => Promise.reject(new DOMException('No.', 'SecurityError'));
    const page = await openPage();
    page.watch('flow:1');
    await pass(60);
    expect(streams.asked).toBe(1);
  });
});
