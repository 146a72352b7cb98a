// <record-presence>: what a page gets for writing only HTML.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import 'presence/element.js';
import 'presence/conflicts.js'; // so that the late imports are there at once
import 'presence/stream.js';
import { alice, createService, failure, page, pass } from './world.js';

let service;

beforeEach(() => {
  vi.useFakeTimers();
  page.reset();
  service = createService();
  vi.stubGlobal('fetch', (...request) => service.fetch(...request));
});
afterEach(async () => {
  document.body.replaceChildren();
  await pass(3000);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function show(html) {
  document.body.innerHTML = html;
  await pass(100);
  return document.querySelector('record-presence');
}

const FORM = '<form id="editor"><input name="title" value="Old"></form>';

test('draws the others, and tells what is unsaved in the form', async () => {
  service.show(alice);
  const element = await show(`<record-presence type="flow" id="12" form="editor"></record-presence>${FORM}`);
  expect(element.querySelector('.presence-face').getAttribute('aria-label')).toContain('Alice');
  expect(service.last).toMatchObject({ url: '/api/v1/presence/flow/12/heartbeat', body: { mode: 'edit', dirty: false } });

  const input = document.querySelector('input');
  input.focus();
  input.value = 'New';
  input.dispatchEvent(new Event('input', { bubbles: true }));
  await pass(600);
  expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: ['title'], active_field: 'title' });
  element.tracker.rebase();
  await pass(600);
  expect(service.last.body.dirty).toBe(false);
});

test('taken out of the page it says goodbye, moved it stays', async () => {
  const element = await show('<record-presence type="flow" id="12"></record-presence><p></p>');
  document.querySelector('p').append(element);
  await pass(1000);
  expect(service.goodbyes).toHaveLength(0);
  expect(service.beats).toHaveLength(1);
  expect(service.last.body.mode).toBe('view');

  element.remove();
  await pass(100);
  expect(service.tabs.size).toBe(0);
  expect(element.presence).toBe(null);
  expect(element.children).toHaveLength(0);
});

test('another id is another presence, and without one there is none', async () => {
  const element = await show('<record-presence type="flow"></record-presence>');
  expect(service.beats).toHaveLength(0);
  element.id = '12';
  await pass(1000);
  element.id = '13';
  await pass(1000);
  expect(service.beats.map(({ url }) => url.split('/').at(-2))).toEqual(['12', '13']);
  expect(service.tabs.size).toBe(1);
});

test('base and token say where and who, and a new token is used by the next call', async () => {
  const element = await show('<record-presence type="flow" id="12" base="https://presence.test/v1" token="one"></record-presence>');
  expect(service.last).toMatchObject({ url: 'https://presence.test/v1/flow/12/heartbeat', headers: { Authorization: 'Bearer one' } });

  service.failing = () => failure(401);
  await pass(35_000);
  service.failing = null;
  element.setAttribute('token', 'two');
  element.presence.resume();
  await pass(100);
  expect(service.last.headers.Authorization).toBe('Bearer two');
  expect(element.presence.getSnapshot().status).toBe('live');
});
