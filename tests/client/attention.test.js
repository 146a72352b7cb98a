// Whether the user looks at the page and does something in it, as heartbeats tell it.
import { describe, expect, test, vi } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/failures.js';
import { failure, page, pass, settle } from './fakes.js';
import { openPresence, service, useService } from './harness.js';

useService();

const AWAY_AFTER_MS = 300_000;
const does = (name) => window.dispatchEvent(new Event(name));
const told = () => service.beats.map(({ body: { visible, active } }) => [visible, active]);

/** With what was told until now forgotten. */
async function startLive(options) {
  const presence = openPresence({ stream: false, ...options });
  await pass(1000);
  expect(told()).toEqual([[true, undefined]]);
  service.calls.length = 0;
  return presence;
}

/** Without the heartbeats that come anyway. */
async function passIdly(ms) {
  service.heartbeatSeconds = 3600;
  await pass(31_000); // until the service has said so
  service.calls.length = 0;
  await pass(ms - 31_000);
}

describe('a page that is hidden', () => {
  test('says so once, after a moment, and at once when it is back', async () => {
    await startLive();
    page.hide();
    await pass(2900);
    expect(told()).toEqual([]);
    await pass(200);
    expect(told()).toEqual([[false, undefined]]);
    await pass(10_000);
    page.show();
    await settle();
    expect(told()).toEqual([
      [false, undefined],
      [true, undefined],
    ]);
    await pass(20_000);
    expect(service.beats).toHaveLength(2);
  });

  test('for a moment tells nobody, whatever else is told meanwhile', async () => {
    const presence = await startLive();
    for (let i = 0; i < 3; i++) {
      page.hide();
      await pass(1000);
      page.show();
      await pass(1000);
    }
    expect(told()).toEqual([]);
    page.hide();
    presence.setDirty(true);
    await settle();
    page.show();
    await pass(5000);
    expect(told()).toEqual([[true, undefined]]);
  });

  test('and goes away says goodbye, and nothing else', async () => {
    await startLive();
    page.hide();
    page.leave(true);
    await pass(10_000);
    expect(service.beats).toHaveLength(0);
    page.reset(); // visible
    page.comeBack();
    await pass(10_000);
    expect(told()).toEqual([[true, undefined]]);
  });
});

describe('a user who does nothing', () => {
  test('is away after five minutes, and back at the first move, by one heartbeat each', async () => {
    await startLive();
    await passIdly(AWAY_AFTER_MS - 2000);
    expect(told()).toEqual([]);
    await pass(2000);
    expect(told()).toEqual([[true, false]]);
    await pass(AWAY_AFTER_MS);
    does('pointermove');
    does('scroll');
    await settle();
    expect(told()).toEqual([
      [true, false],
      [true, undefined],
    ]);
    await pass(60_000);
    expect(service.beats).toHaveLength(2);
  });

  test.each(['pointerdown', 'pointermove', 'keydown', 'touchstart', 'wheel', 'scroll'])('%s counts', async (name) => {
    await startLive({ awayAfterMs: 60_000 });
    await passIdly(50_000);
    document.body.dispatchEvent(new Event(name)); // which may not bubble
    await pass(50_000);
    expect(told()).toEqual([]);
    await pass(10_000);
    expect(told()).toEqual([[true, false]]);
  });

  test('and then hides the page is away for one reason, and back by one heartbeat', async () => {
    await startLive({ awayAfterMs: 60_000 });
    await passIdly(60_000);
    page.hide();
    await pass(AWAY_AFTER_MS);
    page.show();
    await pass(10_000);
    expect(told()).toEqual([
      [true, false],
      [false, undefined],
      [true, undefined],
    ]);
  });

  test('may be at work in a frame, where nobody hears them', async () => {
    await startLive({ awayAfterMs: 60_000, browser: { isInFrame: () => true } });
    await passIdly(AWAY_AFTER_MS);
    expect(told()).toEqual([]);
  });

  test('is never away where the host says so', async () => {
    await startLive({ awayAfterMs: Infinity });
    await passIdly(10 * AWAY_AFTER_MS);
    expect(told()).toEqual([]);
  });

  test('stays on the record where a service of an earlier release refuses to hear of it, and it hears it once', async () => {
    const presence = await startLive({ awayAfterMs: 60_000 });
    const refused = { success: false, message: 'Invalid.', errors: { active: ['Unknown field.'] } };
    service.failing = ({ body }) => 'active' in body && new Response(JSON.stringify(refused), { status: 422 });
    const seen = new Set();
    presence.subscribe(({ status }) => seen.add(status));
    await pass(AWAY_AFTER_MS);
    does('keydown');
    await pass(AWAY_AFTER_MS);
    expect(told().filter(([, active]) => active !== undefined)).toHaveLength(1);
    expect(seen).not.toContain('stopped');
    expect(presence.getSnapshot()).toMatchObject({ status: 'live', error: null });
    service.failing = () => failure(422); // any other mistake still stops it
    presence.setDirty(true);
    await pass(1000);
    expect(presence.getSnapshot().status).toBe('stopped');
  });
});

test('listens passively, while the presence is there', async () => {
  const add = vi.spyOn(window, 'addEventListener');
  const remove = vi.spyOn(window, 'removeEventListener');
  const presence = await startLive({ awayAfterMs: 60_000 });
  const listeners = add.mock.calls.filter(([, , options]) => options?.passive);
  expect(listeners.map(([name]) => name)).toContain('pointermove');
  await presence.stop();
  for (const [name, run, options] of listeners) expect(remove).toHaveBeenCalledWith(name, run, options);
  service.calls.length = 0;
  await pass(AWAY_AFTER_MS);
  does('keydown');
  presence.resume();
  await passIdly(59_000);
  expect(told()).toEqual([]); // whoever comes has done something
  await pass(2000);
  expect(told()).toEqual([[true, false]]);
});
