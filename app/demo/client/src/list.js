// The list: viewers of all rows by one stream; if it can't be opened, by one call now and then while the page is seen.

import { renderAvatars } from '../../../static/presence/avatars.js';
import { watch } from '../../../static/presence/stream.js';
import { initPage } from './chrome.js';
import { labelOf } from './flow.js';
import { call, page, presenceOptions } from './session.js';

const MAX_WAIT_MS = 60_000;

initPage();

const rows = [...document.querySelectorAll('[data-record]')].map((element) => ({
  element,
  name: element.dataset.record,
  state: { viewers: null, total: null, fresh: false, staleSince: null, status: 'idle' },
}));
const url = `/api/v1/presence/viewers?${new URLSearchParams(rows.map(({ name }) => ['record', name]))}`;
const listState = document.querySelector('[data-list-state]');
const refreshMs = page.refresh_seconds * 1000;

const live = new Set(); // the rows that the stream keeps current
const isStreaming = () => live.size === rows.length;

let timer;
let failures = 0;
let confirmedAt = null;

watch({
  ...presenceOptions,
  records: rows.map(({ name }) => name),
  onList(name, { viewers, total, unconfirmed }) {
    live.add(name);
    const row = rows.find((candidate) => candidate.name === name);
    row.state = { viewers, total, fresh: !unconfirmed, staleSince: null, status: 'live' };
    if (isStreaming()) {
      failures = 0;
      clearTimeout(timer);
      say('');
    }
    draw(row);
  },
  onLost() {
    live.clear();
    confirmedAt = Date.now();
    plan(2000 + 3000 * Math.random()); // usually it is back before
  },
  onRefused: refresh, // tells why
});

async function refresh() {
  clearTimeout(timer);
  if (isStreaming()) return;
  try {
    const { records } = await call('GET', url);
    if (isStreaming()) return; // it knows better
    failures = 0;
    confirmedAt = Date.now();
    for (const row of rows) {
      const { viewers, total } = records[row.name];
      row.state = { viewers, total, fresh: true, staleSince: null, status: 'live' };
    }
    say('');
    plan(refreshMs * (0.9 + 0.2 * Math.random()));
  } catch (error) {
    if (isStreaming()) return;
    failures += 1;
    for (const row of rows) row.state = { ...row.state, fresh: false, staleSince: confirmedAt };
    if (error.status === 401) {
      say('You were signed out in another window. Reload to see who is here.');
      return rows.forEach(draw);
    }
    say('Can’t see who is here right now. Trying again.');
    const waitMs = Math.max(error.retryAfterSeconds * 1000, refreshMs * 2 ** failures * (0.5 + Math.random() / 2));
    plan(Math.min(waitMs, MAX_WAIT_MS));
  }
  rows.forEach(draw);
}

function plan(delayMs) {
  clearTimeout(timer);
  if (document.visibilityState === 'visible') timer = setTimeout(refresh, delayMs);
}

function draw({ element, state }) {
  renderAvatars(element, state, {
    graceMs: refreshMs + 1000, // a reload over there fits in
    announce: false, // six rows would make announcements all the time
    fieldLabel: labelOf,
    labels: { group: `Open “${element.dataset.name}”`, retrying: '', stale: () => '' },
  });
}

function say(text) {
  if (listState.textContent !== text) listState.textContent = text;
}

document.addEventListener('visibilitychange', () =>
  document.visibilityState === 'visible' ? refresh() : clearTimeout(timer),
);
addEventListener('pageshow', ({ persisted }) => persisted && refresh());
addEventListener('online', refresh);
refresh();
