import { act, cleanup, fireEvent, render, renderHook } from '@testing-library/react';
import { Activity, createElement as h, StrictMode, Suspense, use, useState } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, describe, expect, test, vi } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/presenceStream.js';
import 'presence/failures.js';
import { trackDirty } from 'presence/dirty.js';
import { PresenceAvatars, useRecordPresence } from 'presence/react.js';
import { alice, bob, failure, pass } from './fakes.js';
import { service, streams, useService } from './harness.js';

useService();
afterEach(cleanup);

const wait = (ms = 0) => act(() => pass(ms));
const options = (more) => ({ browser: { fetch: service.fetch, random: () => 0.5 }, ...more });

function mount(props = {}, { strict = false, more } = {}) {
  const renders = [];
  const hook = renderHook(
    ({ type = 'flow', id = 12, isDirty = false, ...rest }) => {
      const result = useRecordPresence(type, id, isDirty, options({ ...more, ...rest }));
      renders.push({ id, ...result });
      return result;
    },
    { initialProps: props, wrapper: strict ? StrictMode : undefined },
  );
  return { ...hook, renders };
}

test('gives the viewers and the tab id', async () => {
  service.show(alice);
  const { result } = mount();
  expect(result.current.viewers).toBeNull();
  await wait();
  expect(result.current).toMatchObject({ viewers: [alice], total: 1, status: 'live', fresh: true });
  expect(service.tabs.has(result.current.tabId)).toBe(true);
});

describe('a component that isn’t always shown', () => {
  let later;
  function Editor({ waits }) {
    const { tabId, state } = useRecordPresence('flow', 12, false, options());
    if (waits) use(later);
    return h('main', null, h('i', null, tabId), h(PresenceAvatars, { state }));
  }
  const page = (waits, mode = 'visible') =>
    h(StrictMode, null, h(Activity, { mode }, h(Suspense, { fallback: h('p') }, h(Editor, { waits }))));
  const waitForIt = () => {
    let arrive;
    later = new Promise((resolve) => (arrive = resolve));
    return arrive;
  };

  test('it suspends before its first mount: nobody is there yet, and then one tab', async () => {
    const arrive = waitForIt();
    service.show(alice);
    const { container } = await act(async () => render(page(true)));
    await wait(1000);
    expect(service.calls).toHaveLength(0);
    await act(async () => arrive());
    await wait(1000);
    expect([...service.tabs]).toEqual([container.querySelector('i').textContent]);
    expect(service.beats).toHaveLength(1);
    expect(container.querySelectorAll('.presence-face')).toHaveLength(1);
  });

  test('it suspends again: it is there all the while', async () => {
    service.show(alice);
    const { container, rerender } = render(page(false));
    await wait(1000);
    const tabs = [...service.tabs];
    const arrive = waitForIt();
    await act(async () => rerender(page(true)));
    await wait(1000);
    await act(async () => arrive());
    await wait(1000);
    expect([...service.tabs]).toEqual(tabs);
    expect(service.goodbyes).toHaveLength(0);
    expect(container.querySelectorAll('.presence-face')).toHaveLength(1);
  });

  test('in an Activity that is hidden it leaves, and comes back', async () => {
    service.show(alice);
    const { container, rerender } = render(page(false));
    await wait(1000);
    rerender(page(false, 'hidden'));
    await wait(1000);
    expect(service.tabs.size).toBe(0);
    rerender(page(false));
    await wait(1000);
    expect([...service.tabs]).toEqual([container.querySelector('i').textContent]);
    expect(container.querySelectorAll('.presence-face')).toHaveLength(1);
  });
});

test('StrictMode mounts twice and beats once', async () => {
  const { result, unmount } = mount({}, { strict: true });
  await wait();
  expect(service.calls).toHaveLength(1);
  expect([...service.tabs]).toEqual([result.current.tabId]);
  unmount();
  await wait();
  expect(service.tabs.size).toBe(0);
  await wait(120_000);
  expect(service.calls).toHaveLength(2);
});

test.each([true, false])(
  'another record: left, entered, and never shown with the viewers before (strict: %s)',
  async (strict) => {
    service.show(alice);
    const { result, rerender, renders } = mount({ id: 12 }, { strict });
    await wait();
    const first = result.current.tabId;
    service.show(bob);
    rerender({ id: 13 });
    await wait();
    expect(result.current.viewers).toEqual([bob]);
    expect(service.goodbyes).toHaveLength(1);
    expect(service.goodbyes[0]).toMatchObject({ url: '/api/v1/presence/flow/12/unregister', body: { tab_id: first } });
    for (const { id, viewers } of renders) {
      if (id === 13) expect(viewers === null || viewers[0].name === 'Bob').toBe(true);
    }
    expect([...service.tabs]).toEqual([result.current.tabId]);
  },
);

test('an unrelated rerender keeps the presence', async () => {
  const { result, rerender } = mount();
  await wait();
  const before = result.current;
  rerender({});
  await wait(5000);
  expect(service.calls).toHaveLength(1);
  expect(result.current).toBe(before);
});

test('an idle component does not render', async () => {
  const { renders } = mount();
  await wait();
  const count = renders.length;
  await wait(95_000);
  expect(service.beats.length).toBeGreaterThan(3);
  expect(renders).toHaveLength(count);
});

test('dirty, mode and field are told, the first ones with the first beat', async () => {
  const { rerender } = mount({ isDirty: true, mode: 'edit' });
  await wait();
  expect(service.beats).toHaveLength(1);
  expect(service.last.body).toMatchObject({ dirty: true, mode: 'edit' });
  rerender({ isDirty: false, mode: 'view', activeField: 'title' });
  await wait(1000);
  expect(service.beats).toHaveLength(2);
  expect(service.last.body).toMatchObject({ dirty: false, mode: 'view', active_field: 'title' });
});

test('dirty fields by name and the base version are told, and the forecast comes with the hook', async () => {
  service.tell(8, ['title']);
  const { result, rerender, renders } = mount({ isDirty: ['title', 'steps'], baseVersion: 7 });
  await wait(1000);
  expect(service.beats).toHaveLength(1);
  expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: ['title', 'steps'], base_version: 7 });
  expect(result.current.forecast.collisions).toEqual(['title']);
  const { length } = renders;
  rerender({ isDirty: ['title', 'steps'], baseVersion: 7 }); // another array, the same names
  await wait(1000);
  expect(service.beats).toHaveLength(1);
  expect(renders).toHaveLength(length + 1);
  rerender({ isDirty: [], baseVersion: 8 });
  await wait(1000);
  expect(service.last.body).toMatchObject({ dirty: false, base_version: 8 });
  expect(result.current.forecast).toMatchObject({ base_version: 8, saves: [] });
});

test('a claim is made and known', async () => {
  const { result } = mount();
  await wait();
  await act(() => result.current.claim('title'));
  expect(result.current.claims.title.tab_id).toBe(result.current.tabId);
});

test('who asks for a field is told, and can be sent away', async () => {
  const onAsked = vi.fn();
  const { result } = mount({ onAsked });
  await wait();
  await act(() => result.current.claim('title'));
  service.claims.title.waiting = [{ user: { id: 2, name: 'Bob' }, tab_id: 'b', since: 't' }];
  service.show(bob);
  await wait(40_000);
  expect(onAsked).toHaveBeenCalledTimes(1);
  expect(onAsked.mock.calls[0][0]).toMatchObject({ field: 'title', waiting: { tab_id: 'b' } });
  expect(await act(() => result.current.decline('title'))).toBe(1);
});

test('the newest functions are called, though they change at every render', async () => {
  const seen = [];
  const { rerender } = mount({ token: () => 'one', onUnauthorized: () => seen.push('old') });
  await wait();
  rerender({ token: () => 'two', onUnauthorized: ({ status }) => seen.push(status) });
  service.failing = () => failure(401);
  await wait(30_000);
  expect(service.beats.map(({ headers }) => headers.Authorization)).toEqual([
    'Bearer one',
    'Bearer one', // kept, until it is refused
    'Bearer two',
  ]);
  expect(seen).toEqual([401]);
});

test.each([undefined, null, ''])('a token that is %o in the first render is used when it comes', async (first) => {
  service.failing = ({ headers }) => !/^Bearer (one|two)$/.test(headers.Authorization) && failure(401);
  const { result, rerender } = mount({ token: first });
  await wait(60_000);
  expect(result.current.status).not.toBe('live');
  rerender({ token: 'one' });
  await wait(1000);
  expect(result.current.status).toBe('live');
  const { length } = service.beats;
  rerender({ token: 'two' }); // nothing that anybody needs to be told
  await wait(1000);
  expect(service.beats).toHaveLength(length);
  await wait(33_000);
  expect(service.last.headers.Authorization).toBe('Bearer two');
});

test('an address that gives the token may be written inline, and is asked at its own pace where it fails', async () => {
  const asked = vi.fn(async () => new Response('{}', { status: 500 }));
  const browser = { fetch: (url, init) => (url === '/token' ? asked() : service.fetch(url, init)), random: () => 0.5 };
  const { result } = renderHook(() => useRecordPresence('flow', 12, false, { token: { url: '/token' }, browser }));
  await wait(60_000);
  expect(asked.mock.calls.length).toBeLessThan(10);
  asked.mockImplementation(async () => new Response('{"token": "one"}'));
  await wait(30_000);
  expect(result.current.status).toBe('live');
  expect(service.last.headers.Authorization).toBe('Bearer one');
});

test('a new token starts a presence again that was refused', async () => {
  service.failing = ({ headers }) => headers.Authorization !== 'Bearer new' && failure(401);
  const { result, rerender } = mount({ token: 'old' });
  await wait(1000);
  expect(result.current).toMatchObject({ status: 'stopped', error: { kind: 'unauthorized' } });
  rerender({ token: 'new' });
  await wait(1000);
  expect(result.current.status).toBe('live');
});

test('the options of the render that changes the record are the ones used', async () => {
  const { rerender } = mount({ id: 12, base: '/a' });
  await wait();
  rerender({ id: 13, base: '/b' });
  await wait();
  expect(service.last.url).toBe('/b/flow/13/heartbeat');
});

test('a record that is not saved yet has no presence, until it has an id', async () => {
  const { result, rerender } = mount({ id: null });
  await wait(60_000);
  expect(service.calls).toHaveLength(0);
  expect(result.current).toMatchObject({ status: 'idle', viewers: null });
  rerender({ id: 12 });
  await wait();
  expect(result.current.status).toBe('live');
  expect(service.last.url).toContain('/flow/12/');
});

test('resume after a 401', async () => {
  service.failing = () => failure(401);
  const { result } = mount();
  await wait();
  expect(result.current).toMatchObject({ status: 'stopped', error: { kind: 'unauthorized' } });
  service.failing = null;
  act(() => result.current.resume());
  await wait(1000);
  expect(result.current.status).toBe('live');
});

test('renders on a server, where nothing is known', () => {
  const Page = () => h('p', null, String(useRecordPresence('flow', 12, false, options()).viewers));
  expect(renderToString(h(Page))).toBe('<p>null</p>');
  expect(service.calls).toHaveLength(0);
});

test('PresenceAvatars draws and clears', async () => {
  service.show(alice, bob);
  function Page() {
    return h(PresenceAvatars, { state: useRecordPresence('flow', 12, false, options()).state, max: 1 });
  }
  const { container, unmount } = render(h(Page), { wrapper: StrictMode });
  await wait();
  const initials = [...container.querySelectorAll('.presence-initials')].map((node) => node.textContent);
  expect(initials).toEqual(['A', '+1']);
  unmount();
  await wait(5000);
  expect(vi.getTimerCount()).toBe(0);
});

test('the stream: pushed viewers, typing, signals, and a stream of its own for another record', async () => {
  service.streams = streams;
  const onSignal = vi.fn();
  service.show(bob);
  const { result, rerender, unmount } = mount({ id: 12, onSignal }, { strict: true });
  await wait(100);
  await act(() => streams.last.write('retry: 1000\n\n'));
  await act(() => streams.last.snapshot('flow:12', '1', alice, bob));
  expect(result.current.viewers).toEqual([alice, bob]);

  const typing = { tab_id: 'b', user: { id: 2, name: 'Bob' }, kind: 'typing', data: { field: 'title' } };
  await act(() => streams.last.send('signal', 'flow:12', typing));
  expect(result.current.typing).toMatchObject([typing]);
  expect(onSignal.mock.lastCall[0]).toMatchObject(typing);
  result.current.signal('cursor', { x: 1 });
  await wait();
  expect(service.calls.at(-1)).toMatchObject({ url: '/api/v1/presence/flow/12/signal', body: { kind: 'cursor' } });

  rerender({ id: 13, onSignal });
  expect(result.current.typing).toEqual([]);
  await wait(100);
  expect(streams.open.map(({ records }) => records)).toEqual([['flow:13']]);
  unmount();
  await wait();
  expect(streams.open).toEqual([]);
});

test('trackDirty takes what React renders for loaded, and then what is typed for unsaved', () => {
  function Form() {
    const [title, setTitle] = useState('Old');
    const onChange = () => {};
    return h(
      'form',
      null,
      h('input', { name: 'title', value: title, onChange: ({ target }) => setTitle(target.value) }),
      h('input', { name: 'owner', defaultValue: 'Ann' }),
      h('input', { name: 'active', type: 'checkbox', checked: true, onChange }),
      h('input', { name: 'size', type: 'radio', value: 's', onChange }),
      h('input', { name: 'size', type: 'radio', value: 'l', checked: true, onChange }),
      h('textarea', { name: 'text', value: 'two\nlines', onChange }),
      h('select', { name: 'state', value: 'done', onChange }, h('option', null, 'open'), h('option', null, 'done')),
      h(
        'select',
        { name: 'tags', value: ['b'], multiple: true, onChange },
        h('option', null, 'a'),
        h('option', null, 'b'),
      ),
    );
  }
  const { container } = render(h(Form), { wrapper: StrictMode });
  const [form] = container.children;
  const tracker = trackDirty(form);
  expect(tracker.dirtyFields()).toEqual([]);

  fireEvent.input(form.elements.title, { target: { value: 'New' } });
  expect(form.elements.title.value).toBe('New');
  expect(tracker.dirtyFields()).toEqual(['title']);
  tracker.stop();
});
