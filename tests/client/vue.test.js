import { afterEach, expect, test, vi } from 'vitest';
import { createApp, h, KeepAlive, nextTick, reactive, ref } from 'vue';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/presenceStream.js';
import 'presence/failures.js';
import { PresenceAvatars, useRecordPresence } from 'presence/vue.js';
import { alice, bob, failure, pass } from './fakes.js';
import { service, useService } from './harness.js';

useService();
const apps = [];
afterEach(() => {
  for (const app of apps.splice(0)) app.unmount();
});

const browser = () => ({ fetch: service.fetch, random: () => 0.5 });

/** `use()` calls the composable; what it returns last is `result`. */
function mount(use, render = () => null) {
  const mounted = { renders: [] };
  const Editor = {
    setup() {
      mounted.result = use();
      return () => {
        mounted.renders.push([mounted.result.tabId.value, mounted.result.viewers.value?.map(({ name }) => name)]);
        return render(mounted.result);
      };
    },
  };
  mounted.isShown = ref(true);
  const app = createApp(() => h(KeepAlive, () => (mounted.isShown.value ? h(Editor) : h('p'))));
  apps.push(app);
  mounted.element = document.createElement('div');
  app.mount(mounted.element);
  mounted.unmount = () => apps.splice(apps.indexOf(app), 1)[0].unmount();
  return mounted;
}

test('gives the viewers, follows them, and leaves with the component', async () => {
  service.show(alice);
  const { result, renders, unmount } = mount(() => useRecordPresence('flow', 12, false, { browser: browser() }));
  expect(result.viewers.value).toBe(null);
  await pass(100);
  expect(result.state.value).toMatchObject({ viewers: [alice], total: 1, status: 'live', fresh: true });
  service.show(alice, bob);
  await pass(30_000);
  expect(renders.at(-1)[1]).toEqual(['Alice', 'Bob']);
  expect([...service.tabs]).toEqual([result.tabId.value]);
  unmount();
  await pass(100);
  expect(service.tabs.size).toBe(0);
  await pass(120_000);
  expect(service.beats).toHaveLength(2);
});

test('another record: left, entered, and never shown with the viewers before', async () => {
  service.show(alice);
  const id = ref(12);
  const { result, renders } = mount(() => useRecordPresence('flow', id, false, { browser: browser() }));
  await pass(100);
  const first = result.tabId.value;
  service.show(bob);
  id.value = 13;
  await nextTick();
  expect(result.viewers.value).toBe(null);
  await pass(100);
  expect(result.viewers.value).toEqual([bob]);
  expect(service.goodbyes).toMatchObject([{ url: '/api/v1/presence/flow/12/unregister', body: { tab_id: first } }]);
  for (const [tab, names] of renders) if (names?.includes('Alice')) expect(tab).toBe(first);
  id.value = null;
  await pass(100);
  expect(service.tabs.size).toBe(0);
  await expect(result.claim('title')).rejects.toThrow('not on a record');
});

test('dirty fields, mode, focus and version are told as they change, in the same tab', async () => {
  const dirty = reactive([]);
  const options = reactive({ browser: browser(), mode: 'view' });
  const { result } = mount(() => useRecordPresence('flow', 12, dirty, options));
  await pass(1000);
  expect(service.last.body).toMatchObject({ mode: 'view', dirty: false });
  dirty.push('title');
  Object.assign(options, { mode: 'edit', activeField: 'title', baseVersion: 7 });
  await pass(1000);
  expect(service.last.body).toMatchObject({
    tab_id: result.tabId.value,
    mode: 'edit',
    dirty_fields: ['title'],
    active_field: 'title',
    base_version: 7,
  });
  expect((await result.claim('title')).claimed).toBe(true);
  expect(Object.keys(result.claims.value)).toEqual(['title']);
});

test('who asks for a field, and a field that is passed on, are told; who asks can be sent away', async () => {
  const told = [];
  const onAsked = ({ field }) => told.push(['asked', field]);
  const onPassed = ({ field, isMine }) => told.push(['passed', field, isMine]);
  const { result } = mount(() => useRecordPresence('flow', 12, false, { browser: browser(), onAsked, onPassed }));
  await pass(1000);
  await result.claim('title');
  const bobs = { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: 't' };
  service.claims.title.waiting = [bobs];
  service.show(bob);
  await pass(40_000);
  expect(await result.decline('title')).toBe(1);
  service.claims.title = { ...bobs, passed_from: service.claims.title.user };
  service.show(bob);
  await pass(40_000);
  expect(told).toEqual([
    ['asked', 'title'],
    ['passed', 'title', false],
  ]);
});

test('kept alive but not shown, it is gone; shown again, it is back', async () => {
  const { isShown, result } = mount(() => useRecordPresence('flow', 12, false, { browser: browser() }));
  await pass(100);
  isShown.value = false;
  await pass(100);
  expect(service.tabs.size).toBe(0);
  expect(result.viewers.value).toBe(null);
  isShown.value = true;
  await pass(1000);
  expect([...service.tabs]).toEqual([result.tabId.value]);
});

test('events reach the newest functions, and a new token starts it again', async () => {
  const onUnauthorized = vi.fn();
  const options = ref({ browser: browser(), token: null });
  const { result } = mount(() => useRecordPresence('flow', 12, false, options));
  service.failing = ({ headers }) => headers.Authorization !== 'Bearer two' && failure(401);
  await pass(1000);
  expect(service.beats).toHaveLength(0);
  options.value = { browser: browser(), token: 'one', onUnauthorized };
  await pass(1000);
  expect(onUnauthorized).toHaveBeenCalledTimes(1);
  expect(result.status.value).toBe('stopped');
  options.value = { ...options.value, token: 'two' };
  await pass(1000);
  expect(result.status.value).toBe('live');
});

test('an address gives the token, and its object may be a new one each time', async () => {
  const asked = vi.fn(async () => new Response('', { status: 500 }));
  const fetch = (url, init) => (url === '/token' ? asked() : service.fetch(url, init));
  const unsaved = ref([]);
  const options = () => ({ browser: { ...browser(), fetch }, token: { url: '/token' }, mode: unsaved.value && 'edit' });
  const { result } = mount(() => useRecordPresence('flow', 12, unsaved, options));
  for (let i = 0; i < 10; i++) {
    unsaved.value = [`field${i}`];
    await pass(500);
  }
  expect(asked.mock.calls.length).toBeLessThan(5);
  asked.mockImplementation(async () => new Response('"one"'));
  await pass(30_000);
  expect(result.status.value).toBe('live');
  expect(service.last.headers.Authorization).toBe('Bearer one');
});

test('PresenceAvatars draws, keeps its own class beside that of the host, and clears', async () => {
  service.show({ ...alice, picture: 'https://pictures.example/alice' }, bob);
  const tone = ref('light');
  const { element, unmount } = mount(
    () => useRecordPresence('flow', 12, false, { browser: browser() }),
    ({ state }) => h(PresenceAvatars, { state: state.value, max: 1, class: tone.value }),
  );
  await pass(100);
  const row = element.querySelector('.presence');
  expect(row.textContent).toMatch(/^A.*\+1/);
  expect(row.querySelector('img')).not.toBeNull(); // a prop that isn't given is not `false`
  tone.value = 'dark';
  await pass(100);
  expect([...row.classList].sort()).toEqual(['dark', 'presence']);
  unmount();
  expect(row.children).toHaveLength(0);
});
