import { createBrowser } from 'presence/browser.js';
import { createHttpTransport } from 'presence/transport.js';
import { afterEach, expect, test, vi } from 'vitest';
import { answer } from './fakes.js';

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
    base: '/p',
    type: 'flow',
    id: 1,
    csrfToken: async () => tokens.shift(),
    browser: { ...createBrowser(window), fetch },
  });
  const { signal } = new AbortController();
  await transport.heartbeat({}, signal);
  await transport.heartbeat({}, signal);
  expect(fetch.mock.calls.map(([, init]) => init.headers['X-CSRF-TOKEN'])).toEqual(['one', 'two']);
});

test('with a bearer token the page’s CSRF token stays in the page', async () => {
  meta('from-page');
  const headers = await headersOf({ token: { current: 'jwt' } });
  expect(headers.Authorization).toBe('Bearer jwt');
  expect(headers).not.toHaveProperty('X-CSRF-TOKEN');
  expect(await headersOf({ token: { current: 'jwt' }, csrfToken: 'mine' })).toMatchObject({ 'X-CSRF-TOKEN': 'mine' });
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
  const fetch = vi.fn(async () => {
    throw new TypeError('gone');
  });
  const transport = createHttpTransport({
    base: '/p',
    type: 'flow',
    id: 1,
    browser: { ...createBrowser(window), fetch },
  });
  await transport.heartbeat({}, new AbortController().signal).catch(() => {});
  await expect(transport.leave('tab')).resolves.toBeUndefined();
  expect(fetch).toHaveBeenCalledTimes(2);
});

test('what a DELETE says is in its body and in its query: some proxies drop the one', async () => {
  const fetch = vi.fn(async () => answer(200, { success: true, data: {} }));
  const transport = createHttpTransport({
    base: '/p',
    type: 'flow',
    id: 1,
    browser: { ...createBrowser(window), fetch, wallNow: () => 17 },
  });
  await transport.call('claim', { tab_id: 'a', field: 'a & b' }, 'DELETE');
  await transport.leave('a');
  expect(fetch.mock.calls.map(([url, { body }]) => [url, JSON.parse(body)])).toEqual([
    ['/p/flow/1/claim?tab_id=a&field=a+%26+b&sent_at=17', { tab_id: 'a', field: 'a & b' }],
    ['/p/flow/1/unregister?tab_id=a&sent_at=17', { tab_id: 'a' }],
  ]);
});

test('a heartbeat says in its query when it was sent, which an older service does not read', async () => {
  const fetch = vi.fn(async () => answer(200, { success: true, data: {} }));
  const browser = { ...createBrowser(window), fetch, wallNow: () => 17 };
  const transport = createHttpTransport({ base: '/p', type: 'flow', id: 1, browser });
  await transport.heartbeat({ tab_id: 'a' }, new AbortController().signal);
  const [url, { body }] = fetch.mock.lastCall;
  expect([url, JSON.parse(body)]).toEqual(['/p/flow/1/heartbeat?sent_at=17', { tab_id: 'a' }]);
});
