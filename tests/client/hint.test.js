// What who builds a page finds in the console when it never learns who is here.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createPresence } from 'presence/presence.js';
import 'presence/hint.js'; // so that the late import is there at once
import { alice, answer, createService, failure, page, pass } from './world.js';

let service;
let warn;
let presence;

beforeEach(() => {
  vi.useFakeTimers();
  page.reset();
  document.head.innerHTML = '<meta name="csrf-token" content="t">';
  service = createService();
  warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(async () => {
  document.head.innerHTML = '';
  const goodbye = presence.stop();
  await pass(2000);
  await goodbye;
  vi.useRealTimers();
});

const start = (options) =>
  (presence = createPresence({ type: 'flow', id: 12, stream: false, ...options, browser: { fetch: service.fetch, random: () => 0.1 } }));
const refused = () => {
  throw new TypeError('Failed to fetch');
};

test.each([
  ['another base', () => answer(404, 'Not found'), {}, 'no service at /api/v1/presence (404). See the option "base"'],
  ['another host', refused, { base: 'https://presence.test/v1' }, 'PRESENCE_CORS_ORIGINS there must name http://app.test,'],
  ['no server', refused, {}, 'No answer from http://app.test: Failed to fetch'],
  ['nobody signed in', () => failure(401), {}, '401 (No.): nobody is signed in'],
  ['a token that does not hold', () => failure(401), { token: 'x' }, '401 (No.): see the option "token"'],
  ['a token for other records', () => failure(403), { token: 'x' }, '403 (No.): see the option "token"'],
  ['a CSRF token of another session', () => failure(403), {}, '403 (No.): the CSRF token is not this session'],
  ['an error of ours', () => failure(500), {}, 'The service says 500 (No.).'],
])('%s', async (_, failing, options, reason) => {
  service.failing = failing;
  start(options);
  await pass(9000);
  expect(warn).not.toHaveBeenCalled();
  await pass(60_000);
  expect(warn).toHaveBeenCalledTimes(1);
  expect(warn.mock.calls[0][0]).toContain(reason);
});

test('no CSRF token in the page', async () => {
  document.head.innerHTML = '';
  service.failing = () => failure(403);
  start();
  await pass(11_000);
  expect(warn.mock.calls[0][0]).toContain('the page has no <meta name="csrf-token">.');
});

test('nothing is said where it passes, or where a list is known', async () => {
  service.failing = () => failure(503);
  service.show(alice);
  start();
  await pass(5000);
  service.failing = null;
  await pass(30_000);
  expect(presence.getSnapshot().viewers).toEqual([alice]);
  service.failing = () => failure(503);
  await pass(120_000);
  expect(warn).not.toHaveBeenCalled();
});
