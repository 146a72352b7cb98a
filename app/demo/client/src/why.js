// For operators: every tab of a flow, and why it is shown or not.

import { initialsOf } from '../../../static/presence/initials.js';
import { colorsOf, initPage } from './chrome.js';
import { inOrder, isolated, labelOf } from './flow.js';
import { call, page } from './session.js';

const ASK_EVERY_MS = 2000;
const COUNT_EVERY_MS = 250;
const SHORT = 1 / 3; // of the longest lease that was seen

const url = `/api/v1/presence/${page.record.replace(':', '/')}`;
const list = document.getElementById('tabs');
const state = document.getElementById('state');
const said = document.getElementById('said');
const CLOCK = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', second: '2-digit', hour12: false });

const rows = new Map(); // tab id -> row
let longestLeaseMs = 1000;
let timer;

initPage();

async function ask() {
  clearTimeout(timer);
  try {
    const { tabs } = await call('GET', `${url}/inspect`);
    draw(tabs);
  } catch (error) {
    state.textContent =
      error.status === 403
        ? 'Tokens are signed elsewhere, so this page has none for operators. On the server: flask presence why.'
        : `${error.message} Trying again.`;
  }
  if (document.visibilityState === 'visible') timer = setTimeout(ask, ASK_EVERY_MS);
}

function draw(tabs) {
  const now = performance.now();
  state.textContent = tabs.length ? '' : 'Nobody has this flow open.';
  const ids = new Set(tabs.map(({ tab_id: id }) => id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.item.remove();
    rows.delete(id);
  }
  for (const tab of tabs) {
    const id = tab.tab_id;
    if (!rows.has(id)) rows.set(id, createRow(id));
    const row = rows.get(id);
    if (!row.item.isConnected) list.append(row.item);
    longestLeaseMs = Math.max(longestLeaseMs, tab.lease_left_ms ?? 0);
    row.endsAt = tab.lease_left_ms === null ? null : now + tab.lease_left_ms;
    fill(row, tab);
  }
  count();
}

function createRow(id) {
  const item = make('li', 'why-tab');
  const face = make('span', 'face');
  face.setAttribute('aria-hidden', 'true');
  const who = make('div');
  const name = make('bdi', 'why-name');
  const facts = make('p', 'why-facts');
  who.append(name, facts);
  const evict = make('button', 'button', 'Evict');
  evict.type = 'button';
  evict.addEventListener('click', () => evictTab(id));
  const lease = make('div', 'why-lease');
  const bar = make('progress');
  const left = make('span');
  lease.append(bar, left);
  const reason = make('p', 'why-reason');
  item.append(face, who, evict, lease, reason);
  return { item, face, name, facts, evict, lease, bar, left, reason, endsAt: null };
}

function fill(row, { tab_id: id, tab, reason, is_shown: isShown }) {
  const name = tab?.user_name.trim() || 'Someone';
  row.item.classList.toggle('is-gone', !isShown);
  setText(row.name, name);
  setText(row.face, initialsOf(name));
  row.bar.setAttribute('aria-label', `Lease of ${name}`);
  row.evict.setAttribute('aria-label', `Evict ${name}, tab ${id.slice(0, 8)}`);
  if (tab)
    for (const [property, value] of Object.entries(colorsOf(tab.user_id))) row.face.style.setProperty(property, value);
  const fields = inOrder(tab?.dirty_fields ?? [])
    .map(labelOf)
    .filter(Boolean)
    .join(', ');
  const facts = tab
    ? [
        tab.mode === 'edit' ? 'Editing' : 'Viewing',
        tab.dirty && `unsaved changes${fields && ` in ${fields}`}`,
        `last heartbeat ${CLOCK.format(Date.parse(tab.last_seen_at))}`,
      ].filter(Boolean)
    : ['Unreadable'];
  setText(row.reason, isShown ? 'Shown, because its lease is running.' : reason);
  const texts = [...facts, `tab ${id.slice(0, 8)}`];
  if (row.texts === String(texts)) return;
  row.texts = String(texts);
  row.facts.replaceChildren(...texts.map((text) => make('span', '', text)));
}

/** What is left of each lease, by our own clock until the next answer. */
function count() {
  const now = performance.now();
  for (const { endsAt, lease, bar, left } of rows.values()) {
    const leftMs = endsAt === null ? 0 : endsAt - now;
    bar.max = longestLeaseMs;
    bar.value = Math.max(0, leftMs);
    lease.classList.toggle('is-short', leftMs < longestLeaseMs * SHORT);
    setText(left, leftMs > 0 ? `${Math.ceil(leftMs / 1000)} s left` : endsAt === null ? 'no lease' : 'over');
  }
}

async function evictTab(id) {
  const row = rows.get(id);
  const name = isolated({ name: row.name.textContent });
  row.evict.disabled = true;
  try {
    const { evicted } = await call('POST', `${url}/evict`, { tab_id: id });
    said.textContent = evicted
      ? `${name} was evicted, and everybody who watches was withNews. If the page is still open, it comes back with its next heartbeat.`
      : `${name} was gone already.`;
  } catch (error) {
    said.textContent = error.message;
    row.evict.disabled = false;
  }
  ask();
}

function make(tag, className = '', text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && ask());
setInterval(count, COUNT_EVERY_MS);
ask();
