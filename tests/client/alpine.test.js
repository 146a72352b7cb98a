import Alpine from 'alpinejs';
import presence from 'presence/alpine.js';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/presenceStream.js';
import { alice, bob, failure, pass, viewer } from './fakes.js';
import { service, streams, useService } from './harness.js';

useService();
beforeAll(() => {
  Alpine.plugin(presence);
  Alpine.magic('options', () => (more) => ({ browser: { fetch: service.fetch, random: () => 0.5 }, ...more }));
  Alpine.start();
});
afterEach(() => unmount());

async function mount(html) {
  document.body.innerHTML = html;
  await pass(0);
  await pass(0);
}

async function unmount() {
  document.body.replaceChildren();
  await pass(0);
}

const text = (selector) => document.querySelector(selector).textContent;

test('the component shows viewers and follows them', async () => {
  service.show(alice);
  await mount(`
    <div x-data="recordPresence('flow', 12, $options({ mode: 'edit' }))">
      <p x-text="viewers === null ? 'not known' : viewers.map((v) => v.name).join()"></p>
      <i x-text="status + ' ' + fresh + ' ' + total"></i>
    </div>`);
  expect(text('p')).toBe('Alice');
  expect(text('i')).toBe('live true 1');
  expect(service.last.body.mode).toBe('edit');
  service.show(alice, bob);
  await pass(30_000);
  expect(text('p')).toBe('Alice,Bob');
});

test('before the first answer it says "not known"', async () => {
  const release = service.hold();
  await mount(`<div x-data="recordPresence('flow', 12, $options())"><p x-text="viewers === null"></p></div>`);
  expect(text('p')).toBe('true');
  await release();
  expect(text('p')).toBe('false');
});

test('taken out of the page it unregisters', async () => {
  await mount(`<div x-data="recordPresence('flow', 12, $options())"></div>`);
  expect(service.tabs.size).toBe(1);
  await unmount();
  expect(service.tabs.size).toBe(0);
  await pass(120_000);
  expect(service.beats).toHaveLength(1);
});

describe('when the page is changed under it', () => {
  const component = (id, more = '{}') =>
    `<div x-data="recordPresence('flow', ${id}, $options(${more}))">
      <i x-text="tabId"></i><div id="row" x-presence-avatars></div>
      <form x-presence-form><input name="title" value="Old"></form>
    </div>`;

  function type() {
    const input = document.querySelector('input');
    input.value = 'New';
    input.dispatchEvent(new Event('input', { bubbles: true }));
  }

  test('another record is another presence, which the avatars and the form follow', async () => {
    await mount(component(12));
    await pass(1000);
    type();
    await pass(1000);
    service.show(alice);
    document.querySelector('div').setAttribute('x-data', "recordPresence('flow', 13, $options())");
    await pass(2000);
    expect([...service.tabs]).toEqual([text('i')]);
    expect(service.goodbyes).toHaveLength(1);
    expect(text('#row')).toMatch(/^A/);
    expect(service.last).toMatchObject({
      url: '/api/v1/presence/flow/13/heartbeat',
      body: { dirty_fields: ['title'] },
    });
  });

  test('another mode, version or token is the same presence', async () => {
    await mount(component(12, "{ token: 'one' }"));
    await pass(1000);
    const { tab_id: tab } = service.last.body;
    const next = "recordPresence('flow', 12, $options({ token: 'two', mode: 'edit', baseVersion: 8 }))";
    document.querySelector('div').setAttribute('x-data', next);
    await pass(2000);
    expect(service.last).toMatchObject({
      headers: { Authorization: 'Bearer two' },
      body: { tab_id: tab, mode: 'edit', base_version: 8 },
    });
    expect(text('i')).toBe(tab);
    expect(service.goodbyes).toHaveLength(0);
  });

  test('a new component on the same record takes over, also where Alpine tells nothing of the old one', async () => {
    await mount(component(12));
    await pass(1000);
    const { tab_id: tab } = service.last.body;
    const div = document.querySelector('div');
    div._x_marker = undefined; // as that of a body
    div.outerHTML = component(12);
    await pass(2000);
    expect([...service.tabs]).toEqual([tab]);
    expect(text('i')).toBe(tab);

    document.querySelector('div')._x_marker = undefined;
    document.body.replaceChildren();
    await pass(1000);
    expect(service.tabs.size).toBe(0);
  });
});

test('two components are two tabs', async () => {
  await mount(`
    <div x-data="recordPresence('flow', 12, $options())"></div>
    <div x-data="recordPresence('flow', 13, $options())"></div>`);
  expect(service.beats.map(({ url }) => url.split('/').at(-2))).toEqual(['12', '13']);
  expect(service.tabs.size).toBe(2);
});

test('x-presence-avatars draws and follows', async () => {
  service.show(alice, bob);
  await mount(`
    <div x-data="recordPresence('flow', 12, $options())">
      <section x-data="{ other: true }"><div id="row" x-presence-avatars="{ max: 1 }"></div></section>
    </div>`);
  expect(text('#row .presence-list')).toMatch(/^A.*\+1/);
  service.show(viewer(9, '<img src=x onerror=alert(1)>'));
  await pass(30_000);
  await pass(3500);
  expect(document.querySelector('img')).toBeNull();
  expect(text('#row .presence-tip-name')).toBe('<img src=x onerror=alert(1)>');
});

test('x-presence-form tells unsaved changes and the field, and a save makes it clean', async () => {
  await mount(`
    <div x-data="recordPresence('flow', 12, $options())">
      <form x-data="{ changed: [] }" x-presence-form="changed = $fields">
        <input name="title" value="Old"><b x-text="changed.join()"></b>
      </form>
    </div>`);
  await pass(1000);
  const input = document.querySelector('input');
  input.focus();
  input.value = 'New';
  input.dispatchEvent(new Event('input', { bubbles: true }));
  await pass(600);
  expect(service.last.body).toMatchObject({ dirty: true, active_field: 'title' });
  expect(text('b')).toBe('title');
  document.querySelector('form').dispatchEvent(new CustomEvent('presence:saved'));
  await pass(600);
  expect(service.last.body.dirty).toBe(false);
  expect(text('b')).toBe('');
});

test('unsaved fields go to the server by name, and a save names the version that is loaded now', async () => {
  service.tell(8, ['title']);
  await mount(`
    <div x-data="recordPresence('flow', 12, $options({ baseVersion: 7 }))">
      <form x-presence-form><input name="title" value="Old"></form>
      <p x-text="forecast ? forecast.collisions.join() : 'not known'"></p>
    </div>`);
  await pass(1000);
  const input = document.querySelector('input');
  input.value = 'New';
  input.dispatchEvent(new Event('input', { bubbles: true }));
  await pass(1000);
  expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: ['title'], base_version: 7 });
  expect(text('p')).toBe('title');
  const saved = new CustomEvent('presence:saved', { detail: { lockVersion: 8 } });
  document.querySelector('form').dispatchEvent(saved);
  await pass(1000);
  expect(service.last.body).toMatchObject({ dirty: false, base_version: 8 });
  expect(text('p')).toBe('');
});

describe('x-presence-form, when it starts', () => {
  const FIELDS = `
    <input name="title" value="Old"><input name="owner" x-model="flow.owner"><input name="note" :value="flow.note">
    <input type="checkbox" name="active" x-model="flow.active"><textarea name="text" x-model="flow.text"></textarea>
    <select name="state" x-model="flow.state">
      <template x-for="state in ['open', 'done']"><option :value="state" x-text="state"></option></template>
    </select>
    <template x-for="step in flow.steps"><input name="step" x-model="step.name"></template>`;
  const FLOW = `{ flow: { owner: 'Ann', note: 'n', active: true, text: 't', state: 'done', steps: [{ name: 'a' }] } }`;
  const form = `
    <div x-data="recordPresence('flow', 12, $options())">
      <form x-data="${FLOW}" x-presence-form>${FIELDS}</form>
    </div>`;

  test('what Alpine fills and draws is as loaded', async () => {
    await mount(form);
    await pass(1000);
    expect(service.last.body).toMatchObject({ dirty: false });
    expect(document.querySelector('[name=owner]').value).toBe('Ann');
    const input = document.querySelector('[name=step]');
    input.value = 'b';
    input.dispatchEvent(new Event('input', { bubbles: true }));
    await pass(1000);
    expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: ['step'] });
  });

  test('what was typed before is unsaved, and the field that has the focus is told', async () => {
    document.body.innerHTML = form;
    const input = document.querySelector('[name=title]');
    input.value = 'Typed';
    input.focus();
    await pass(1000);
    expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: ['title'], active_field: 'title' });
  });

  test('a form that is gone before is not watched', async () => {
    document.body.innerHTML = form;
    await Promise.resolve();
    document.querySelector('form').remove();
    await pass(1000);
    expect(service.last.body).toMatchObject({ dirty: false });
  });
});

test('a claim is made, shown and released', async () => {
  await mount(`
    <div x-data="recordPresence('flow', 12, $options())">
      <button @click="claims.title ? release('title') : claim('title')" x-text="claims?.title?.user.name ?? 'free'"></button>
    </div>`);
  await pass(0);
  expect(text('button')).toBe('free');
  document.querySelector('button').click();
  await pass(0);
  expect(text('button')).toBe('Me');
  document.querySelector('button').click();
  await pass(0);
  expect(text('button')).toBe('free');
});

test('who asks for a field is told as a DOM event, and can be sent away', async () => {
  await mount(`
    <main x-data="{ told: '' }" @presence:asked="told = $event.detail.waiting.user.name">
      <div x-data="recordPresence('flow', 12, $options())">
        <p x-text="told"></p><button @click="decline('title').then((count) => { told = 'sent away: ' + count })"></button>
      </div>
    </main>`);
  const [tabId] = service.tabs;
  const waiting = [{ user: { id: 2, name: 'Bob' }, tab_id: 'b', since: 't' }];
  service.claims.title = { user: { id: 9, name: 'Me' }, tab_id: tabId, since: 's', waiting };
  service.show(bob);
  await pass(40_000);
  expect(text('p')).toBe('Bob');
  document.querySelector('button').click();
  await pass(0);
  expect(text('p')).toBe('sent away: 1');
});

test('events bubble from the component, and resume goes on', async () => {
  service.failing = () => failure(401);
  await mount(`
    <main x-data="{ seen: 0 }" @presence:unauthorized="seen = $event.detail.status">
      <div x-data="recordPresence('flow', 12, $options())">
        <p x-text="seen"></p><button @click="resume()">Again</button><i x-text="status"></i>
      </div>
    </main>`);
  expect(text('p')).toBe('401');
  expect(text('i')).toBe('stopped');
  service.failing = null;
  document.querySelector('button').click();
  await pass(1000);
  expect(text('i')).toBe('live');
});

describe('with a stream', () => {
  const fromBob = (data) => ({ tab_id: 'b', user: { id: 2, name: 'Bob' }, kind: 'typing', data });

  async function mountLive(html) {
    service.streams = streams;
    service.show(bob);
    await mount(html);
    await pass(100);
    await service.streams.last.write('retry: 1000\n\n');
    await service.streams.last.snapshot('flow:12', '1', { ...bob, active_fields: ['title'] });
  }

  test('who is in a field and who types in it are shown', async () => {
    await mountLive(`
      <div x-data="recordPresence('flow', 12, $options())">
        <p x-text="$whoIsIn(viewers, 'title').map((v) => v.name).join()"></p>
        <i x-text="$whoIsTyping(typing, 'title').map((v) => v.name).join()"></i>
      </div>`);
    expect(text('p')).toBe('Bob');
    expect(text('i')).toBe('');
    await service.streams.last.send('signal', 'flow:12', fromBob({ field: 'title' }));
    await pass(0);
    expect(text('i')).toBe('Bob');
    await pass(3100);
    expect(text('i')).toBe('');
  });

  test('signals of others are events, and signal() tells one’s own', async () => {
    const seen = vi.fn();
    document.addEventListener('presence:signal', ({ detail }) => seen(detail.data), { once: true });
    await mountLive(`<div x-data="recordPresence('flow', 12, $options())" @click="signal('cursor', { x: 1 })"></div>`);
    await service.streams.last.send('signal', 'flow:12', fromBob({ field: 'title' }));
    expect(seen).toHaveBeenCalledWith({ field: 'title' });
    document.querySelector('div').click();
    await pass(0);
    expect(service.calls.at(-1)).toMatchObject({
      url: '/api/v1/presence/flow/12/signal',
      body: { kind: 'cursor', data: { x: 1 } },
    });
  });

  test('a script that fills the form is not typing', async () => {
    await mountLive(`
      <div x-data="recordPresence('flow', 12, $options())">
        <form x-presence-form><input name="title"></form>
      </div>`);
    const input = document.querySelector('input');
    input.value = 'x';
    input.dispatchEvent(new Event('input', { bubbles: true }));
    await pass(3000);
    expect(service.calls.some(({ url }) => url.endsWith('/signal'))).toBe(false);
  });
});
