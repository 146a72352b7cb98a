// What a developer finds in the console when the page never learns who is here.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import 'presence/failures.js'; // so that the late import is there at once
import { alice, answer, failure, pass } from './fakes.js';
import { openPresence, service, useService } from './harness.js';

let warn;

useService();
beforeEach(() => {
  document.head.innerHTML = '<meta name="csrf-token" content="t">';
  warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(() => {
  document.head.innerHTML = '';
});

const start = (options) => openPresence({ stream: false, ...options, browser: { random: () => 0.1 } });
const refused = () => {
  throw new TypeError('Failed to fetch');
};

test.each([
  ['another base', () => answer(404, 'Not found'), {}, 'no service at /api/v1/presence (404). See the option "base"'],
  [
    'another host',
    refused,
    { base: 'https://presence.test/v1' },
    'PRESENCE_CORS_ORIGINS there must name http://app.test,',
  ],
  ['no server', refused, {}, 'No answer from http://app.test: Failed to fetch'],
  ['nobody signed in', () => failure(401), {}, '401 (No.): nobody is signed in'],
  ['a token that does not hold', () => failure(401), { token: 'x' }, '401 (No.): see the option "token"'],
  [
    'a sign-in page for a token',
    refused,
    { base: 'https://presence.test/v1', token: () => '<!doctype html>\n<p>Sign in</p>' },
    'The option "token" gave something that is no token',
  ],
  [
    'a token that never comes',
    refused,
    { base: 'https://presence.test/v1', token: () => undefined },
    'The option "token" has given no token yet',
  ],
  [
    'a token that can’t be had',
    refused,
    { base: 'https://presence.test/v1', token: refused },
    'The option "token" failed: Failed to fetch',
  ],
  ['a token for other records', () => failure(403), { token: 'x' }, '403 (No.): see the option "token"'],
  ['a CSRF token of another session', () => failure(403), {}, '403 (No.): the CSRF token is not this session'],
  ['a sign-in page', () => answer(200, '<p>Sign in</p>'), {}, 'answers with a page (200), which is not the service'],
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
  const presence = start();
  await pass(5000);
  service.failing = null;
  await pass(30_000);
  expect(presence.getSnapshot().viewers).toEqual([alice]);
  service.failing = () => failure(503);
  await pass(120_000);
  expect(warn).not.toHaveBeenCalled();
});

test('fields that the service leaves out are told once, and the tab lives', async () => {
  service.leftOut = { dirty_fields: ['title'] };
  const presence = start({ dirty: ['title'] });
  await pass(1000);
  presence.setDirty(['title', 'steps']);
  await pass(60_000);

  expect(warn).toHaveBeenCalledTimes(1);
  expect(warn).toHaveBeenCalledWith(expect.stringContaining('left out'), { dirty_fields: ['title'] });
  expect(presence.getSnapshot().status).toBe('live');
});
