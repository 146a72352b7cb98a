// renderAvatars: draws a row of those who are here into an element of the page.

import {
  createFace,
  make,
  manageTips,
  setAttributes,
  setChildren,
  setDetails,
  setLines,
  setPicture,
  setText,
} from './avatarNodes.js';
import {
  activityOf,
  arrivalText,
  describe,
  descriptionOf,
  detailsOf,
  fullName,
  LABELS,
  noteOf,
} from './avatarWords.js';
import { createDepartures } from './departures.js';
import { colorOf, initialsOf, nameOf } from './initials.js';
import { userKey } from './store.js';
import { clockText, createAwayTimes } from './times.js';

const ARRIVALS_BATCH_MS = 1000;
const ANNOUNCEMENT_MS = 10_000; // how long one is shown, and so the least time between two
const MAX_TIP_LINES = 10;
const REANNOUNCE_AFTER_MS = 60_000; // someone who comes back sooner isn't announced again

export { LABELS };

const DEFAULTS = {
  max: 3,
  maxAgents: 2,
  graceMs: 3000, // a reload leaves and comes back: keep the avatar meanwhile
  wasHere: false,
  pictures: true,
  announce: true,
  locale: undefined,
  fieldLabel: (name) => name,
};

const OBSERVED = { childList: true, attributes: true, attributeFilter: ['class', 'role'] };

const rows = new WeakMap(); // element -> row

/** Draws a presence's snapshot; call it again with the next one. See avatars.d.ts. */
export function renderAvatars(element, state, options = {}) {
  let row = rows.get(element);
  if (!row) rows.set(element, (row = createRow(element)));
  row.render(state, { ...DEFAULTS, ...given(options), labels: { ...LABELS, ...given(options.labels ?? {}) } });
}

/** Without what is undefined: that is the default. */
const given = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

/** Empties the element, and ends its timers and listeners. */
export function clearAvatars(element) {
  rows.get(element)?.clear();
  rows.delete(element);
}

const isAgent = ({ agent }) => !!agent;
const isPerson = ({ agent }) => !agent;

function createRow(element) {
  const doc = element.ownerDocument;
  let list;
  let note;
  let announcer;
  const observer = new MutationObserver(draw);

  const people = new Map(); // key -> the nodes of a person or agent
  const departures = createDepartures(() => draw());
  const awayTimes = createAwayTimes();
  let present = [];
  let drawn = []; // those who are present or leaving, in order
  let isFirst = true;
  let isSignedOut = false; // the user has been, since the last list: who was here before is not told any more
  let seenUntil = 0; // when the list was last confirmed
  let mores = {}; // the nodes of "+N", of people and of agents
  let awaySince;
  let state;
  let options;

  const announcements = createAnnouncements(
    (text) => setText(announcer, text),
    (key) => present.find((viewer) => userKey(viewer) === key),
  );
  const tips = manageTips(element, fillDetails);
  build();

  function build() {
    list = make(doc, 'ul', 'presence-list', { role: 'list' });
    note = make(doc, 'span', 'presence-note');
    announcer = make(doc, 'span', 'presence-announcer', { role: 'status', 'aria-live': 'polite' });
    people.clear();
    mores = {};
    element.replaceChildren(list, note, announcer);
  }

  function isIntact() {
    const { children } = element;
    return children.length === 3 && children[0] === list && children[1] === note && children[2] === announcer;
  }

  function render(nextState, nextOptions) {
    const before = state;
    state = nextState;
    options = nextOptions;
    if (state !== before) {
      awaySince = awayTimes(state);
      if (!state.viewers) reset();
      else if (state.viewers !== present) updatePresent(state.viewers, !!before?.fresh);
      if (state.status === 'stopped') {
        isSignedOut = true;
        departures.forgetGone();
      } else if (state.fresh) {
        isSignedOut = false;
      }
    }
    draw();
  }

  /** Finds out who came and who left. */
  function updatePresent(viewers, wasFresh) {
    const before = new Map(present.map((viewer) => [userKey(viewer), viewer]));
    present = viewers;
    for (const viewer of viewers) {
      const key = userKey(viewer);
      before.delete(key);
      departures.onPresent(key);
      announcements.onPresent(key, !isFirst && options.announce);
    }
    for (const [key, viewer] of before) {
      announcements.onLeft(key);
      departures.onLeft(viewer, {
        graceMs: options.graceMs,
        isRemembered: options.wasHere && !isSignedOut,
        seenUntil: wasFresh ? Date.now() : seenUntil,
        isNow: wasFresh,
      });
    }
    isFirst = false;
  }

  /** Those who are present, and those who are leaving in their old place: after the same neighbour. */
  function presentAndLeaving() {
    const shown = [...present];
    let place = 0;
    for (const viewer of drawn) {
      const key = userKey(viewer);
      if (departures.isLeaving(key)) shown.splice(place++, 0, viewer);
      else place = shown.findIndex((other) => userKey(other) === key) + 1 || place;
    }
    return shown;
  }

  /** Another record, or nothing is known: the next list counts as the first. */
  function reset() {
    departures.clear();
    announcements.clear();
    present = drawn = [];
    isFirst = true;
  }

  /**
   * Also when a library that morphs the page has taken away what is drawn here and isn't in the server's HTML: before
   * anybody sees it, it is drawn again, with new nodes, since a morph may have made something else of the old ones.
   */
  function draw() {
    const { labels, max, maxAgents } = options;
    if (!isIntact()) build();
    if (state.fresh) seenUntil = Date.now();
    else if (state.staleSince) seenUntil = state.staleSince;
    drawn = presentAndLeaving();

    if (!element.classList.contains('presence')) element.classList.add('presence');
    setAttributes(element, { role: 'group', 'aria-label': labels.group });
    element.toggleAttribute('data-stale', !!state.viewers && !state.fresh);
    setText(note, noteOf(state, options));

    const unlisted = Math.max(0, (state.total ?? 0) - present.length);
    const nodes = [...drawKind('people', isPerson, max, unlisted), ...drawKind('agents', isAgent, maxAgents, 0)];
    for (const [key, { item }] of people) if (!nodes.includes(item)) people.delete(key);
    for (const kind of Object.keys(mores)) if (!nodes.includes(mores[kind].item)) delete mores[kind];
    setChildren(list, nodes);
    observer.observe(element, OBSERVED);
    observer.takeRecords(); // its own
  }

  /** `unlisted`: how many more there are than the list names. */
  function drawKind(kind, isOfKind, max, unlisted) {
    const here = drawn.filter(isOfKind);
    const faces = here.slice(0, max);
    const rest = here.slice(max);
    const nodes = faces.map(drawViewer);
    if (rest.length + unlisted) return [...nodes, drawMore(kind, rest, rest.length + unlisted)];
    if (!options.wasHere) return nodes;
    const gone = departures.gone().filter(({ viewer }) => isOfKind(viewer));
    return [...nodes, ...gone.slice(0, max - faces.length).map(drawGone)];
  }

  const drawViewer = (viewer) =>
    drawFace(viewer, describe(viewer, awaySince(viewer), options), {
      'data-doing': activityOf([viewer]),
      'data-away': viewer.away,
      'data-leaving': departures.isLeaving(userKey(viewer)),
      'data-gone': null,
    });

  const drawGone = ({ viewer, until }) =>
    drawFace(viewer, options.labels.wasHere(until && clockText(until, options.locale)), {
      'data-doing': null,
      'data-away': null,
      'data-leaving': null,
      'data-gone': true,
    });

  function drawFace(viewer, activity, attributes) {
    const key = userKey(viewer);
    let person = people.get(key);
    if (!person) {
      people.set(key, (person = createFace(doc, { isAgent: !!viewer.agent })));
      person.face.style.setProperty('--presence-color', colorOf(viewer.id));
    }
    const { locale, pictures } = options;
    const name = fullName(viewer, options);
    person.viewer = viewer;
    setText(person.initials, initialsOf(nameOf(viewer, ''), locale));
    setPicture(person, pictures ? viewer.picture : undefined);
    const description = attributes['data-gone'] ? null : descriptionOf(viewer, options);
    setAttributes(person.face, { 'aria-label': `${name}, ${activity}`, 'aria-description': description });
    setAttributes(person.item, attributes);
    setLines(person.tip, [{ name, activity }]);
    return person.item;
  }

  /** When the tooltip of one opens: until then, it would only grow old. */
  function fillDetails(item) {
    const person = [...people.values()].find((candidate) => candidate.item === item);
    if (!person) return;
    setDetails(person.tip, item.hasAttribute('data-gone') ? '' : detailsOf(person.viewer, options));
  }

  function drawMore(kind, rest, count) {
    const { labels, locale } = options;
    const ofAgents = kind === 'agents';
    const more = (mores[kind] ??= createFace(doc, { isAgent: ofAgents, extraClass: 'presence-more' }));
    const listed = rest.slice(0, count > MAX_TIP_LINES ? MAX_TIP_LINES - 1 : MAX_TIP_LINES);
    const lines = listed.map((viewer) => ({
      name: fullName(viewer, options),
      activity: describe(viewer, awaySince(viewer), options),
    }));
    if (listed.length && count > listed.length) {
      const others = ofAgents ? labels.otherAgents : labels.others;
      lines.push({ name: others(count - listed.length), activity: '' });
    }
    const names = lines.map(({ name, activity }) => (activity ? `${name}, ${activity}` : name)).join('; ');
    const label = (ofAgents ? labels.moreAgents : labels.more)(count);
    setText(more.initials, `+${count.toLocaleString(locale)}`);
    setAttributes(more.face, { 'aria-label': label + (names && `: ${names}`) });
    setAttributes(more.item, { 'data-doing': activityOf(rest) });
    setLines(more.tip, lines);
    return more.item;
  }

  function clear() {
    observer.disconnect();
    reset();
    tips.stop();
    element.replaceChildren();
    element.classList.remove('presence');
    for (const name of ['role', 'aria-label', 'data-stale', 'data-quiet']) element.removeAttribute(name);
  }

  return { render, clear };

  /** Announces arrivals, several at a time and politely, and not again for someone who was just here. */
  function createAnnouncements(announce, find) {
    const lastSeen = new Map(); // key -> when they left; Infinity while here
    const arrivals = new Set();
    let timer = null;

    const scheduleAnnouncement = () => {
      if (arrivals.size && timer === null) timer = setTimeout(announceArrivals, ARRIVALS_BATCH_MS);
    };

    function announceArrivals() {
      const viewers = [...arrivals].map(find).filter(Boolean);
      arrivals.clear();
      announce(arrivalText(viewers, options));
      timer = setTimeout(endAnnouncement, viewers.length ? ANNOUNCEMENT_MS : 0);
    }

    function endAnnouncement() {
      timer = null;
      announce('');
      const now = performance.now();
      for (const [key, leftAt] of lastSeen) if (now - leftAt > REANNOUNCE_AFTER_MS) lastSeen.delete(key);
      scheduleAnnouncement();
    }

    return {
      onPresent(key, isNews) {
        const leftAt = lastSeen.get(key);
        lastSeen.set(key, Infinity);
        const isKnown = leftAt !== undefined && performance.now() - leftAt <= REANNOUNCE_AFTER_MS;
        if (isKnown || !isNews) return;
        arrivals.add(key);
        scheduleAnnouncement();
      },
      onLeft(key) {
        lastSeen.set(key, performance.now());
        // Not announced yet: then a return within the minute is still an arrival.
        if (arrivals.delete(key)) lastSeen.delete(key);
      },
      clear() {
        clearTimeout(timer);
        timer = null;
        lastSeen.clear();
        arrivals.clear();
        announce('');
      },
    };
  }
}
