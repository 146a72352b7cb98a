// <record-conflict>, and the same in React and Vue: what is asked, what is not, and what the form holds afterwards.
import { act, render } from '@testing-library/react';
import 'presence/conflictView.js'; // so that the late imports are there at once
import 'presence/formValues.js';
import { RecordConflict as InReact } from 'presence/react.js';
import 'presence/record-conflict.js';
import { RecordConflict as InVue } from 'presence/vue.js';
import { createElement, StrictMode } from 'react';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createApp, h, reactive } from 'vue';
import { PATIENTLY } from './patience.js';

const BASE = { title: 'Invoices', steps: 'Read\nCheck\nFile', owner: 'alice', priority: 1, urgent: false, tags: ['a'] };
const FORM = `
  <record-conflict form="editor"></record-conflict>
  <form id="editor">
    <label>Title <input name="title" value="Invoices"></label>
    <label for="steps">Steps</label><textarea id="steps" name="steps">Read\nCheck\nFile</textarea>
    <label>Owner <select name="owner"><option value="alice" selected>Alice Moreau<option value="bob">Bob Tanaka
      <option value="chiara">Chiara Rossi</select></label>
    <label>Priority <input name="priority" type="number" value="1"></label>
    <label>Urgent <input name="urgent" type="checkbox"></label>
    <fieldset><legend>Tags</legend><label><input type="checkbox" name="tags" value="a" checked>A</label>
      <label><input type="checkbox" name="tags" value="b">B</label></fieldset>
    <input type="hidden" name="csrf" value="token">
  </form>`;
const BOB = { lock_version: 8, user: { id: 2, name: 'Bob' }, own: false, saved_at: '2026-11-29T10:00:00Z', fields: [] };

beforeEach(() => {
  // What jsdom lacks of <dialog>.
  Object.assign(HTMLDialogElement.prototype, {
    showModal() {
      this.open = true;
    },
    close() {
      if (!this.open) return;
      this.open = false;
      this.dispatchEvent(new Event('close'));
    },
  });
});
afterEach(() => document.body.replaceChildren());

const $ = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const press = (name) =>
  all('button')
    .find(({ textContent }) => textContent === name)
    .click();
const control = (name) => $('form#editor').elements.namedItem(name);
const legends = () => all('legend.record-conflict-legend').map(({ textContent }) => textContent);
const banner = () => $('.record-conflict-banner');
const choose = (field, value) => {
  const set = all('.record-conflict-question').find(({ firstChild }) => firstChild.textContent.startsWith(field));
  set.querySelector(`[value=${value}]`).click();
};

/** The form as somebody has changed it, and what the element tells. */
function open(changes = {}) {
  document.body.innerHTML = FORM;
  for (const [name, value] of Object.entries(changes)) control(name).value = value;
  const element = $('record-conflict');
  const told = [];
  for (const event of ['resolved', 'collisions']) {
    element.addEventListener(`conflict:${event}`, ({ detail }) => told.push([event, detail]));
  }
  return {
    element,
    told,
    show: (theirs, more) => element.show({ base: BASE, theirs: { ...BASE, ...theirs }, ...more }),
  };
}

test('what does not collide is put together without a question, for the form and for who watches it', async () => {
  const { told, show } = open({ steps: 'Read\nCheck it\nFile', priority: '2' });
  const heard = [];
  $('form').addEventListener('presence:saved', ({ detail }) => heard.push(detail.lockVersion, control('steps').value));
  $('form').addEventListener('input', ({ target }) => heard.push(target.name));
  await show({ title: 'Bills', steps: 'Read all\nCheck\nFile', urgent: true, tags: ['a', 'b'] }, { lockVersion: 8 });

  expect(banner()).toBe(null);
  expect(Object.fromEntries(new FormData($('form')))).toMatchObject({
    title: 'Bills',
    steps: 'Read all\nCheck it\nFile',
    priority: '2',
    urgent: 'on',
    tags: 'b',
    csrf: 'token',
  });
  expect(heard.slice(0, 2)).toEqual([8, 'Read all\nCheck\nFile']); // theirs is loaded, and then changed
  expect(new Set(heard.slice(2))).toEqual(new Set(['title', 'steps', 'priority', 'urgent', 'tags']));
  expect(told).toMatchObject([
    [
      'resolved',
      { collisions: [], lockVersion: 8, became: { title: 'theirs', steps: 'merged', priority: 'mine', owner: 'same' } },
    ],
  ]);
  expect(told[0][1].values).toMatchObject({ priority: 2, urgent: true, tags: ['a', 'b'] });
});

test('what collides is asked side by side, with labels and options as the form has them', async () => {
  const { element, told, show } = open({ title: 'Invoices (EU)', owner: 'bob', steps: 'Read\nCheck\nFile\nTell' });
  await show({ title: 'Invoices, Europe', owner: 'chiara', priority: 3 }, { saves: [BOB], locale: 'en-GB' });
  expect(banner().textContent).toMatch(
    /^\u2068Bob\u2069 saved version 8 at \d\d:\d\d2 of your 3 unsaved fields changed: Title and Owner\./,
  );
  expect(told).toEqual([['collisions', { fields: ['title', 'owner'] }]]);
  expect(control('title').value).toBe('Invoices (EU)');

  press('Compare field by field');
  expect(legends()).toEqual(['Title', 'Owner']);
  expect(all('mark').map(({ textContent }) => textContent)).toEqual([
    'Invoices (EU)',
    'Invoices, Europe',
    'Bob Tanaka',
    'Chiara Rossi',
  ]);
  expect(all('.record-conflict-question')[1].querySelectorAll('input')).toHaveLength(2); // both owners make no sense
  expect(all('dt').map(({ textContent }) => textContent)).toEqual([
    'Steps only you changed it',
    'Priority only they changed it',
  ]);
  choose('Owner', 'theirs');
  press('Use these');
  expect($('dialog')).toBe(null);
  expect(banner()).toBe(null);
  expect([control('title').value, control('owner').value, control('priority').value]).toEqual([
    'Invoices (EU)',
    'chiara',
    '3',
  ]);
  expect(document.activeElement).toBe(control('title'));
  expect(told.at(-2)).toEqual(['collisions', { fields: [] }]);
  expect(told.at(-1)[1]).toMatchObject({
    collisions: ['title', 'owner'],
    became: { title: 'mine', owner: 'theirs', steps: 'mine' },
  });
  expect(element.className).toBe('');
});

test.each([
  ['Keep mine', 'Mine'],
  ['Take theirs', 'Theirs'],
])('%s answers all at once, and leaves alone what does not collide', async (button, title) => {
  const { show } = open({ title: 'Mine', priority: '5' });
  await show({ title: 'Theirs', urgent: true });
  press(button);
  expect([control('title').value, control('priority').value, control('urgent').checked]).toEqual([title, '5', true]);
});

test('closed without a choice, all stays as it is and can be opened again with the choices made', async () => {
  const { element, told, show } = open({ title: 'Mine' });
  await show({ title: 'Theirs' });
  element.open();
  choose('Title', 'theirs');
  $('dialog').close();
  expect(control('title').value).toBe('Mine');
  expect(told.map(([event]) => event)).toEqual(['collisions']);
  expect(banner()).not.toBe(null);
  press('Compare field by field');
  expect($('[value=theirs]').checked).toBe(true);
  press('Cancel');

  control('title').value = 'Mine, and more';
  press('Compare field by field');
  expect($('.record-conflict-value').textContent).toBe('Mine, and more');
  expect($('[value=mine]').checked).toBe(true); // of another question
  $('dialog').close();
  control('title').value = 'Theirs';
  element.open();
  expect(told.at(-1)[1].became.title).toBe('agreed');
});

test('a save that comes while the dialog is open is shown, and asks anew only what it has changed', async () => {
  const { show } = open({ title: 'Mine', owner: 'bob' });
  await show({ title: 'Theirs', owner: 'chiara' }, { saves: [BOB] });
  press('Compare field by field');
  choose('Title', 'theirs');
  choose('Owner', 'theirs');
  await show({ title: 'Theirs again', owner: 'chiara', priority: 9 }, { saves: [BOB, { ...BOB, lock_version: 9 }] });

  expect(legends()).toEqual(['Title new', 'Owner']);
  expect($('[role=status]').textContent).toMatch(/saved versions 8 to 9 just now/);
  const [title, owner] = all('.record-conflict-question');
  expect(title.querySelector(':checked')).toBe(null);
  expect(title.querySelector('input').validity.valid).toBe(false);
  expect(owner.querySelector('[value=theirs]').checked).toBe(true);
  choose('Title', 'theirs');
  press('Use these');
  expect([control('title').value, control('owner').value, control('priority').value]).toEqual([
    'Theirs again',
    'chiara',
    '9',
  ]);
});

test('several places of one text are several questions, and both can stay', async () => {
  const { show } = open({ steps: 'Read mine\nCheck\nFile\nMine' });
  await show({ steps: 'Read theirs\nCheck\nFile\nTheirs' });
  press('Compare field by field');
  expect(legends()).toEqual(['Steps, 1 of 2', 'Steps, 2 of 2']);
  choose('Steps, 1', 'theirs');
  choose('Steps, 2', 'both');
  press('Use these');
  expect(control('steps').value).toBe('Read theirs\nCheck\nFile\nMine\nTheirs');
});

test('a library that takes away what it does not know takes no conflict away', async () => {
  const { element, show } = open({ title: 'Mine' });
  await show({ title: 'Theirs' });
  element.open();
  choose('Title', 'theirs');
  element.className = '';
  element.replaceChildren();
  await Promise.resolve();
  expect([element.className, $('dialog').open]).toEqual(['record-conflict', true]);
  expect($('[value=theirs]').checked).toBe(true);
  $('dialog').close();
  element.replaceChildren();
  await Promise.resolve();
  expect([banner().isConnected, $('dialog')]).toEqual([true, null]);
});

test('hostile text is text', async () => {
  const evil = '<img src=x onerror=alert(1)>';
  const { show } = open({ title: evil });
  await show(
    { title: `"><script>alert(2)</script>`, steps: evil },
    { saves: [{ ...BOB, user: { name: `\u202e${evil}` } }] },
  );
  press('Compare field by field');
  expect(all('img, script')).toEqual([]);
  expect($('.record-conflict-value').textContent).toBe(evil);
  expect(banner().textContent).toContain(`\u2068${evil}\u2069 saved`);
});

test('in a form of the host’s, nothing of the dialog reaches that form', async () => {
  document.body.innerHTML = `<form id="outer">${FORM.replaceAll('form id', 'section id').replaceAll('</form', '</section')}</form>`;
  const heard = vi.fn();
  for (const event of ['submit', 'change', 'input']) $('#outer').addEventListener(event, heard);
  const element = $('record-conflict');
  const mine = { title: 'Mine' };
  const resolved = vi.fn();
  element.addEventListener('conflict:resolved', ({ detail }) => resolved(detail.values));
  await element.show({ base: { title: 'A' }, mine, theirs: { title: 'Theirs' }, isRefused: true });
  expect(banner().textContent).toMatch(/^Not saved: /);
  expect(document.activeElement).toBe(banner());
  press('Compare field by field');
  choose('title', 'theirs');
  press('Use these');
  expect(resolved).toHaveBeenCalledWith({ title: 'Theirs' });
  expect(heard).not.toHaveBeenCalled();
});

test('words in another language', async () => {
  const { element, show } = open({ title: 'Mine', urgent: '' });
  element.labels = {
    keepMine: 'Meine behalten',
    saved: ({ who }) => `${who} hat gespeichert`,
    collides: (fields) => `Betrifft ${fields}.`,
  };
  await show({ title: 'Theirs' }, { saves: [{ ...BOB, own: true }], labels: { ...element.labels, you: 'Du' } });
  expect(banner().textContent).toMatch(/^Du hat gespeichertBetrifft Title\..*Meine behalten/);
});

test('in React: as long as there is theirs, once for each, and again in StrictMode', async () => {
  const onResolve = vi.fn();
  const onCollisions = vi.fn();
  const props = { base: { title: 'A', note: 'x' }, mine: { title: 'Mine', note: 'x' }, onResolve, onCollisions };
  const draw = (more) => createElement(StrictMode, null, createElement(InReact, { ...props, ...more }));
  const page = render(draw({ theirs: null }));
  const update = (more) => act(async () => page.rerender(draw(more)));
  expect(page.container.innerHTML).toBe('<div></div>');

  const easy = { title: 'A', note: 'y' };
  await update({ theirs: easy });
  await update({ theirs: easy });
  expect(onResolve).toHaveBeenCalledTimes(1);
  expect(onResolve.mock.calls[0][0]).toMatchObject({ values: { title: 'Mine', note: 'y' }, theirs: easy });

  const theirs = { title: 'Theirs', note: 'x' };
  await update({ theirs });
  expect(onCollisions).toHaveBeenLastCalledWith(['title']);
  press('Take theirs');
  expect(onResolve.mock.calls.at(-1)[0].values.title).toBe('Theirs');
  await update({ theirs: { title: 'Theirs too', note: 'x' } });
  await update({ theirs: null });
  expect(banner()).toBe(null);
  page.unmount();
});

test('in Vue: as long as there is theirs, with what is typed meanwhile', async () => {
  const outcomes = [];
  const state = reactive({ mine: { title: 'Mine' }, theirs: null });
  const app = createApp(() =>
    h(InVue, { base: { title: 'A' }, ...state, onResolve: (outcome) => outcomes.push(outcome.values) }),
  );
  app.mount(document.body.appendChild(document.createElement('div')));
  state.theirs = { title: 'Theirs' };
  await vi.waitFor(() => expect(banner()).not.toBe(null), PATIENTLY);
  state.mine.title = 'Mine, and more';
  await new Promise((resolve) => setTimeout(resolve));
  press('Keep mine');
  expect(outcomes).toEqual([{ title: 'Mine, and more' }]);
  state.theirs = { title: 'Theirs again' };
  await vi.waitFor(() => expect(banner()).not.toBe(null), PATIENTLY);
  state.theirs = null;
  await vi.waitFor(() => expect(banner()).toBe(null), PATIENTLY);
  app.unmount();
});
