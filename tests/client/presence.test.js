import { describe, expect, test, vi } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/failures.js';
import { alice, answer, bob, failure, page, pass, settle, viewer } from './fakes.js';
import { service, openPresence as start, useService } from './harness.js';

useService();

async function startLive(options) {
  const presence = start(options);
  await settle();
  expect(presence.getSnapshot().status).toBe('live');
  await pass(1000); // the gap after the first beat is over
  return presence;
}

describe('beating', () => {
  test('the first beat is at once and asks for the viewers', async () => {
    service.show(alice);
    const presence = start({ mode: 'edit' });
    await settle();
    expect(service.beats).toHaveLength(1);
    const { url, body } = service.last;
    expect(url).toBe('/api/v1/presence/flow/12/heartbeat');
    expect(body).toEqual({
      tab_id: presence.getSnapshot().tabId,
      mode: 'edit',
      dirty: false,
      version: null,
      visible: true,
    });
    expect(presence.getSnapshot()).toMatchObject({ viewers: [alice], total: 1, version: 'v2', fresh: true });
  });

  test('the next beats come when the server says and carry the version seen', async () => {
    service.heartbeatSeconds = 20;
    start();
    await settle();
    await pass(19_900);
    expect(service.beats).toHaveLength(1);
    await pass(200);
    expect(service.beats).toHaveLength(2);
    expect(service.last.body.version).toBe('v1');
    service.heartbeatSeconds = 5; // from the next answer on
    await pass(20_000);
    await pass(5000);
    expect(service.beats).toHaveLength(4);
  });

  test.each([
    [0, 27_000],
    [0.999999, 33_000],
  ])('jitter at random %d beats after %d ms', async (random, ms) => {
    start({ stream: false, browser: { random: () => random } });
    await settle();
    await pass(ms - 10);
    expect(service.beats).toHaveLength(1);
    await pass(20);
    expect(service.beats).toHaveLength(2);
  });

  test('an idle tab sends one request in 30 s', async () => {
    start();
    await pass(10 * 60_000);
    expect(service.calls.length).toBeLessThanOrEqual(21);
    expect(service.calls.length).toBeGreaterThanOrEqual(20);
  });

  test('a record id is quoted in the address', async () => {
    start({ id: 'a/../b', base: 'https://presence.example/v1/' });
    await settle();
    expect(service.last.url).toBe('https://presence.example/v1/flow/a%2F..%2Fb/heartbeat');
  });

  test('nothing happens before resume when autoStart is false', async () => {
    const presence = start({ autoStart: false });
    await pass(60_000);
    expect(service.calls).toHaveLength(0);
    expect(presence.getSnapshot()).toMatchObject({ status: 'idle', tabId: null, viewers: null });
    presence.resume();
    await settle();
    expect(service.beats).toHaveLength(1);
  });

  test('a page that is rendered ahead of a click is not there yet', async () => {
    let isPrerendering = true;
    start({ browser: { isPrerendering: () => isPrerendering } });
    await pass(60_000);
    expect(service.calls).toHaveLength(0);
    isPrerendering = false;
    document.dispatchEvent(new Event('prerenderingchange'));
    await settle();
    expect(service.beats).toHaveLength(1);
  });

  test('two presences on one page work on their own', async () => {
    const first = await startLive();
    const second = await startLive({ id: 13 });
    expect(first.getSnapshot().tabId).not.toBe(second.getSnapshot().tabId);
    await first.stop();
    service.calls.length = 0;
    await pass(31_000);
    expect(service.beats.map(({ url }) => url)).toEqual(['/api/v1/presence/flow/13/heartbeat']);
  });

  test('somebody who left may only be reloading: one second look, not a heartbeat later', async () => {
    service.show(alice, bob);
    const presence = await startLive();
    service.show(alice); // Bob, between his goodbye and his next page
    await pass(29_500);
    expect(presence.getSnapshot().viewers).toEqual([alice]);
    service.show(alice, bob);
    await pass(2000);
    expect(presence.getSnapshot().viewers).toEqual([alice, bob]);
    expect(service.beats).toHaveLength(3);
    await pass(29_000);
    expect(service.beats).toHaveLength(3);
  });

  test('the second look is not lost to a change of our own, and there is no third', async () => {
    service.show(alice, bob);
    const presence = await startLive();
    service.show(alice);
    await pass(29_500);
    presence.setDirty(true);
    await pass(1400); // told, and still a second look to come
    expect(service.beats).toHaveLength(3);
    service.show();
    await pass(600);
    expect(service.beats).toHaveLength(4);
    await pass(27_000);
    expect(service.beats).toHaveLength(4);
  });

  test('after a loss of all data the last list stays, old, and the next beat asks again', async () => {
    service.show(alice, bob);
    const presence = await startLive({ stream: false });
    service.hasLost = true;
    service.show();
    await pass(33_000);
    expect(presence.getSnapshot()).toMatchObject({ viewers: [alice, bob], fresh: false, status: 'live' });
    service.show(bob);
    await pass(33_000);
    expect(service.beats.filter(({ body }) => body.version === null)).toHaveLength(2); // the first, and this one
    expect(presence.getSnapshot()).toMatchObject({ viewers: [bob], fresh: true });
  });

  test('a tab that missed a whole lease keeps no list of those who may be gone', async () => {
    service.show(alice);
    const presence = await startLive({ stream: false });
    service.failing = () => failure(503);
    await pass(100_000);
    service.failing = null;
    service.hasLost = true;
    service.show();
    await pass(33_000);
    expect(presence.getSnapshot()).toMatchObject({ viewers: [] });
  });

  test('a crowd that comes and goes is not looked at twice', async () => {
    const crowd = Array.from({ length: 11 }, (_, i) => viewer(i, `User ${i}`));
    service.show(...crowd);
    await startLive();
    service.show(...crowd.slice(1));
    await pass(29_500);
    expect(service.beats).toHaveLength(2);
    await pass(20_000);
    expect(service.beats).toHaveLength(2);
  });

  test("a silly interval doesn't make a storm", async () => {
    service.heartbeatSeconds = 0.001;
    start();
    await pass(10_000);
    expect(service.beats.length).toBeLessThan(13);
  });
});

describe('changes', () => {
  test('a change is told at once', async () => {
    const presence = await startLive();
    presence.setDirty(true);
    await settle();
    expect(service.beats).toHaveLength(2);
    expect(service.last.body.dirty).toBe(true);
  });

  test('what changes together is one beat', async () => {
    const presence = await startLive();
    presence.setMode('edit');
    presence.setDirty(true);
    presence.setActiveField('title');
    await pass(5000);
    expect(service.beats).toHaveLength(2);
    expect(service.last.body).toMatchObject({ mode: 'edit', dirty: true, active_field: 'title' });
  });

  test('tabbing through ten fields in a second is three beats, and the last is right', async () => {
    const presence = await startLive();
    for (let i = 1; i <= 10; i++) {
      presence.setActiveField(`field_${i}`);
      await pass(100);
    }
    await pass(1000);
    expect(service.beats.length - 1).toBeLessThanOrEqual(3);
    expect(service.last.body.active_field).toBe('field_10');
  });

  test.each(['x'.repeat(129), 'two\nlines', ''])(
    'a field name that the service refuses is left out: %j',
    async (name) => {
      const presence = await startLive({ activeField: name });
      presence.setActiveField('user name');
      await pass(1000);
      presence.setActiveField(name);
      await pass(1000);
      expect(service.beats.map(({ body }) => body.active_field)).toEqual([undefined, 'user name', undefined]);
    },
  );

  test('saying the same again sends nothing', async () => {
    const presence = await startLive({ dirty: true });
    presence.setDirty(true);
    presence.setMode('view');
    presence.setActiveField(null);
    await pass(5000);
    expect(service.beats).toHaveLength(1);
  });

  test('a change that is taken back in the same turn sends nothing', async () => {
    const presence = await startLive();
    presence.setDirty(true);
    presence.setDirty(false);
    await pass(5000);
    expect(service.beats).toHaveLength(1);
  });

  test('a change while a beat is under way is told after it, never beside it', async () => {
    const presence = await startLive();
    const release = service.hold();
    presence.setDirty(true);
    await settle();
    presence.setActiveField('title');
    await pass(3000);
    expect(service.beats).toHaveLength(2);
    await release();
    expect(service.beats).toHaveLength(3);
    expect(service.last.body).toMatchObject({ dirty: true, active_field: 'title' });
  });

  test('a change before the first answer is not lost', async () => {
    const release = service.hold();
    const presence = start();
    await settle();
    presence.setDirty(true);
    await release();
    await pass(600);
    expect(service.last.body.dirty).toBe(true);
  });
});

describe('the page comes back', () => {
  test.each(['show', 'goOnline'])('%s beats at once', async (event) => {
    await startLive();
    page[event]();
    await settle();
    expect(service.beats).toHaveLength(2);
  });

  test('a thawed page beats soon', async () => {
    await startLive();
    page.freeze();
    page.thaw();
    await pass(250);
    expect(service.beats).toHaveLength(2);
  });

  test('a page that is thawed to be closed sends a goodbye and no beat, however overdue one is', async () => {
    await startLive();
    page.freeze();
    await pass(60_000);
    page.thaw();
    await pass(50);
    page.leave();
    await pass(60_000);
    expect(service.beats).toHaveLength(1);
    expect(service.goodbyes).toHaveLength(1);
  });

  test('a thawed presence that is stopped stays stopped', async () => {
    const presence = await startLive();
    page.freeze();
    page.thaw();
    presence.stop();
    await pass(60_000);
    expect(service.beats).toHaveLength(1);
  });

  test('a hidden page says so, and goes on beating', async () => {
    await startLive();
    page.hide();
    await pass(3000);
    expect(service.beats).toHaveLength(2);
    expect(service.last.body.visible).toBe(false);
    await pass(30_000);
    expect(service.beats).toHaveLength(3);
    expect(service.last.body.visible).toBe(false);
  });

  test('hidden while a beat is under way: told after it', async () => {
    await startLive();
    const release = service.hold();
    page.show();
    await settle();
    page.hide();
    await pass(3000);
    expect(service.beats).toHaveLength(2);
    await release();
    await pass(500);
    expect(service.beats).toHaveLength(3);
    expect(service.last.body.visible).toBe(false);
  });

  test('a page that is hidden because it goes sends a goodbye and no beat', async () => {
    await startLive();
    page.hide();
    page.leave();
    await pass(60_000);
    expect(service.beats).toHaveLength(1);
    expect(service.goodbyes).toHaveLength(1);
  });

  test('a wake while a beat is under way waits for its answer, then beats once', async () => {
    await startLive();
    const release = service.hold();
    page.show();
    await pass(600);
    page.goOnline();
    page.show();
    await settle();
    expect(service.beats).toHaveLength(2);
    await release();
    await pass(5000);
    expect(service.beats).toHaveLength(3);
  });

  test('a beat that hangs since before a sleep is given up for a new one', async () => {
    await startLive();
    service.hold();
    page.show();
    await pass(5000);
    service.gate = null;
    page.thaw();
    await pass(250);
    expect(service.beats).toHaveLength(3);
    expect(service.beats[1].signal.aborted).toBe(true);
  });

  test('focus beats only when a beat is overdue', async () => {
    await startLive();
    page.focus();
    await settle();
    expect(service.beats).toHaveLength(1);
    // The machine slept for an hour: performance.now() and the timers stood still.
    const wall = Date.now() + 3_600_000;
    vi.setSystemTime(wall);
    page.focus();
    await settle();
    expect(service.beats).toHaveLength(2);
  });
});

describe('leaving', () => {
  test('pagehide says goodbye with keepalive and the last headers', async () => {
    const presence = await startLive({ token: async () => 'jwt', csrfToken: 'csrf' });
    const { tabId } = presence.getSnapshot();
    page.leave();
    expect(service.goodbyes).toHaveLength(1); // before pagehide is over: nothing is awaited
    expect(service.goodbyes[0]).toMatchObject({
      url: '/api/v1/presence/flow/12/unregister',
      keepalive: true,
      body: { tab_id: tabId },
    });
    expect(service.goodbyes[0].headers).toMatchObject({ Authorization: 'Bearer jwt', 'X-CSRF-TOKEN': 'csrf' });
    await pass(120_000);
    expect(service.calls).toHaveLength(2);
  });

  test('a beat under way is given up before the goodbye', async () => {
    await startLive();
    service.hold();
    page.show();
    await settle();
    const seen = [];
    service.last.signal.addEventListener('abort', () => seen.push('abort'));
    service.fetch.mockImplementationOnce(async () => seen.push('goodbye'));
    page.leave();
    expect(seen).toEqual(['abort', 'goodbye']);
  });

  test('a token that arrives after the goodbye sends no beat', async () => {
    let give;
    start({ token: () => new Promise((resolve) => (give = resolve)) });
    await settle();
    page.leave();
    give('late');
    await settle();
    expect(service.calls).toHaveLength(0);
  });

  test('from the back/forward cache it comes back at once under a new tab id', async () => {
    service.show(alice);
    const presence = await startLive();
    const before = presence.getSnapshot();
    page.leave(true);
    expect(presence.getSnapshot()).toMatchObject({ status: 'paused', fresh: false, viewers: [alice] });
    page.show(); // browsers differ in the order of these
    page.comeBack();
    await settle();
    const { tabId, status } = presence.getSnapshot();
    expect(status).toBe('live');
    expect(tabId).not.toBe(before.tabId);
    expect(service.beats).toHaveLength(2);
    expect(service.last.body).toMatchObject({ tab_id: tabId, version: null });
    expect([...service.tabs]).toEqual([tabId]);
    expect(presence.getSnapshot().viewers).toBe(before.viewers);
  });

  test('a pageshow that is not from the cache adds nothing', async () => {
    await startLive();
    window.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: false }));
    await settle();
    expect(service.beats).toHaveLength(1);
  });

  test('stop unregisters, once, and nothing follows', async () => {
    const presence = await startLive();
    await presence.stop();
    await presence.stop();
    expect(service.tabs.size).toBe(0);
    page.show();
    page.goOnline();
    page.leave();
    presence.setDirty(true);
    await pass(120_000);
    expect(service.beats).toHaveLength(1);
    expect(service.goodbyes).toHaveLength(1);
    expect(presence.getSnapshot()).toMatchObject({ status: 'stopped', fresh: false });
  });

  test('stop lets a beat under way arrive first: the goodbye has the last word', async () => {
    const presence = await startLive();
    const release = service.hold();
    presence.setDirty(true);
    await settle();
    const stopped = presence.stop();
    expect(presence.getSnapshot().status).toBe('stopped');
    await pass(1000);
    expect(service.goodbyes).toHaveLength(0);
    expect(service.last.signal.aborted).toBe(false);
    await release();
    await stopped;
    expect(service.goodbyes).toHaveLength(1);
    expect(service.tabs.size).toBe(0);
  });

  test('stop waits 2 s for a beat that hangs, no longer', async () => {
    const presence = await startLive();
    service.hold();
    page.show();
    await settle();
    presence.stop();
    await pass(1999);
    expect(service.goodbyes).toHaveLength(0);
    await pass(1);
    expect(service.last.signal.aborted).toBe(true);
    expect(service.goodbyes).toHaveLength(1);
  });

  test('a page that goes while stop waits says its goodbye at once, and once', async () => {
    const presence = await startLive();
    service.hold();
    page.show();
    await settle();
    presence.stop();
    page.leave();
    expect(service.goodbyes).toHaveLength(1);
    await pass(10_000);
    expect(service.goodbyes).toHaveLength(1);
    expect(service.beats).toHaveLength(2);
  });

  test('resume while stop waits: the new tab stays, the old one goes', async () => {
    const presence = await startLive();
    const release = service.hold();
    page.show();
    await settle();
    presence.stop();
    presence.resume();
    await settle();
    await release();
    await pass(1000);
    expect([...service.tabs]).toEqual([presence.getSnapshot().tabId]);
    expect(presence.getSnapshot().status).toBe('live');
  });

  test('the answer to a beat from before stop changes nothing', async () => {
    const release = service.hold();
    service.fetch.mockImplementationOnce(async () => {
      await service.gate; // a fetch that doesn't know about abort
      return answer(200, { success: true, data: { version: 'v9', heartbeat_seconds: 30, viewers: [bob], total: 1 } });
    });
    const presence = start();
    await settle();
    presence.stop();
    await release();
    expect(presence.getSnapshot()).toMatchObject({ status: 'stopped', viewers: null });
    await pass(120_000);
    expect(service.beats).toHaveLength(0);
  });

  test('stopped before the first beat was sent: no goodbye either', async () => {
    const presence = start();
    presence.stop();
    await pass(60_000);
    expect(service.calls).toHaveLength(0);
  });

  test('a transport of one’s own takes the place of HTTP, and never hears of one stopped at once', async () => {
    const transport = {
      heartbeat: vi.fn(async () => ({ version: 'a', heartbeat_seconds: 30, viewers: [alice], total: 1 })),
      leave: vi.fn(async () => {}),
    };
    start({ transport }).stop();
    await settle();
    expect(transport.heartbeat).not.toHaveBeenCalled();
    expect(transport.leave).not.toHaveBeenCalled();
    const presence = start({ transport });
    await settle();
    expect(presence.getSnapshot().viewers).toEqual([alice]);
    page.leave();
    expect(transport.leave).toHaveBeenCalledWith(presence.getSnapshot().tabId);
    expect(service.calls).toHaveLength(0);
  });

  test('resume after stop enters under a new tab id', async () => {
    const presence = await startLive();
    const before = presence.getSnapshot().tabId;
    presence.stop();
    presence.resume();
    await pass(1000);
    expect(presence.getSnapshot().tabId).not.toBe(before);
    expect([...service.tabs]).toEqual([presence.getSnapshot().tabId]);
  });

  test('a listener that stops it in the middle is obeyed', async () => {
    const presence = start();
    presence.subscribe(({ status }) => status === 'live' && presence.stop());
    await pass(120_000);
    expect(presence.getSnapshot()).toMatchObject({ status: 'stopped', fresh: false });
    expect(service.beats).toHaveLength(1);
    expect(service.goodbyes).toHaveLength(1);
  });
});

describe('failures', () => {
  test('the network fails: it tries again with growing full jitter inside the lease, and recovers', async () => {
    service.show(alice);
    const presence = await startLive();
    service.failing = () => Promise.reject(new TypeError('Failed to fetch'));
    await pass(90_000);
    const times = service.beats.map(({ at }) => at);
    const gaps = times.slice(2).map((at, i) => at - times[i + 1]);
    expect(gaps.length).toBeGreaterThanOrEqual(6); // chances within one lease
    expect(gaps.slice(0, 4)).toEqual([1000, 2000, 4000, 8000]); // half of the ceilings, by random() of 0.5
    expect(Math.max(...gaps)).toBeLessThanOrEqual(15_000);
    expect(presence.getSnapshot()).toMatchObject({
      status: 'retrying',
      viewers: [alice],
      error: { kind: 'unreachable' },
    });
    service.failing = null;
    await pass(15_000);
    expect(presence.getSnapshot()).toMatchObject({ status: 'live', fresh: true, error: null });
    await pass(30_000); // back to the usual pace
    expect(service.beats.at(-1).at - service.beats.at(-2).at).toBeCloseTo(30_000, -2);
  });

  test.each([
    [0, 250],
    [1, 2000],
  ])('at random %d the first retry comes after %d ms', async (random, ms) => {
    service.failing = () => failure(503);
    start({ stream: false, browser: { random: () => random } });
    await settle();
    await pass(ms - 1);
    expect(service.beats).toHaveLength(1);
    await pass(1);
    expect(service.beats).toHaveLength(2);
  });

  test.each([503, 429])('%d waits for Retry-After, whatever happens meanwhile', async (status) => {
    const presence = await startLive();
    service.failing = () => failure(status, 'Later.', { 'Retry-After': '20' });
    page.show();
    await settle();
    expect(service.beats).toHaveLength(2);
    presence.setDirty(true);
    page.goOnline();
    await pass(10_000);
    page.show();
    page.thaw();
    presence.resume();
    await pass(9_990);
    expect(service.beats).toHaveLength(2);
    service.failing = null;
    await pass(2000); // the jitter
    expect(service.beats).toHaveLength(3);
    expect(service.last.body.dirty).toBe(true);
    expect(presence.getSnapshot().status).toBe('live');
  });

  test('Retry-After as a date', async () => {
    service.failing = () => failure(503, 'Later.', { 'Retry-After': new Date(Date.now() + 30_000).toUTCString() });
    start();
    await pass(29_000);
    expect(service.beats).toHaveLength(1);
    await pass(3000);
    expect(service.beats).toHaveLength(2);
  });

  test('an endless Retry-After ends within the hour and never overflows a timer', async () => {
    service.failing = () => failure(503, 'Later.', { 'Retry-After': '99999999' });
    start();
    await pass(3_599_000);
    expect(service.beats).toHaveLength(1);
    await pass(2000);
    expect(service.beats).toHaveLength(2);
  });

  test('a change waits for the back-off, coming online does not', async () => {
    const presence = await startLive();
    service.failing = () => failure(503);
    await pass(30_000 + 1000 + 2000 + 4000); // failures at 30, 31, 33, 37 s: the next is 8 s away
    const before = service.beats.length;
    presence.setDirty(true);
    await pass(3000);
    expect(service.beats).toHaveLength(before);
    service.failing = null;
    page.goOnline();
    await settle();
    expect(service.beats).toHaveLength(before + 1);
    expect(service.last.body.dirty).toBe(true);
  });

  test('no answer within 10 s is a failure, even from a fetch that ignores abort', async () => {
    service.fetch.mockImplementationOnce(() => new Promise(() => {}));
    const presence = start();
    await pass(9900);
    expect(presence.getSnapshot().status).toBe('connecting');
    await pass(200);
    expect(presence.getSnapshot()).toMatchObject({ status: 'retrying', viewers: null, error: { kind: 'unreachable' } });
    await pass(2000);
    expect(presence.getSnapshot().status).toBe('live');
  });

  test.each([401, 403])('%d stops with an event; resume goes on under the same tab id', async (status) => {
    let token = 'old';
    const presence = await startLive({ token: () => token });
    const { tabId } = presence.getSnapshot();
    const seen = [];
    presence.on('unauthorized', (error) => seen.push(error.status));
    service.failing = ({ headers }) => headers.Authorization === 'Bearer old' && failure(status, 'Sign in.');
    await pass(30_000);
    expect(seen).toEqual([status]);
    expect(presence.getSnapshot()).toMatchObject({
      status: 'stopped',
      fresh: false,
      error: { kind: 'unauthorized', message: 'Sign in.' },
    });
    page.show();
    await pass(120_000);
    expect(service.beats).toHaveLength(2);
    token = 'new';
    presence.resume();
    await settle();
    expect(presence.getSnapshot()).toMatchObject({ status: 'live', fresh: true, error: null, tabId });
  });

  test('a redirect to a page for signing in counts as 401', async () => {
    service.failing = () => ({
      ok: false,
      status: 0,
      type: 'opaqueredirect',
      json: async () => {
        throw new Error();
      },
    });
    const presence = start();
    await settle();
    expect(presence.getSnapshot()).toMatchObject({ status: 'stopped', error: { kind: 'unauthorized' } });
    expect(service.last.redirect).toBe('manual');
  });

  test('409 takes a new tab id and goes on', async () => {
    const presence = start();
    const first = presence.getSnapshot().tabId;
    service.failing = ({ body }) => body.tab_id === first && failure(409);
    await settle();
    expect(presence.getSnapshot().status).toBe('live');
    expect(presence.getSnapshot().tabId).not.toBe(first);
    await presence.stop();
    expect(service.goodbyes.map(({ body }) => body.tab_id)).toEqual([presence.getSnapshot().tabId]);
  });

  test('409 twice in a row stops with an error', async () => {
    const presence = start();
    const seen = [];
    presence.on('error', (error) => seen.push(error.kind));
    service.failing = () => failure(409);
    await pass(60_000);
    expect(service.beats).toHaveLength(2);
    expect(seen).toEqual(['taken']);
    expect(presence.getSnapshot().status).toBe('stopped');
  });

  test('422 stops with an error that names the fields', async () => {
    service.failing = () => answer(422, { success: false, message: 'Invalid.', errors: { mode: ['No.'] } });
    const presence = start();
    const seen = [];
    presence.on('error', (error) => seen.push(error.errors));
    await pass(120_000);
    expect(seen).toEqual([{ mode: ['No.'] }]);
    expect(presence.getSnapshot()).toMatchObject({ status: 'stopped', error: { kind: 'refused', status: 422 } });
    expect(service.beats).toHaveLength(1);
  });

  test.each([
    ["a proxy's page with 200", () => answer(200, '<html>Welcome</html>')],
    ["a proxy's 404", () => answer(404, '<html>Not here</html>')],
    ['success without data', () => answer(200, { success: true })],
    ['500', () => failure(500)],
  ])('%s is tried again', async (_, respond) => {
    service.failing = respond;
    const presence = start();
    await settle();
    expect(presence.getSnapshot()).toMatchObject({ status: 'retrying', viewers: null, error: { kind: 'unavailable' } });
    service.failing = null;
    await pass(2000);
    expect(presence.getSnapshot().status).toBe('live');
  });

  test("a 404 of the service's own is a mistake of the caller", async () => {
    service.failing = () => failure(404);
    const presence = start();
    await settle();
    expect(presence.getSnapshot()).toMatchObject({ status: 'stopped', error: { kind: 'refused' } });
  });

  test('a token function that fails is tried again', async () => {
    const token = vi.fn().mockRejectedValueOnce(new Error('no token')).mockResolvedValue('jwt');
    const presence = start({ token });
    await settle();
    expect(presence.getSnapshot().status).toBe('retrying');
    await pass(2000);
    expect(presence.getSnapshot().status).toBe('live');
  });

  test("a host's handler that throws stops no beat", async () => {
    const report = vi.fn();
    const presence = start({ browser: { report } });
    presence.subscribe(() => {
      throw new Error('mine');
    });
    presence.on('change', () => {
      throw new Error('mine too');
    });
    await settle();
    service.show(alice);
    await pass(30_000);
    await pass(30_000);
    expect(service.beats).toHaveLength(3);
    expect(report).toHaveBeenCalledWith(expect.objectContaining({ message: 'mine' }));
    expect(report).toHaveBeenCalledWith(expect.objectContaining({ message: 'mine too' }));
  });
});

describe('what is known', () => {
  test('before the first answer viewers are null, and an empty list is an answer', async () => {
    const presence = start();
    expect(presence.getSnapshot()).toMatchObject({ status: 'connecting', viewers: null, total: null, fresh: false });
    await settle();
    expect(presence.getSnapshot()).toMatchObject({ status: 'live', viewers: [], total: 0, fresh: true });
  });

  test('the snapshot stays the same object while nothing changes', async () => {
    service.show(alice);
    const presence = await startLive();
    const before = presence.getSnapshot();
    const listener = vi.fn();
    presence.subscribe(listener);
    await pass(95_000);
    expect(service.beats.length).toBeGreaterThan(3);
    expect(presence.getSnapshot()).toBe(before);
    expect(listener).not.toHaveBeenCalled();
    expect(Object.isFrozen(before) && Object.isFrozen(before.viewers) && Object.isFrozen(before.viewers[0])).toBe(true);
  });

  test('a viewer who did not change is the same object in the next list', async () => {
    service.show(alice, bob);
    const presence = await startLive();
    const [first] = presence.getSnapshot().viewers;
    service.show(viewer(3, 'Cleo'), alice, { ...bob, mode: 'edit' });
    const changes = [];
    presence.on('change', (change) => changes.push(change));
    await pass(30_000);
    const { viewers } = presence.getSnapshot();
    expect(viewers.map(({ name }) => name)).toEqual(['Cleo', 'Alice', 'Bob']);
    expect(viewers[1]).toBe(first);
    expect(changes).toEqual([{ joined: [viewers[0]], updated: [viewers[2]], left: [] }]);
    service.show(alice);
    await pass(30_000);
    expect(changes[1].left.map(({ name }) => name)).toEqual(['Cleo', 'Bob']);
  });

  test('the first list is no change', async () => {
    service.show(alice);
    const presence = start();
    const onChange = vi.fn();
    presence.on('change', onChange);
    await settle();
    expect(onChange).not.toHaveBeenCalled();
  });

  test('42 and "42" are two people', async () => {
    service.show(viewer(42, 'Number'), viewer('42', 'Text'));
    const presence = await startLive();
    const onChange = vi.fn();
    presence.on('change', onChange);
    service.show(viewer('42', 'Text'));
    await pass(30_000);
    expect(onChange.mock.calls[0][0].left.map(({ name }) => name)).toEqual(['Number']);
  });

  test('old data says that it is old and since when, and keeps the list', async () => {
    service.show(alice);
    const presence = await startLive();
    const confirmedAt = Date.now() - 1000;
    service.failing = () => failure(503);
    await pass(41_500);
    expect(presence.getSnapshot().fresh).toBe(true); // 42.5 s: no more than late
    await pass(1000);
    expect(presence.getSnapshot()).toMatchObject({ fresh: false, staleSince: confirmedAt, viewers: [alice] });
    service.failing = null;
    await pass(30_000);
    expect(presence.getSnapshot()).toMatchObject({ fresh: true, staleSince: null, viewers: [alice] });
  });

  test('setting the wall clock back leaves freshness alone', async () => {
    const presence = await startLive();
    vi.setSystemTime(Date.now() - 3_600_000);
    service.failing = () => failure(503);
    await pass(43_000);
    expect(presence.getSnapshot().fresh).toBe(false);
  });

  test('after a sleep the list is old before the first answer', async () => {
    service.show(alice);
    const presence = await startLive();
    vi.setSystemTime(Date.now() + 3_600_000);
    service.hold();
    page.show();
    expect(presence.getSnapshot()).toMatchObject({ fresh: false, viewers: [alice] });
  });

  test('one slow answer is not "old"', async () => {
    const presence = await startLive({ browser: { random: () => 1 } });
    await pass(31_900);
    const release = service.hold();
    await pass(9900);
    expect(presence.getSnapshot().fresh).toBe(true);
    await release();
    expect(presence.getSnapshot().fresh).toBe(true);
  });

  test('a new version without a list is asked for again, and confirms nothing', async () => {
    service.show(alice);
    const presence = await startLive();
    service.failing = () => answer(200, { success: true, data: { version: 'v99', heartbeat_seconds: 30 } });
    await pass(60_000);
    expect(service.last.body.version).toBe('v2');
    expect(presence.getSnapshot()).toMatchObject({ version: 'v2', fresh: false });
  });

  test('unsubscribing works, also for a function subscribed twice', async () => {
    const presence = start();
    const [listener, another] = [vi.fn(), vi.fn()];
    const offs = [presence.subscribe(listener), presence.subscribe(listener)];
    presence.subscribe(another);
    offs[0]();
    await settle();
    const { length } = another.mock.calls;
    expect(length).toBeGreaterThan(0);
    expect(listener).toHaveBeenCalledTimes(length);
    offs[1]();
    await presence.stop();
    expect(listener).toHaveBeenCalledTimes(length);
  });

  test('tab ids are random and nothing is stored', async () => {
    const a = await startLive();
    const b = await startLive();
    expect(a.getSnapshot().tabId).not.toBe(b.getSnapshot().tabId);
    expect(localStorage.length + sessionStorage.length).toBe(0);
  });
});
