// The page that replays what happened to a flow.

import { initialsOf } from '../../../static/presence/initials.js';
import { userKey } from '../../../static/presence/store.js';
import { watch } from '../../../static/presence/stream.js';
import { colorsOf, initPage } from './chrome.js';
import { firstOf, icon, isolated, nameOf } from './flow.js';
import { doingOf, fieldsOf, replay, spansOf, stateText } from './replay.js';
import { call, page, presenceOptions } from './session.js';

const ENTRIES_A_CALL = 200;
const MOMENTS_A_PAGE = 100; // what a person can look at; the rest is a click away
const TAIL_SECONDS = 3; // after the last moment
const PLAY_SECONDS = 20; // for a page, at most
const TICKS = 5;

const url = `/api/v1/presence/${page.record.replace(':', '/')}/timeline`;
const at = (id) => document.getElementById(id);
const scrubber = at('scrubber');
const CLOCK = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', second: '2-digit', hour12: false });
const DAY = new Intl.DateTimeFormat('en', { weekday: 'short', day: 'numeric', month: 'short' });

const entries = [];
let timeline = { moments: [], lanes: [] };
let first = 0; // of the moments on this page
let place = 0; // the scrubber's
let isPlaying = false;
let playhead = null;
let showsAllPeople = false;
let showsAllLanes = false;

initPage();

// --- what happened ---

let isReading = false;
let isOutdated = false;

async function read() {
  isOutdated = true;
  if (isReading) return;
  isReading = true;
  try {
    while (isOutdated) {
      isOutdated = false;
      await readOn();
    }
    const isAtEnd = !timeline.moments.length || (isLastPage() && place >= endPlace() - 0.01);
    timeline = replay(entries);
    if (isAtEnd) showPage(lastPage(), 'end');
    else showPage(first, 'same');
  } catch (error) {
    at('summary').textContent = `${error.message} Reload to try again.`;
  } finally {
    isReading = false;
  }
}

async function readOn() {
  let since = entries.at(-1)?.id;
  do {
    const query = new URLSearchParams({ limit: ENTRIES_A_CALL, ...(since && { since }) });
    const answer = await call('GET', `${url}?${query}`);
    entries.push(...answer.entries);
    since = answer.next;
  } while (since);
}

// --- one page of it ---

const shown = () => timeline.moments.slice(first, first + MOMENTS_A_PAGE);
const lastPage = () => Math.max(0, Math.floor((timeline.moments.length - 1) / MOMENTS_A_PAGE)) * MOMENTS_A_PAGE;
const isLastPage = () => first === lastPage();
const startPlace = () => timeline.moments[first]?.place ?? 0;
const endPlace = () =>
  isLastPage() ? (timeline.moments.at(-1)?.place ?? 0) + TAIL_SECONDS : timeline.moments[first + MOMENTS_A_PAGE].place;
const percentOf = (where) => (100 * (where - startPlace())) / (endPlace() - startPlace());

function showPage(index, where) {
  first = index;
  const { moments } = timeline;
  at('export').disabled = !moments.length;
  at('replay').hidden = at('log-card').hidden = !moments.length;
  drawSummary();
  if (!moments.length) return;
  at('pager').hidden = moments.length <= MOMENTS_A_PAGE;
  at('earlier').disabled = first === 0;
  at('later').disabled = isLastPage();
  at('pager-text').textContent =
    `${first + 1} to ${Math.min(first + MOMENTS_A_PAGE, moments.length)} of ${moments.length}`;
  scrubber.min = startPlace();
  scrubber.max = endPlace();
  drawLanes();
  drawLog();
  const target = { start: startPlace(), end: endPlace(), same: place }[where];
  go(Math.min(Math.max(target, startPlace()), endPlace()));
}

function drawSummary() {
  const { moments, lanes } = timeline;
  const saves = moments.filter(({ entry }) => entry.kind === 'saved').length;
  const conflicts = moments.filter((moment) => moment.conflicts.length).length;
  const count = (number, one) => `${number} ${one}${number === 1 ? '' : 's'}`;
  const hours = Math.round(page.timeline_seconds / 360) / 10;
  at('summary').textContent = moments.length
    ? `${count(lanes.length, 'person').replace('persons', 'people')}, ${count(saves, 'save')}, ${
        conflicts ? count(conflicts, 'conflict') : 'no conflict'
      }. Kept for ${count(hours, 'hour')}.`
    : hours
      ? `Nothing happened here in the last ${count(hours, 'hour')}. Open the flow, change something, and come back.`
      : 'The timeline is turned off: PRESENCE_TIMELINE_SECONDS is 0.';
  at('next-conflict').hidden = !conflicts;
}

function drawLanes() {
  const [from, to] = [startPlace(), endPlace()];
  const lanes = timeline.lanes
    .map((lane) => ({
      ...lane,
      spans: spansOf(timeline.moments, lane.key, from, to),
      marks: shown().filter(({ key, entry }) => key === lane.key && MARKED.includes(entry.kind)),
    }))
    .filter(({ spans, marks }) => spans.length || marks.length);
  const few = firstOf(bySaves(lanes), showsAllLanes);
  drawMore('all-lanes', few.more, showsAllLanes);
  const rows = lanes
    .filter((lane) => few.shown.includes(lane))
    .map(({ user, spans, marks }) => {
      const row = make('div', 'lane');
      const who = make('div', 'lane-who');
      const face = make('span', 'face', initialsOf(nameOf(user)));
      paint(face, user);
      who.append(face, make('bdi', '', nameOf(user)));
      const track = make('div', 'lane-track');
      for (const { from: start, to: end, state } of spans) {
        const doing = doingOf(state);
        const bar = make('div', `stretch stretch-${doing}`, state.dirty.length ? fieldsOf(state.dirty) : '');
        bar.title = stateText(state);
        paint(bar, user);
        bar.style.left = `${percentOf(start)}%`;
        bar.style.width = `${percentOf(end) - percentOf(start)}%`;
        track.append(bar);
      }
      for (const moment of marks) track.append(markOf(moment));
      row.append(who, track);
      return row;
    });
  const axis = make('div', 'lane lane-axis');
  const scale = make('div', 'lane-track');
  for (let i = 0; i <= TICKS; i++) {
    const where = from + ((to - from) * i) / TICKS;
    const tick = make('span', 'tick', CLOCK.format(timeAt(where)));
    tick.style.left = `${(100 * i) / TICKS}%`;
    scale.append(tick);
  }
  axis.append(make('div', 'lane-who', DAY.format(timeAt(from))), scale);
  playhead = make('div', 'playhead');
  const over = make('div', 'lane-over');
  for (const moment of shown().filter(({ conflicts }) => conflicts.length)) {
    const line = make('div', 'conflict-line');
    line.style.left = `${percentOf(moment.place)}%`;
    over.append(line);
  }
  over.append(playhead);
  at('lanes').replaceChildren(...rows, axis, over);
}

/** Whose saves are on this page, and whose unsaved changes they ran into, before the others. */
function bySaves(lanes) {
  const saves = shown().filter(({ entry }) => entry.kind === 'saved');
  const keys = new Set(saves.flatMap(({ key, conflicts }) => [key, ...conflicts.map(({ user }) => userKey(user))]));
  const has = ({ key }) => keys.has(key);
  return [...lanes.filter(has), ...lanes.filter((lane) => !has(lane))];
}

const MARKED = ['saved', 'leave'];

function markOf(moment) {
  const { entry, conflicts } = moment;
  const mark = make('div', `mark mark-${conflicts.length ? 'conflict' : entry.kind}`);
  mark.title = sentenceOf(moment);
  mark.style.left = `${percentOf(moment.place)}%`;
  if (entry.kind === 'saved')
    mark.append(use(conflicts.length ? 'warning' : 'check'), make('span', '', `v${entry.lock_version}`));
  else mark.append(use('leave'));
  return mark;
}

function drawLog() {
  at('log').replaceChildren(
    ...shown().map((moment, i) => {
      const row = make('li', moment.conflicts.length ? 'log-row is-conflict' : 'log-row');
      const button = make('button', 'log-button');
      button.type = 'button';
      const dot = make('span', 'log-dot');
      if (moment.entry.user) paint(dot, moment.entry.user);
      const text = make('span', 'log-text');
      if (moment.entry.user) text.append(make('bdi', 'log-name', nameOf(moment.entry.user)), ' ');
      text.append(moment.text);
      button.append(make('time', 'log-time', CLOCK.format(moment.at)), dot, text);
      if (moment.conflicts.length) button.append(make('span', 'pill pill-conflict', 'Conflict'));
      button.addEventListener('click', () => {
        pause();
        go(timeline.moments[first + i].place);
      });
      row.append(button);
      return row;
    }),
  );
}

// --- one moment of it ---

/** The last moment that is not after the place. */
function indexAt(where) {
  const { moments } = timeline;
  const index = moments.findLastIndex((moment) => moment.place <= where + 1e-6);
  return Math.max(index, 0);
}

function timeAt(where) {
  const { moments } = timeline;
  const index = indexAt(where);
  const [now, next] = [moments[index], moments[index + 1]];
  if (!next) return Math.min(now.at + (where - now.place) * 1000, Date.now());
  return now.at + ((where - now.place) / (next.place - now.place)) * (next.at - now.at);
}

let drawnIndex = null;

function go(where) {
  place = where;
  const index = indexAt(where);
  const moment = timeline.moments[index];
  scrubber.value = where;
  playhead.style.left = `${percentOf(where)}%`;
  const time = timeAt(where);
  at('moment-time').textContent = `${DAY.format(time)}, ${CLOCK.format(time)}`;
  const [isFirst, isLast] = [index === 0, index === timeline.moments.length - 1];
  at('step-back').disabled = isFirst && where <= moment.place;
  at('step-on').disabled = isLast;
  if (drawnIndex === moment) return;
  drawnIndex = moment;
  at('moment-what').textContent = sentenceOf(moment);
  at('moment-what').classList.toggle('is-conflict', moment.conflicts.length > 0);
  scrubber.setAttribute('aria-valuetext', `${CLOCK.format(time)}: ${sentenceOf(moment)}`);
  drawPeople(moment);
  [...at('log').children].forEach((row, i) => {
    const isCurrent = first + i === index;
    row.classList.toggle('is-current', isCurrent);
    if (isCurrent) keepInView(row);
    if (isCurrent) row.firstChild.setAttribute('aria-current', 'step');
    else row.firstChild.removeAttribute('aria-current');
  });
}

/** By its own box alone: scrollIntoView() would move the page. */
function keepInView(row) {
  const [box, { top, bottom }] = [at('log').getBoundingClientRect(), row.getBoundingClientRect()];
  at('log').scrollTop += Math.min(0, top - box.top) + Math.max(0, bottom - box.bottom);
}

const sentenceOf = ({ entry, text }) => `${entry.user ? `${isolated(entry.user)} ` : ''}${text}.`;

function drawPeople({ people }) {
  const { shown, more } = firstOf([...people.values()], showsAllPeople);
  drawMore('all-people', more, showsAllPeople);
  const rows = shown.map((state) => {
    const row = make('li', `moment-person ${doingOf(state)}`);
    const face = make('span', 'face', initialsOf(nameOf(state.user)));
    face.setAttribute('aria-hidden', 'true');
    paint(face, state.user);
    const who = make('span', 'here-who');
    who.append(make('bdi', 'here-name', nameOf(state.user)), make('span', 'here-doing', stateText(state)));
    row.append(face, who);
    return row;
  });
  if (!rows.length) rows.push(make('li', 'hint', 'Nobody is here.'));
  at('moment-people').replaceChildren(...rows);
}

function drawMore(id, text, showsAll) {
  at(id).hidden = !text;
  at(id).textContent = text;
  at(id).setAttribute('aria-expanded', showsAll);
}

// --- going through it ---

function step(by) {
  pause();
  const index = indexAt(place);
  const isBetween = place > timeline.moments[index].place + 1e-6;
  const target = Math.min(Math.max(index + (by < 0 && isBetween ? 0 : by), 0), timeline.moments.length - 1);
  toMoment(target);
}

function toMoment(index) {
  const wanted = Math.floor(index / MOMENTS_A_PAGE) * MOMENTS_A_PAGE;
  if (wanted !== first) showPage(wanted, 'start');
  go(timeline.moments[index].place);
}

function nextConflict() {
  pause();
  const { moments } = timeline;
  const isOne = ({ conflicts }) => conflicts.length > 0;
  const next = moments.findIndex((moment, i) => i > indexAt(place) && isOne(moment));
  toMoment(next >= 0 ? next : moments.findIndex(isOne));
}

function play() {
  if (place >= endPlace() - 0.01) go(startPlace());
  isPlaying = true;
  drawPlay();
  const speed = Math.max(2, (endPlace() - startPlace()) / PLAY_SECONDS); // seconds of the screen in a second
  let before = performance.now();
  const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  let waited = 0;
  function tick(now) {
    if (!isPlaying) return;
    const passed = (now - before) / 1000;
    before = now;
    waited += passed;
    if (!isCalm || waited > 1) {
      const next = isCalm ? (timeline.moments[indexAt(place) + 1]?.place ?? endPlace()) : place + passed * speed;
      waited = 0;
      go(Math.min(next, endPlace()));
      if (place >= endPlace()) return pause();
    }
    requestAnimationFrame(tick);
  }
  requestAnimationFrame(tick);
}

function pause() {
  isPlaying = false;
  drawPlay();
}

function drawPlay() {
  at('play').lastElementChild.textContent = isPlaying ? 'Pause' : 'Play';
  at('play')
    .querySelector('use')
    .setAttribute('href', icon(isPlaying ? 'pause' : 'play'));
}

function exportJson() {
  const text = JSON.stringify({ record: page.record, exported_at: new Date().toISOString(), entries }, null, 2);
  const link = make('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = `${page.record.replace(':', '-')}-timeline.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// --- nodes ---

function make(tag, className = '', text = '') {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

function use(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  const shape = document.createElementNS(svg.namespaceURI, 'use');
  shape.setAttribute('href', icon(name));
  svg.append(shape);
  return svg;
}

function paint(node, { id }) {
  for (const [property, value] of Object.entries(colorsOf(id))) node.style.setProperty(property, value);
}

at('play').addEventListener('click', () => (isPlaying ? pause() : play()));
at('step-back').addEventListener('click', () => step(-1));
at('step-on').addEventListener('click', () => step(1));
at('next-conflict').addEventListener('click', nextConflict);
at('earlier').addEventListener('click', () => showPage(first - MOMENTS_A_PAGE, 'end'));
at('later').addEventListener('click', () => showPage(first + MOMENTS_A_PAGE, 'start'));
at('all-people').addEventListener('click', () => {
  showsAllPeople = !showsAllPeople;
  drawPeople(timeline.moments[indexAt(place)]);
});
at('all-lanes').addEventListener('click', () => {
  showsAllLanes = !showsAllLanes;
  drawLanes();
  go(place);
});
at('export').addEventListener('click', exportJson);
scrubber.addEventListener('input', () => {
  pause();
  go(Number(scrubber.value));
});
// From one moment to the next: a second of the screen says little.
scrubber.addEventListener('keydown', (event) => {
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
});
at('lanes').addEventListener('pointerdown', (event) => {
  const box = at('lanes').querySelector('.lane-over').getBoundingClientRect();
  if (event.clientX < box.left - 8) return;
  pause();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  go(startPlace() + share * (endPlace() - startPlace()));
});

// As it goes on.
let readTimer;
watch({
  ...presenceOptions,
  records: [page.record],
  onList() {
    clearTimeout(readTimer);
    readTimer = setTimeout(read, 300);
  },
});
read();
