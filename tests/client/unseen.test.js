// A user whom the others no longer see is told so.
import { describe, expect, test } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/presenceStream.js';
import { alice, failure, page, pass } from './fakes.js';
import { openPresence, service, streams, useService } from './harness.js';

useService({ streaming: true });

const see = (presence) => presence.getSnapshot();

async function startLive() {
  const presence = openPresence({ browser: { locks: undefined } });
  await pass(100);
  await streams.last.snapshot('flow:12', '1', alice);
  await pass(1000);
  expect(see(presence)).toMatchObject({ status: 'live', fresh: true, unseen: false });
  return presence;
}

/** The stream goes on: only the heartbeats fail. */
async function passStreaming(ms) {
  for (let passed = 0; passed < ms; passed += 10_000) {
    await pass(10_000);
    await streams.last.write(':\n\n');
  }
}

describe('heartbeats that fail for as long as a lease', () => {
  test.each([
    ['unreachable', () => Promise.reject(new TypeError('offline'))],
    ['unavailable', () => failure(503)],
    ['unauthorized', () => failure(401)],
  ])('(%s) leave the user unseen, though the list may be fresh', async (kind, failing) => {
    const presence = await startLive();
    service.failing = failing;
    await passStreaming(80_000);
    expect(see(presence)).toMatchObject({ unseen: false, error: { kind } });
    await passStreaming(10_000);
    expect(see(presence)).toMatchObject({ unseen: true, fresh: kind !== 'unauthorized' });

    service.failing = null;
    presence.resume();
    await pass(1000);
    expect(see(presence)).toMatchObject({ status: 'live', unseen: false });
  });

  test('leave one who has left on purpose alone', async () => {
    const presence = await startLive();
    service.failing = () => failure(503);
    await passStreaming(100_000);
    expect(see(presence).unseen).toBe(true);
    await presence.stop();
    expect(see(presence).unseen).toBe(false);
    await pass(200_000);
    expect(see(presence).unseen).toBe(false);
  });
});

test('a user who comes back, and is not answered, is told so', async () => {
  const presence = await startLive();
  await presence.stop();
  service.failing = () => failure(503);
  presence.resume();
  await pass(91_000);
  expect(see(presence)).toMatchObject({ status: 'retrying', unseen: true });
});

test('a page that stood still does not say so before it could send a heartbeat', async () => {
  let sleptMs = 0;
  const now = () => performance.now() + sleptMs;
  const presence = openPresence({ stream: false, browser: { now } });
  const seen = [];
  presence.subscribe(({ unseen }) => seen.push(unseen));
  await pass(1000);
  sleptMs = 600_000;
  page.show();
  await pass(100_000);
  expect(seen).not.toContain(true);
});
