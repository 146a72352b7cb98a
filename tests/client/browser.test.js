import { createBrowser } from 'presence/browser.js';
import 'presence/browserWorker.js'; // so that the late import is there at once
import { createPresence } from 'presence/presence.js';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { answer, createService, page, pass, settle } from './fakes.js';
import { useFakePage } from './harness.js';

/** presence-timer.js as a worker of this thread; on time, as workers are, while the page's timers sleep. */
function createWorkers({ isDead = false } = {}) {
  const workers = [];
  const start = () => {
    const handles = new Map();
    const worker = {
      messages: [],
      isTerminated: false,
      postMessage([id, delayMs]) {
        worker.messages.push([id, delayMs]);
        clearTimeout(handles.get(id));
        if (delayMs === undefined || isDead) return;
        handles.set(
          id,
          setTimeout(() => worker.onmessage({ data: id }), delayMs),
        );
      },
      terminate() {
        worker.isTerminated = true;
        for (const handle of handles.values()) clearTimeout(handle);
      },
    };
    workers.push(worker);
    return worker;
  };
  return { workers, start };
}

/** The page's setTimeout of a hidden page after five minutes: once a minute. */
const throttled = () => {
  const win = Object.create(window);
  win.setTimeout = (run, ms, ...args) => setTimeout(run, Math.ceil(Math.max(ms, 1) / 60_000) * 60_000, ...args);
  win.clearTimeout = (handle) => clearTimeout(handle);
  win.performance = performance;
  win.addEventListener = window.addEventListener.bind(window);
  win.removeEventListener = window.removeEventListener.bind(window);
  Object.defineProperty(win, 'document', { value: document });
  return win;
};

const nothing = { wake() {}, glance() {}, hide() {}, leave() {} };

useFakePage();

describe('timers', () => {
  test('a hidden page is woken by the worker on time', async () => {
    const { start } = createWorkers();
    const browser = createBrowser(throttled(), { startWorker: start });
    const stop = browser.listen(nothing);
    page.hide();
    const run = vi.fn();
    browser.setTimer(run, 30_000);
    await pass(30_001);
    expect(run).toHaveBeenCalledTimes(1);
    await pass(60_000); // the page's own timer adds nothing
    expect(run).toHaveBeenCalledTimes(1);
    stop();
  });

  test('a timer that was set while visible moves to the worker when the page hides', async () => {
    const { start } = createWorkers();
    const browser = createBrowser(throttled(), { startWorker: start });
    const stop = browser.listen(nothing);
    const run = vi.fn();
    browser.setTimer(run, 30_000);
    await pass(20_000);
    page.hide();
    browser.setTimer(() => {}, 0); // for the beat that says so
    await pass(10_001);
    expect(run).toHaveBeenCalledTimes(1);
    stop();
  });

  test('a page that is never hidden starts no worker', async () => {
    const { workers, start } = createWorkers();
    const browser = createBrowser(window, { startWorker: start });
    const stop = browser.listen(nothing);
    const run = vi.fn();
    browser.setTimer(run, 30_000);
    await pass(30_001);
    expect(run).toHaveBeenCalledTimes(1);
    expect(workers).toHaveLength(0);
    stop();
  });

  test.each([
    [
      'that is forbidden',
      () => {
        throw new DOMException('CSP', 'SecurityError');
      },
    ],
    ['that never answers', createWorkers({ isDead: true }).start],
    [
      'that is missing',
      () => ({
        postMessage() {
          queueMicrotask(() => this.onerror?.({}));
        },
        terminate() {},
      }),
    ],
  ])('with a worker %s the page’s own timer still fires', async (_, startWorker) => {
    const browser = createBrowser(throttled(), { startWorker });
    const stop = browser.listen(nothing);
    page.hide();
    const run = vi.fn();
    browser.setTimer(run, 30_000);
    await pass(60_001);
    expect(run).toHaveBeenCalledTimes(1);
    browser.setTimer(run, 30_000);
    await pass(60_001);
    expect(run).toHaveBeenCalledTimes(2);
    stop();
  });

  test('a worker that failed to load is not started again and again', async () => {
    const startWorker = vi.fn(() => ({
      postMessage() {
        queueMicrotask(() => this.onerror?.({}));
      },
      terminate() {},
    }));
    const browser = createBrowser(throttled(), { startWorker });
    const stop = browser.listen(nothing);
    page.hide();
    for (let i = 0; i < 5; i++) {
      browser.setTimer(() => {}, 1000);
      await pass(60_001);
    }
    expect(startWorker).toHaveBeenCalledTimes(1);
    stop();
  });

  test('a cleared timer fires neither here nor there', async () => {
    const { start } = createWorkers();
    const browser = createBrowser(throttled(), { startWorker: start });
    const stop = browser.listen(nothing);
    page.hide();
    const run = vi.fn();
    browser.clearTimer(browser.setTimer(run, 1000));
    browser.clearTimer(undefined);
    await pass(120_000);
    expect(run).not.toHaveBeenCalled();
    stop();
  });

  test('the worker ends with the last presence, and with the page', async () => {
    const { workers, start } = createWorkers();
    const browser = createBrowser(window, { startWorker: start });
    const stops = [browser.listen(nothing), browser.listen(nothing)];
    page.hide();
    browser.setTimer(() => {}, 1000);
    await settle();
    stops[0]();
    expect(workers[0].isTerminated).toBe(false);
    page.leave(true);
    expect(workers[0].isTerminated).toBe(true);
    page.show();
    browser.setTimer(() => {}, 1000);
    stops[1]();
    expect(workers[1].isTerminated).toBe(true);
  });
});

describe('the worker file', () => {
  const posted = [];
  const standIn = { graceMs: 500, intervalMs: 1000, url: 'http://app.test/heartbeat', init: { method: 'POST' } };
  const tell = (...data) => globalThis.onmessage({ data });
  let fetch;

  beforeEach(async () => {
    posted.length = 0;
    fetch = vi.fn(async () => answer(200, { success: true }));
    vi.stubGlobal('postMessage', (message) => posted.push(message));
    vi.stubGlobal('fetch', (...request) => fetch(...request));
    await import('presence/presence-timer.js');
    return () => vi.unstubAllGlobals();
  });

  test('keeps its protocol', async () => {
    tell(1, 1000);
    tell(2, 1000);
    tell(2);
    tell(3, 0);
    await pass(5000);
    expect(posted).toEqual([[2], 3, 1]);
    expect(fetch).not.toHaveBeenCalled();
  });

  test('sends for a page that stands still, at each interval, until the page is back', async () => {
    tell(4, 1000, standIn);
    await pass(1499);
    expect(posted).toEqual([4]);
    expect(fetch).not.toHaveBeenCalled();
    await pass(1);
    expect(fetch).toHaveBeenCalledTimes(1);
    expect(fetch.mock.lastCall).toMatchObject(['http://app.test/heartbeat', { method: 'POST' }]);
    await pass(2000);
    expect(fetch).toHaveBeenCalledTimes(3);
    tell(4);
    await pass(10_000);
    expect(fetch).toHaveBeenCalledTimes(3);
    expect(posted).toEqual([4, [4]]);
  });

  test('says after five minutes that nobody looks at the page', async () => {
    const said = () => JSON.parse(fetch.mock.lastCall[1].body);
    const body = JSON.stringify({ tab_id: 'a', dirty: true, visible: true });
    tell(7, 1000, { ...standIn, intervalMs: 30_000, init: { method: 'POST', body } });
    await pass(290_000);
    expect(said()).toEqual({ tab_id: 'a', dirty: true, visible: true });
    await pass(60_000);
    expect(said()).toEqual({ tab_id: 'a', dirty: true, visible: false });
    tell(7);
    await pass(0);
  });

  test('sends nothing for a page that is in time', async () => {
    for (let id = 10; id < 20; id++) {
      tell(id, 1000, standIn);
      await pass(1200);
      tell(id);
    }
    await pass(10_000);
    expect(fetch).not.toHaveBeenCalled();
  });

  test('tells a page that is back when its request is over', async () => {
    let respond;
    fetch.mockImplementation(() => new Promise((resolve) => (respond = resolve)));
    tell(5, 0, standIn);
    await pass(600);
    tell(5);
    await pass(5000);
    expect(posted).toEqual([5]);
    respond(answer(200, {}));
    await pass(0);
    expect(posted).toEqual([5, [5]]);
    await pass(10_000);
    expect(fetch).toHaveBeenCalledTimes(1);
  });

  test.each([
    ['401', () => answer(401, {}), 1],
    ['422', () => answer(422, {}), 1],
    ['503', () => answer(503, {}), 5],
    ['429', () => answer(429, {}), 5],
    ['no answer', () => Promise.reject(new TypeError('offline')), 5],
  ])('after %s it sends %# more', async (_, respond, times) => {
    fetch.mockImplementation(async () => respond());
    tell(6, 0, standIn);
    await pass(4600);
    expect(fetch).toHaveBeenCalledTimes(times);
    tell(6);
  });
});

describe('a page that stood still', () => {
  /** Its own timers do nothing meanwhile, and messages wait. */
  function createBlockable(startWorker) {
    const win = throttled();
    Object.defineProperty(win, 'crypto', { value: crypto });
    const missed = [];
    let isBlocked = false;
    const orLater =
      (run) =>
      (...args) =>
        isBlocked ? missed.push(() => run(...args)) : run(...args);
    win.setTimeout = (run, ms, ...args) => setTimeout(orLater(run), ms, ...args);
    const browser = createBrowser(win, {
      startWorker() {
        const worker = startWorker();
        return Object.defineProperty(worker, 'onmessage', {
          get: () => worker.told,
          set: (run) => (worker.told = orLater(run)),
        });
      },
    });
    return {
      ...browser,
      block: () => (isBlocked = true),
      unblock() {
        isBlocked = false;
        for (const run of missed.splice(0)) run();
      },
    };
  }

  /** presence-timer.js in this thread. */
  function startFile() {
    const ids = new Set();
    const worker = {
      postMessage(data) {
        ids.add(data[0]);
        queueMicrotask(() => ids.has(data[0]) && globalThis.onmessage({ data }));
      },
      terminate() {
        for (const id of ids) globalThis.onmessage({ data: [id] });
        ids.clear();
        worker.onmessage = () => {};
      },
    };
    vi.stubGlobal('postMessage', (data) => queueMicrotask(() => worker.onmessage({ data })));
    return worker;
  }

  let service;
  beforeEach(async () => {
    service = createService({ heartbeatSeconds: 3 });
    vi.stubGlobal('fetch', (...request) => service.fetch(...request));
    await import('presence/presence-timer.js');
    return () => vi.unstubAllGlobals();
  });

  async function start() {
    const browser = createBlockable(startFile);
    const presence = createPresence({
      type: 'flow',
      id: 12,
      stream: false,
      browser: { ...browser, random: () => 0.5 },
    });
    await pass(1000);
    expect(service.beats).toHaveLength(1);
    return { presence, browser };
  }

  test('was kept by its worker, with its last state, and goes on by itself', async () => {
    const { presence, browser } = await start();
    presence.setMode('edit');
    await pass(1000);
    browser.block();
    const { length } = service.beats;
    await pass(60_000); // many leases
    const gaps = service.beats.map(({ at }, i, all) => at - all[i - 1]?.at).slice(1);
    expect(Math.max(...gaps)).toBeLessThan(6000);
    expect(service.beats.length).toBeGreaterThan(length + 10);
    expect(service.last.url).toBe('http://app.test/api/v1/presence/flow/12/heartbeat');
    expect(service.last.body).toMatchObject({ tab_id: presence.getSnapshot().tabId, mode: 'edit' });

    browser.unblock();
    await pass(500);
    expect(service.last.url).toBe('/api/v1/presence/flow/12/heartbeat');
    const after = service.beats.length;
    await pass(30_000);
    expect(service.beats).toHaveLength(after + 10);
    await presence.stop();
  });

  test.each(['beats', 'says goodbye'])('%s only once the worker’s request is over', async (act) => {
    const { presence, browser } = await start();
    browser.block();
    await pass(3200);
    const release = service.hold();
    await pass(1500);
    const { length } = service.calls;
    const isWorkers = ({ url }) => url.startsWith('http');
    expect(isWorkers(service.calls.at(-1))).toBe(true);
    browser.unblock();
    if (act === 'beats') page.focus();
    else presence.stop();
    await pass(1000);
    if (act === 'beats') {
      expect(service.calls).toHaveLength(length);
      await release();
      await pass(100);
      expect(service.calls).toHaveLength(length + 1);
      await presence.stop();
    }
    await pass(10_000);
    expect(service.calls.at(-1).method).toBe('DELETE');
    expect(service.tabs.size).toBe(0);
  });

  test.each(['freeze', 'leave'])('because of a %s, is not kept by its worker', async (event) => {
    const { presence } = await start();
    page[event]();
    await settle();
    const { length } = service.calls;
    await pass(60_000);
    expect(service.calls.filter(({ url }) => url.startsWith('http'))).toEqual([]);
    expect(service.calls.length).toBeLessThan(length + 2);
    await presence.stop();
  });
});

test('stopping to listen leaves no listener behind', () => {
  const added = [];
  for (const target of [window, document]) {
    vi.spyOn(target, 'addEventListener').mockImplementation((name) => added.push(name));
    vi.spyOn(target, 'removeEventListener').mockImplementation((name) => added.splice(added.indexOf(name), 1));
  }
  const stop = createBrowser(window).listen(nothing);
  expect(added.length).toBeGreaterThan(6);
  expect(added).not.toContain('unload');
  expect(added).not.toContain('beforeunload');
  stop();
  expect(added).toEqual([]);
});

describe('the clock', () => {
  function clocks() {
    let mono = 0;
    const browser = createBrowser({ performance: { now: () => mono } });
    return {
      browser,
      run: (ms) => {
        mono += ms;
        vi.setSystemTime(Date.now() + ms);
      },
    };
  }

  test('counts what performance.now slept through', () => {
    const { browser, run } = clocks();
    const start = browser.now();
    run(1000);
    expect(browser.now() - start).toBe(1000);
    vi.setSystemTime(Date.now() + 3_600_000); // asleep
    expect(browser.now() - start).toBe(3_601_000);
  });

  test('never runs backwards when the wall clock does', () => {
    const { browser, run } = clocks();
    const start = browser.now();
    vi.setSystemTime(Date.now() - 3_600_000);
    expect(browser.now()).toBe(start);
    run(500);
    expect(browser.now() - start).toBe(500);
  });
});

describe('tab ids', () => {
  test('are new each time and fit the contract', () => {
    const browser = createBrowser(window);
    const ids = new Set(Array.from({ length: 100 }, browser.newTabId));
    expect(ids.size).toBe(100);
    for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{22}$/);
  });

  test('keep all 128 bits, without what plain http lacks', () => {
    const bytes = Uint8Array.from([251, 255, 254, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const win = { crypto: { getRandomValues: (into) => into.set(bytes) ?? into }, performance };

    expect(createBrowser(win).newTabId()).toBe(Buffer.from(bytes).toString('base64url'));
  });
});

test('the browser can be made where there is no window', () => {
  const browser = createBrowser({ performance });
  expect(browser.isVisible()).toBe(true);
  expect(browser.csrfToken()).toBeUndefined();
});
