// renderAvatars: draws a row of those who are here into an element of the page. Text goes in as text only, and
// colours through the CSSOM, so that hostile names are just names and a strict Content Security Policy holds.

import { colorOf, initialsOf, nameOf } from './initials.js';
import { userKey } from './store.js';

const ARRIVALS_BATCH_MS = 1000;
const ANNOUNCEMENT_MS = 10_000; // how long one is shown, and so the least time between two
const MAX_TIP_LINES = 10;
const EDGE_PX = 8;
const REANNOUNCE_AFTER_MS = 60_000; // someone who comes back sooner isn't announced again

export const LABELS = {
  group: 'Also here',
  unknown: 'Someone', // has no name
  viewing: 'viewing',
  editing: 'editing',
  unsaved: 'unsaved changes',
  connecting: 'Looking who is here…',
  retrying: 'Can’t see who is here',
  stale: (time) => `As of ${time}`,
  unseen: 'Others can’t see you',
  more: (count) => `${count} more`,
  arrived: (names, count) => `${names} ${count === 1 ? 'is' : 'are'} here now`,
  others: (count) => (count === 1 ? '1 other' : `${count} others`),
};

const DEFAULTS = {
  max: 3,
  graceMs: 3000, // a reload leaves and comes back: keep the avatar meanwhile
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

function createRow(element) {
  const doc = element.ownerDocument;
  let list;
  let note;
  let announcer;
  const observer = new MutationObserver(draw);

  const people = new Map(); // key -> person's nodes
  const leaving = new Map(); // key -> timer
  let present = [];
  let drawn = []; // those who are present or leaving, in order
  let isFirst = true;
  let more = null;
  let state;
  let options;

  const announcements = createAnnouncements(
    (text) => setText(announcer, text),
    (key) => present.find((viewer) => userKey(viewer) === key),
  );
  const tips = manageTips(element);
  build();

  function build() {
    list = make(doc, 'ul', 'presence-list', { role: 'list' });
    note = make(doc, 'span', 'presence-note');
    announcer = make(doc, 'span', 'presence-announcer', { role: 'status', 'aria-live': 'polite' });
    people.clear();
    more = null;
    element.replaceChildren(list, note, announcer);
  }

  function isIntact() {
    const { children } = element;
    return children.length === 3 && children[0] === list && children[1] === note && children[2] === announcer;
  }

  function render(nextState, nextOptions) {
    const isNews = nextState !== state;
    state = nextState;
    options = nextOptions;
    if (isNews) {
      if (state.viewers) updatePresent(state.viewers);
      else reset();
    }
    draw();
  }

  /** Finds out who came and who left. */
  function updatePresent(viewers) {
    const gone = new Set(present.map(userKey));
    present = viewers;
    for (const viewer of viewers) {
      const key = userKey(viewer);
      gone.delete(key);
      clearTimeout(leaving.get(key));
      leaving.delete(key);
      announcements.onPresent(key, !isFirst && options.announce);
    }
    for (const key of gone) {
      announcements.onLeft(key);
      if (options.graceMs > 0) leaving.set(key, setTimeout(endGrace, options.graceMs, key));
    }
    isFirst = false;
  }

  function endGrace(key) {
    leaving.delete(key);
    draw();
  }

  /** Those who are present, and those who are leaving in their old place: after the same neighbour. */
  function presentAndLeaving() {
    const shown = [...present];
    let place = 0;
    for (const viewer of drawn) {
      const key = userKey(viewer);
      if (leaving.has(key)) shown.splice(place++, 0, viewer);
      else place = shown.findIndex((other) => userKey(other) === key) + 1 || place;
    }
    return shown;
  }

  /** Another record, or nothing is known: the next list counts as the first. */
  function reset() {
    for (const timer of leaving.values()) clearTimeout(timer);
    leaving.clear();
    announcements.clear();
    present = drawn = [];
    isFirst = true;
  }

  /**
   * Also when a library that morphs the page has taken away what is drawn here and isn't in the server's HTML: before
   * anybody sees it, it is drawn again, with new nodes, since a morph may have made something else of the old ones.
   */
  function draw() {
    const { labels, max } = options;
    if (!isIntact()) build();
    drawn = presentAndLeaving();
    const total = Math.max(state.total ?? 0, present.length) + leaving.size;
    const faces = drawn.slice(0, max);
    const rest = drawn.slice(max);

    if (!element.classList.contains('presence')) element.classList.add('presence');
    setAttributes(element, { role: 'group', 'aria-label': labels.group });
    element.toggleAttribute('data-stale', !!state.viewers && !state.fresh);
    setText(note, noteOf(state, options));

    const nodes = faces.map((viewer) => drawPerson(viewer).item);
    if (total > faces.length) nodes.push(drawMore(rest, total - faces.length));
    const keys = new Set(faces.map(userKey));
    for (const key of people.keys()) if (!keys.has(key)) people.delete(key);
    if (total <= faces.length) more = null;
    setChildren(list, nodes);
    observer.observe(element, OBSERVED);
    observer.takeRecords(); // its own
  }

  function drawPerson(viewer) {
    const key = userKey(viewer);
    let person = people.get(key);
    if (!person) {
      people.set(key, (person = createFace(doc)));
      person.face.style.setProperty('--presence-color', colorOf(viewer.id));
    }
    person.item.toggleAttribute('data-leaving', leaving.has(key));
    const name = nameOf(viewer, options.labels.unknown);
    const activity = describe(viewer, options);
    setText(person.initials, initialsOf(name === options.labels.unknown ? '' : name, options.locale));
    setAttributes(person.face, { 'aria-label': `${name}, ${activity}` });
    setAttributes(person.item, { 'data-doing': activityOf([viewer]) });
    setLines(person.tip, [{ name, activity }]);
    return person;
  }

  function drawMore(rest, count) {
    more ??= createFace(doc, 'presence-more');
    const listed = rest.slice(0, count > MAX_TIP_LINES ? MAX_TIP_LINES - 1 : MAX_TIP_LINES);
    const lines = listed.map((viewer) => ({
      name: nameOf(viewer, options.labels.unknown),
      activity: describe(viewer, options),
    }));
    if (listed.length && count > listed.length) {
      lines.push({ name: options.labels.others(count - listed.length), activity: '' });
    }
    const names = lines.map(({ name, activity }) => (activity ? `${name}, ${activity}` : name)).join('; ');
    setText(more.initials, `+${count.toLocaleString(options.locale)}`);
    setAttributes(more.face, { 'aria-label': options.labels.more(count) + (names && `: ${names}`) });
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
      announce(viewers.length ? sentence(viewers) : '');
      timer = setTimeout(endAnnouncement, viewers.length ? ANNOUNCEMENT_MS : 0);
    }

    function endAnnouncement() {
      timer = null;
      announce('');
      const now = performance.now();
      for (const [key, leftAt] of lastSeen) if (now - leftAt > REANNOUNCE_AFTER_MS) lastSeen.delete(key);
      scheduleAnnouncement();
    }

    function sentence(viewers) {
      const { labels, locale } = options;
      const names = viewers.map((viewer) => nameOf(viewer, labels.unknown));
      const parts = names.length > 3 ? [...names.slice(0, 2), labels.others(names.length - 2)] : names;
      const listed = Intl.ListFormat ? new Intl.ListFormat(locale).format(parts) : parts.join(', ');
      return labels.arrived(listed, names.length);
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

// --- words ---

const activityOf = (viewers) =>
  viewers.some((viewer) => viewer.has_dirty_tab)
    ? 'unsaved'
    : viewers.some((viewer) => viewer.mode === 'edit')
      ? 'editing'
      : 'viewing';

function describe(viewer, { labels, fieldLabel }) {
  const fields = (viewer.active_fields ?? []).map(fieldLabel).filter(Boolean).join(', ');
  const verb = viewer.mode === 'edit' ? labels.editing : labels.viewing;
  return [fields ? `${verb} ${fields}` : verb, viewer.has_dirty_tab && labels.unsaved].filter(Boolean).join(', ');
}

function noteOf(state, options) {
  return [state.unseen && options.labels.unseen, noteOfList(state, options)].filter(Boolean).join(' · ');
}

function noteOfList({ viewers, fresh, status, staleSince }, { labels, locale }) {
  if (fresh) return '';
  if (viewers && staleSince) {
    return labels.stale(new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' }).format(staleSince));
  }
  if (viewers || status === 'idle') return '';
  return status === 'connecting' ? labels.connecting : labels.retrying;
}

// --- nodes, touched only where something differs ---

function make(doc, tag, className, attributes = {}) {
  const node = doc.createElement(tag);
  node.className = className;
  setAttributes(node, attributes);
  return node;
}

function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setChildren(parent, nodes) {
  const { activeElement } = parent.ownerDocument;
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => {
    if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null);
  });
  // Moving a node takes the focus from it.
  if (parent.contains(activeElement)) activeElement.focus({ preventScroll: true });
}

function createFace(doc, extraClass = '') {
  const item = make(doc, 'li', `presence-person ${extraClass}`.trim());
  const face = make(doc, 'span', 'presence-face', { role: 'img', tabindex: '0' });
  const initials = make(doc, 'span', 'presence-initials', { 'aria-hidden': 'true' });
  const tip = make(doc, 'span', 'presence-tip', { 'aria-hidden': 'true' }); // the label says it already
  face.append(initials, mark(doc));
  item.append(face, tip);
  return { item, face, initials, tip };
}

// Both shapes; the style sheet shows the one for the person's activity.
function mark(doc) {
  const svg = doc.createElementNS('http://www.w3.org/2000/svg', 'svg');
  setAttributes(svg, { class: 'presence-mark', viewBox: '0 0 16 16', 'aria-hidden': 'true' });
  for (const [name, d] of [
    ['pencil', 'M3 13l.8-3.2L10.6 3 13 5.4l-6.8 6.8z'],
    ['dot', 'M8 3.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9z'],
  ]) {
    const path = doc.createElementNS('http://www.w3.org/2000/svg', 'path');
    setAttributes(path, { class: `presence-${name}`, d });
    svg.append(path);
  }
  return svg;
}

function setLines(tip, lines) {
  const doc = tip.ownerDocument;
  while (tip.children.length > lines.length) tip.lastElementChild.remove();
  lines.forEach(({ name, activity }, i) => {
    let line = tip.children[i];
    if (!line) {
      line = make(doc, 'span', 'presence-tip-line');
      line.append(make(doc, 'bdi', 'presence-tip-name'), make(doc, 'span', 'presence-tip-doing'));
      tip.append(line);
    }
    setText(line.firstElementChild, name);
    setText(line.lastElementChild, activity);
  });
}

/**
 * Tooltips open by style alone. This keeps the open one on the screen, and lets Escape hide it until the
 * pointer or the focus comes again (WCAG 1.4.13). Nothing is measured but when one opens.
 */
function manageTips(element) {
  const doc = element.ownerDocument;
  let last = null;

  const onKey = ({ key }) => key === 'Escape' && element.setAttribute('data-quiet', '');

  function onEnter({ target }) {
    const person = target.closest('.presence-person');
    if (!person || person === last) return;
    last = person;
    element.removeAttribute('data-quiet');
    doc.addEventListener('keydown', onKey); // only while one can be open
    const tip = person.lastElementChild;
    tip.style.setProperty('--presence-shift', '0px');
    const { left, right } = tip.getBoundingClientRect();
    const shift = Math.max(EDGE_PX - left, Math.min(0, doc.documentElement.clientWidth - EDGE_PX - right));
    tip.style.setProperty('--presence-shift', `${shift}px`);
  }

  function onLeave({ relatedTarget }) {
    if (element.contains(relatedTarget)) return;
    last = null;
    if (element.contains(doc.activeElement) && doc.activeElement !== relatedTarget) return;
    doc.removeEventListener('keydown', onKey);
  }

  const events = [
    ['pointerover', onEnter],
    ['focusin', onEnter],
    ['pointerout', onLeave],
    ['focusout', onLeave],
  ];
  for (const [name, run] of events) element.addEventListener(name, run);
  return {
    stop() {
      for (const [name, run] of events) element.removeEventListener(name, run);
      doc.removeEventListener('keydown', onKey);
    },
  };
}
