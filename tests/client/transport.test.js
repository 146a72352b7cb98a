import { afterEach, expect, test, vi } from 'vitest';
import { createBrowser } from 'presence/browser.js';
import { createHttpTransport } from 'presence/transport.js';
import { answer } from './world.js';

afterEach(() => document.head.replaceChildren());

function meta(content) {
  document.head.innerHTML = `<meta name="csrf-token" content="${content}">`;
}

async function headersOf(options) {
  const fetch = vi.fn(async () => answer(200, { success: true, data: {} }));
  const transport = createHttpTransport({
    type: 'flow',
    id: 1,
    base: '/p',
    credentials: 'same-origin',
    ...options,
    browser: { ...createBrowser(window), fetch },
  });
  await transport.heartbeat({}, new AbortController().signal);
  return fetch.mock.lastCall[1].headers;
}

test('the CSRF token comes from the page', async () => {
  meta('from-page');
  expect(await headersOf({})).toMatchObject({ 'X-CSRF-TOKEN': 'from-page', 'Content-Type': 'application/json' });
});

test('a token function is asked at every beat', async () => {
  const tokens = ['one', 'two'];
  const fetch = vi.fn(async () => answer(200, { success: true, data: {} }));
  const transport = createHttpTransport({
    base: '/p', type: 'flow', id: 1, csrfToken: async () => tokens.shift(), browser: { ...createBrowser(window), fetch },
  });
  const { signal } = new AbortController();
  await transport.heartbeat({}, signal);
  await transport.heartbeat({}, signal);
  expect(fetch.mock.calls.map(([, init]) => init.headers['X-CSRF-TOKEN'])).toEqual(['one', 'two']);
});

test('with a bearer token the page’s CSRF token stays in the page', async () => {
  meta('from-page');
  const headers = await headersOf({ token: 'jwt' });
  expect(headers.Authorization).toBe('Bearer jwt');
  expect(headers).not.toHaveProperty('X-CSRF-TOKEN');
  expect(await headersOf({ token: 'jwt', csrfToken: 'mine' })).toMatchObject({ 'X-CSRF-TOKEN': 'mine' });
});

test('csrfToken: null sends none', async () => {
  meta('from-page');
  expect(await headersOf({ csrfToken: null })).not.toHaveProperty('X-CSRF-TOKEN');
});

test('the native fetch is never called as somebody’s method', async () => {
  let self = 'unset';
  const browser = {
    ...createBrowser(window),
    async fetch() {
      self = this;
      return answer(200, { success: true, data: {} });
    },
  };
  const transport = createHttpTransport({ base: '/p', type: 'flow', id: 1, browser });
  await transport.heartbeat({}, new AbortController().signal);
  expect(self).toBeUndefined();
});

test('leaving never fails', async () => {
  const fetch = vi.fn(async () => { throw new TypeError('gone'); });
  const transport = createHttpTransport({ base: '/p', type: 'flow', id: 1, browser: { ...createBrowser(window), fetch } });
  await transport.heartbeat({}, new AbortController().signal).catch(() => {});
  await expect(transport.leave('tab')).resolves.toBeUndefined();
  expect(fetch).toHaveBeenCalledTimes(2);
});
