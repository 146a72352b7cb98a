import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createBrowser } from 'presence/browser.js';
import { page, pass } from './world.js';

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
        handles.set(id, setTimeout(() => worker.onmessage({ data: id }), delayMs));
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

beforeEach(() => {
  vi.useFakeTimers();
  page.reset();
});
afterEach(() => vi.useRealTimers());

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
    ['that is forbidden', () => { throw new DOMException('CSP', 'SecurityError'); }],
    ['that never answers', createWorkers({ isDead: true }).start],
    ['that is missing', () => ({ postMessage() { queueMicrotask(() => this.onerror?.({})); }, terminate() {} })],
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
    const startWorker = vi.fn(() => ({ postMessage() { queueMicrotask(() => this.onerror?.({})); }, terminate() {} }));
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

  test('the worker ends with the last presence, and with the page', () => {
    const { workers, start } = createWorkers();
    const browser = createBrowser(window, { startWorker: start });
    const stops = [browser.listen(nothing), browser.listen(nothing)];
    page.hide();
    browser.setTimer(() => {}, 1000);
    stops[0]();
    expect(workers[0].isTerminated).toBe(false);
    page.leave(true);
    expect(workers[0].isTerminated).toBe(true);
    page.show();
    page.hide();
    stops[1]();
    expect(workers[1].isTerminated).toBe(true);
  });
});

test('the worker file keeps its protocol', async () => {
  const posted = [];
  globalThis.postMessage = (id) => posted.push(id);
  await import('presence/presence-timer.js');
  globalThis.onmessage({ data: [1, 1000] });
  globalThis.onmessage({ data: [2, 1000] });
  globalThis.onmessage({ data: [2] });
  globalThis.onmessage({ data: [3, 0] });
  await pass(5000);
  expect(posted).toEqual([3, 1]);
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
    return { browser, run: (ms) => { mono += ms; vi.setSystemTime(Date.now() + ms); } };
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
    const win = { crypto: { getRandomValues: (into) => (into.set(bytes), into) }, performance };

    expect(createBrowser(win).newTabId()).toBe(Buffer.from(bytes).toString('base64url'));
  });
});

test('the browser can be made where there is no window', () => {
  const browser = createBrowser({ performance });
  expect(browser.isVisible()).toBe(true);
  expect(browser.csrfToken()).toBeUndefined();
});
