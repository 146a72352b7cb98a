import { readEvents } from 'presence/sse.js';
import { expect, test, vi } from 'vitest';

const encoder = new TextEncoder();

async function read(...chunks) {
  const seen = { events: [], retries: [], chunks: 0 };
  const body = new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(typeof chunk === 'string' ? encoder.encode(chunk) : chunk);
      controller.close();
    },
  });
  await readEvents(body, {
    onChunk: () => (seen.chunks += 1),
    onEvent: (event) => seen.events.push(event),
    onRetry: (ms) => seen.retries.push(ms),
  });
  return seen;
}

test('an event has a kind, an id and data', async () => {
  const { events } = await read('event: join\nid: 5-a\ndata: {"a":1}\n\n');
  expect(events).toEqual([{ kind: 'join', id: '5-a', data: '{"a":1}' }]);
});

test('comments are a sign of life and no events', async () => {
  expect(await read(':\n\n', ': still here\n\n')).toMatchObject({ chunks: 2, events: [] });
});

test('retry is told, and nonsense in it is not', async () => {
  const { retries, events } = await read('retry: 1500\n\nretry: soon\n\n');
  expect(retries).toEqual([1500]);
  expect(events).toEqual([]);
});

test('a block with nothing but an id is told, since the version moved on', async () => {
  expect((await read('id: 7-b\n\n')).events).toEqual([{ kind: 'message', id: '7-b', data: '' }]);
});

test.each(['\n', '\r\n', '\r'])('lines end as they like: %j', async (end) => {
  const text = ['event: leave', 'data: one', 'data: two', '', ''].join(end);
  for (let cut = 1; cut < text.length; cut++) {
    const { events } = await read(text.slice(0, cut), text.slice(cut));
    expect(events, `cut at ${cut}`).toEqual([{ kind: 'leave', id: undefined, data: 'one\ntwo' }]);
  }
});

test('a name that is cut in the middle of a letter arrives whole', async () => {
  const bytes = encoder.encode('data: ليلى 🙂\n\n');
  for (let cut = 1; cut < bytes.length; cut++) {
    const { events } = await read(bytes.slice(0, cut), bytes.slice(cut));
    expect(events[0].data).toBe('ليلى 🙂');
  }
});

test('an event that the end cuts off is no event', async () => {
  expect((await read('data: whole\n\ndata: ha')).events).toHaveLength(1);
});

test('a handler that throws lets the connection go', async () => {
  const cancel = vi.fn();
  const body = new ReadableStream({ start: (controller) => controller.enqueue(encoder.encode('data: x\n\n')), cancel });
  const reading = readEvents(body, {
    onChunk() {},
    onRetry() {},
    onEvent() {
      throw new Error('mine');
    },
  });
  await expect(reading).rejects.toThrow('mine');
  expect(cancel).toHaveBeenCalled();
});
