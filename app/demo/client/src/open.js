// For operators: which flows are open now, by how many, who edits and who has unsaved changes.

import { initPage } from './chrome.js';
import { isolated } from './flow.js';
import { call, page } from './session.js';

const ASK_EVERY_MS = 5000;
const URL_OF_OPEN = '/api/v1/presence/viewers/open';
const CLOCK = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', hour12: false });
const NAMES = new Intl.ListFormat('en');

const list = document.getElementById('open');
const state = document.getElementById('state');

const rows = new Map(); // record -> row
let timer;

initPage();

async function ask() {
  clearTimeout(timer);
  try {
    draw(await openRecords());
  } catch (error) {
    state.textContent =
      error.status === 403
        ? 'Tokens are signed elsewhere, so this page has none for operators. On the server: flask presence open.'
        : `${error.message} Trying again.`;
  }
  if (document.visibilityState === 'visible') timer = setTimeout(ask, ASK_EVERY_MS);
}

/** All pages; a record that somebody came to meanwhile may be on two of them. */
async function openRecords() {
  const found = new Map();
  let after = '';
  do {
    const { records, next } = await call('GET', `${URL_OF_OPEN}?${new URLSearchParams({ type: 'flow', after })}`);
    for (const record of records) found.set(record.record, record);
    after = next;
  } while (after);
  return [...found.values()];
}

function draw(records) {
  state.textContent = records.length ? '' : 'Nobody has a flow open.';
  const names = new Set(records.map(({ record }) => record));
  for (const [name, row] of rows) {
    if (names.has(name)) continue;
    row.item.remove();
    rows.delete(name);
  }
  for (const record of records) {
    if (!rows.has(record.record)) rows.set(record.record, createRow(record.record));
    const row = rows.get(record.record);
    if (!row.item.isConnected) list.append(row.item);
    fill(row, record);
  }
}

function createRow(record) {
  const flow = page.flows[record];
  const item = make('li', 'why-tab open-record');
  const name = make(flow ? 'a' : 'span', 'why-name');
  name.append(make('bdi', '', flow?.name ?? record));
  if (flow) name.href = flow.editor;
  const text = make('div');
  const facts = make('p', 'why-facts');
  text.append(name, facts);
  item.append(text);
  if (flow) {
    const why = make('a', 'quiet-link', 'Why?');
    why.href = flow.why;
    why.setAttribute('aria-label', `Why are they shown? ${flow.name}`);
    item.append(why);
  }
  return { item, facts, texts: '' };
}

function fill(row, { people, agents, editing, unsaved, since, more }) {
  const texts = [
    people === 1 ? '1 person' : `${people} people`,
    agents && (agents === 1 ? '1 agent' : `${agents} agents`),
    editing.length && `edited by ${namesOf(editing, more)}`,
    unsaved.length && `unsaved changes of ${namesOf(unsaved, more)}`,
    `since ${CLOCK.format(Date.parse(since))}`,
  ].filter(Boolean);
  if (row.texts === String(texts)) return;
  row.texts = String(texts);
  row.facts.replaceChildren(...texts.map((text) => make('span', '', text)));
}

function namesOf(users, more) {
  const names = users.map(isolated);
  return NAMES.format(more ? [...names, 'others'] : names);
}

function make(tag, className = '', text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && ask());
ask();
