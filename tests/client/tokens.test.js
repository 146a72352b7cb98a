// When the host is asked for a token, and what happens with what it gives.
import { beforeEach, describe, expect, test, vi } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/failures.js';
import { failure, pass } from './fakes.js';
import { openPresence, service, useService } from './harness.js';

useService();

const jwt = (claims) => `x.${btoa(JSON.stringify(claims)).replace(/=+$/, '')}.x`;
const inSeconds = (seconds) => Date.now() / 1000 + seconds;
const bearers = () => service.beats.map(({ headers }) => headers.Authorization);
const start = (options) => openPresence({ stream: false, ...options });
const see = (presence) => presence.getSnapshot();

describe('a token is asked for when one is needed', () => {
  test('once for many calls', async () => {
    const token = vi.fn(async () => jwt({ sub: 1, exp: inSeconds(300) }));
    const presence = start({ token });
    await pass(1000);
    for (let i = 0; i < 12; i++) {
      presence.setActiveField(`field${i}`);
      await pass(500);
    }
    expect(service.beats.length).toBeGreaterThan(10);
    expect(token).toHaveBeenCalledTimes(1);
  });

  test('again 5 s before its end', async () => {
    const ends = [inSeconds(60), inSeconds(120)];
    const tokens = ends.map((exp) => jwt({ sub: 1, exp }));
    start({ token: () => tokens[Date.now() < (ends[0] - 5) * 1000 ? 0 : 1] });
    await pass(61_000);
    expect(bearers()).toEqual([tokens[0], tokens[0], tokens[1]].map((token) => `Bearer ${token}`));
  });

  test('without a readable end when it is refused, and nobody notices', async () => {
    const tokens = ['one', 'two'];
    const token = vi.fn(() => tokens.shift());
    let revoked = 'none';
    service.failing = ({ headers }) => headers.Authorization === `Bearer ${revoked}` && failure(401);
    const presence = start({ token });
    const onUnauthorized = vi.fn();
    presence.on('unauthorized', onUnauthorized);
    await pass(31_000);
    expect(token).toHaveBeenCalledTimes(1);
    revoked = 'one';
    await pass(30_000);
    expect(bearers()).toEqual(['Bearer one', 'Bearer one', 'Bearer one', 'Bearer two']);
    expect(see(presence).status).toBe('live');
    expect(onUnauthorized).not.toHaveBeenCalled();
  });

  test('once for calls that need it together, and again where the host never answers', async () => {
    const token = vi
      .fn()
      .mockReturnValueOnce(new Promise(() => {}))
      .mockResolvedValue('jwt');
    const presence = start({ token });
    await pass(5000);
    expect(token).toHaveBeenCalledTimes(1);
    await pass(10_000);
    expect(see(presence).status).toBe('live');
  });

  test('another time after resume(), since another person may have signed in', async () => {
    let token = 'alice';
    const presence = start({ token: () => token });
    await pass(1000);
    token = 'bob';
    presence.resume();
    await pass(1000);
    expect(bearers().at(-1)).toBe('Bearer bob');
  });

  test('by each presence for itself: the next one may be another person’s', async () => {
    let name = 'alice';
    const token = () => name;
    start({ token });
    await pass(1000);
    name = 'bob';
    start({ token, id: 13 });
    await pass(1000);
    expect(bearers()).toEqual(['Bearer alice', 'Bearer bob']);
  });
});

describe('a token that comes late', () => {
  test.each([undefined, null, '', ' '])('(%o at first) is used when it comes', async (first) => {
    let token = first;
    const presence = start({ token: () => token });
    await pass(20_000);
    expect(service.calls).toHaveLength(0); // not somebody else's call, with the cookies of the page
    expect(see(presence)).toMatchObject({ status: 'retrying', error: { kind: 'unreachable' } });
    token = 'jwt';
    await pass(30_000);
    expect(bearers()).toEqual(['Bearer jwt']);
    expect(see(presence).status).toBe('live');
  });

  test('after the old one was refused starts the presence again', async () => {
    let token = 'old';
    service.failing = ({ headers }) => headers.Authorization === 'Bearer old' && failure(401);
    const presence = start({ token: () => token });
    const onUnauthorized = vi.fn();
    presence.on('unauthorized', onUnauthorized);
    await pass(60_000);
    expect(see(presence).status).toBe('stopped');
    expect(service.beats).toHaveLength(1); // what was refused is not sent again
    token = 'new';
    await pass(60_000);
    expect(see(presence).status).toBe('live');
    expect(onUnauthorized).toHaveBeenCalledTimes(1);
  });

  test('starts nothing that was stopped meanwhile', async () => {
    let token = 'old';
    service.failing = ({ headers }) => headers.Authorization === 'Bearer old' && failure(401);
    const presence = start({ token: () => token });
    await pass(1000);
    await presence.stop();
    token = 'new';
    await pass(600_000);
    expect(service.beats).toHaveLength(1);
    expect(see(presence).status).toBe('stopped');
  });

  test('is not waited for where each new one is refused as well', async () => {
    let number = 0;
    service.failing = () => failure(401);
    const token = vi.fn(() => `token${number++}`);
    start({ token });
    await pass(600_000);
    expect(token).toHaveBeenCalledTimes(2);
  });
});

describe('a host that keeps its token until the end', () => {
  test.each([0, 3])('by a clock that is %i s slow, has the next one in a moment, and nobody notices', async (slow) => {
    const end = Date.now() + 60_000;
    const [first, second] = [60, 120].map((seconds) => jwt({ sub: 1, exp: inSeconds(seconds) }));
    const refused = ({ headers }) => headers.Authorization === `Bearer ${first}` && Date.now() >= end && failure(401);
    service.heartbeatSeconds = 1;
    service.failing = refused;
    const presence = start({ token: () => (Date.now() < end + slow * 1000 ? first : second) });
    const onUnauthorized = vi.fn();
    presence.on('unauthorized', onUnauthorized);
    await pass(59_500);
    const { tabId } = see(presence);
    const seen = new Set();
    presence.subscribe(({ unseen }) => seen.add(unseen));
    await pass(8000);
    expect(bearers().at(-1)).toBe(`Bearer ${second}`);
    expect(see(presence)).toMatchObject({ status: 'live', tabId, unseen: false });
    expect(onUnauthorized).not.toHaveBeenCalled();
    expect([...seen]).not.toContain(true);
  });
});

describe('a URL that gives the token', () => {
  const signInPage = '<!doctype html>\n<title>Sign in</title>';
  const elsewhere = () => {
    throw new TypeError('Failed to fetch');
  };

  /** `host.give(init)` answers for the host. */
  function startWith(give) {
    const host = { give, asked: [] };
    const fetch = async (url, init) => {
      if (url !== '/presence-token') return service.fetch(url, init);
      host.asked.push(init);
      return host.give(init);
    };
    const onUnauthorized = vi.fn();
    const presence = start({ token: { url: '/presence-token' }, browser: { fetch } });
    presence.on('unauthorized', onUnauthorized);
    return { host, presence, onUnauthorized };
  }

  beforeEach(() => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
  });

  test.each([
    ['text', 'jwt\n'],
    ['JSON', '{"token": "jwt"}'],
    ['text in JSON', '"jwt"'],
  ])('as %s is asked once for many calls, with the cookies of the page', async (_, text) => {
    const { host } = startWith(() => new Response(text));
    await pass(61_000);
    expect(bearers()).toEqual(Array(3).fill('Bearer jwt'));
    expect(host.asked).toHaveLength(1);
    expect(host.asked[0].credentials ?? 'same-origin').toBe('same-origin');
  });

  test.each([
    ['401', () => new Response('{"error": "Sign in."}', { status: 401 })],
    ['403', () => new Response('jwt', { status: 403 })],
    ['a sign-in page', () => new Response(signInPage)],
    ['a redirect to another host', ({ redirect }) => (redirect ? { type: 'opaqueredirect' } : elsewhere())],
  ])('and answers %s: nobody is signed in, until somebody is', async (_, give) => {
    const { host, presence, onUnauthorized } = startWith(give);
    await pass(1000);
    expect(see(presence)).toMatchObject({ status: 'stopped', error: { kind: 'unauthorized' } });
    expect(service.calls).toHaveLength(0);
    host.give = () => new Response('jwt');
    await pass(60_000);
    expect(see(presence).status).toBe('live');
    expect(onUnauthorized).toHaveBeenCalledTimes(1);
  });

  test.each([
    ['500', () => new Response('jwt', { status: 500 })],
    ['404', () => new Response('jwt', { status: 404 })],
    ['that there is none yet', () => new Response('{"token": null}')],
    ['nothing', elsewhere],
  ])('and answers %s is asked again, and nobody counts as signed out', async (_, give) => {
    const { host, presence, onUnauthorized } = startWith(give);
    await pass(20_000);
    expect(see(presence)).toMatchObject({ status: 'retrying', error: { kind: 'unreachable' } });
    expect(service.calls).toHaveLength(0);
    host.give = () => new Response('jwt');
    await pass(30_000);
    expect(see(presence).status).toBe('live');
    expect(onUnauthorized).not.toHaveBeenCalled();
  });
});

describe('what is no token', () => {
  beforeEach(() => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
  });

  test.each(['<!doctype html>\n<title>Sign in</title>', '<html></html>', 'Sign in, please.', 'one\ntwo', 'schlüssel'])(
    'is never sent, and tells that nobody is signed in: %j',
    async (text) => {
      const presence = start({ token: async () => text });
      const onUnauthorized = vi.fn();
      presence.on('unauthorized', onUnauthorized);
      await pass(1000);
      expect(onUnauthorized).toHaveBeenCalledTimes(1);
      expect(see(presence)).toMatchObject({ status: 'stopped', error: { kind: 'unauthorized', status: 0 } });
      expect(see(presence).error.message).not.toContain(text);
      expect(service.calls).toHaveLength(0);
    },
  );

  test('a line’s end after a token is no part of it', async () => {
    start({ token: async () => 'jwt\n' });
    await pass(1000);
    expect(bearers()).toEqual(['Bearer jwt']);
  });
});

test('the server’s interval is obeyed when it is small, as before a token’s end', async () => {
  service.heartbeatSeconds = 1;
  start();
  await pass(10_500);
  expect(service.beats).toHaveLength(11);
});
