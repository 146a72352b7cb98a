import { createBrowser } from 'presence/browser.js';
import { createReceiver, createSender } from 'presence/signals.js';
import { beforeEach, expect, test, vi } from 'vitest';
import { bob, pass } from './fakes.js';
import { useFakePage } from './harness.js';

let browser;

useFakePage();
beforeEach(() => {
  browser = createBrowser(window);
});

const from = (data, more) => ({
  record: 'flow:1',
  tab_id: 't',
  user: { id: 2, name: 'Bob' },
  kind: 'typing',
  data,
  ...more,
});

function startSender({ others = 1 } = {}) {
  const post = vi.fn(async () => ({ relayed: true }));
  return { post, ...createSender({ post, browser, countOthers: () => others }) };
}

function startReceiver() {
  const onSignal = vi.fn();
  const onTyping = vi.fn();
  return { onSignal, onTyping, ...createReceiver({ onSignal, onTyping, browser }) };
}

test('the first signal goes at once, the latest after the gap, those between never', async () => {
  const { signal, post } = startSender();
  for (let i = 0; i < 10; i++) signal('cursor', { x: i });
  expect(post.mock.calls).toEqual([[{ kind: 'cursor', data: { x: 0 } }]]);
  await pass(150);
  expect(post.mock.calls[1]).toEqual([{ kind: 'cursor', data: { x: 9 } }]);
  await pass(10_000);
  expect(post).toHaveBeenCalledTimes(2);
});

test('a pointer that never rests stays below what the server takes', async () => {
  const { signal, post } = startSender();
  for (let ms = 0; ms < 60_000; ms += 16) {
    signal('cursor', { x: ms });
    await pass(16);
  }
  expect(post.mock.calls.length).toBeLessThan(420);
  expect(post.mock.calls.length).toBeGreaterThan(300);
});

test.each([
  [10, 150],
  [40, 600],
  [100, 1500],
])('among %i others a pointer is told of every %i ms', async (others, gapMs) => {
  const { signal, post } = startSender({ others });
  for (let ms = 0; ms < 15_000; ms += 10) {
    signal('cursor', { x: ms });
    await pass(10);
  }
  expect(post).toHaveBeenCalledTimes(15_000 / gapMs + 1); // the first, and one after each gap
});

test('in a great crowd no pointer is told of, and typing often enough to last', async () => {
  const { signal, post } = startSender({ others: 1000 });
  for (let ms = 0; ms < 10_000; ms += 10) {
    signal('cursor', { x: ms });
    signal('typing', { field: 'title' });
    await pass(10);
  }
  expect(post.mock.calls.map(([{ kind }]) => kind)).toEqual(Array(6).fill('typing'));
});

test('typing and the pointer do not wait for each other', () => {
  const { signal, post } = startSender();
  signal('cursor', { x: 1 });
  signal('typing', { field: 'title' });
  expect(post).toHaveBeenCalledTimes(2);
});

test('the end of typing is told, though it comes in the gap', async () => {
  const { signal, post } = startSender();
  signal('typing', { field: 'title' });
  signal('typing', null);
  await pass(1000);
  expect(post.mock.lastCall).toEqual([{ kind: 'typing', data: null }]);
});

test('leaving a field in which nothing was typed is no news', async () => {
  const { signal, post } = startSender();
  signal('typing', null);
  signal('typing', { field: 'title' });
  await pass(1000);
  signal('typing', null);
  signal('typing', null);
  await pass(5000);
  expect(post).toHaveBeenCalledTimes(2);
});

test('a server that has enough is left in peace for as long as it says', async () => {
  const { signal, post } = startSender();
  post.mockRejectedValueOnce(Object.assign(new Error(), { retryAfterMs: 20_000 }));
  signal('typing', { field: 'title' });
  for (let i = 0; i < 19; i++) {
    await pass(1000);
    signal('typing', { field: 'title' });
  }
  expect(post).toHaveBeenCalledTimes(1);
  await pass(2000);
  signal('typing', { field: 'title' });
  expect(post).toHaveBeenCalledTimes(2);
});

test('after stop nothing is sent', async () => {
  const { signal, post, stop } = startSender();
  signal('cursor', { x: 1 });
  signal('cursor', { x: 2 });
  stop();
  await pass(1000);
  expect(post).toHaveBeenCalledTimes(1);
});

test('who types is shown until 3 s after the last word, and told once', async () => {
  const { receive, onTyping } = startReceiver();
  for (let i = 0; i < 5; i++) {
    receive(from({ field: 'title' }));
    await pass(1000);
  }
  expect(onTyping).toHaveBeenCalledTimes(1);
  expect(onTyping.mock.lastCall[0]).toMatchObject([{ user: { name: 'Bob' }, data: { field: 'title' } }]);
  await pass(1990);
  expect(onTyping).toHaveBeenCalledTimes(1);
  await pass(20);
  expect(onTyping.mock.lastCall[0]).toEqual([]);
});

test('typing in another field moves, and null ends at once', () => {
  const { receive, onTyping } = startReceiver();
  receive(from({ field: 'title' }));
  receive(from({ field: 'steps' }));
  expect(onTyping.mock.lastCall[0]).toMatchObject([{ data: { field: 'steps' } }]);
  receive(from(null));
  expect(onTyping.mock.lastCall[0]).toEqual([]);
});

test('a cursor is an event, its end another, and neither is typing', async () => {
  const { receive, onSignal, onTyping } = startReceiver();
  receive(from({ x: 1 }, { kind: 'cursor' }));
  await pass(3000);
  expect(onSignal.mock.calls.map(([{ data }]) => data)).toEqual([{ x: 1 }, null]);
  expect(onTyping).not.toHaveBeenCalled();
});

test('who left the record is not typing in it', () => {
  const { receive, keepOnly, onTyping } = startReceiver();
  receive(from({ field: 'title' }));
  keepOnly([bob]);
  expect(onTyping).toHaveBeenCalledTimes(1);
  keepOnly([]);
  expect(onTyping.mock.lastCall[0]).toEqual([]);
});
