// What both editors know about a flow and the people in it; no framework in here.

import { nameOf as cleanNameOf, initialsOf } from '../../../static/presence/initials.js';
import { userKey } from '../../../static/presence/store.js';
import { clockText } from '../../../static/presence/times.js';
import { createAwayTimes, whoIsIn, whoIsTyping } from '../../../static/presence/who.js';
import { colorsOf } from './chrome.js';
import { reload } from './leaving.js';
import { call, page } from './session.js';

// A Map: names come from other browsers, and "toString" is no field.
const LABELS = new Map([
  ['name', 'Name'],
  ['status', 'Status'],
  ['owner', 'Owner'],
  ['description', 'Description'],
  ['steps', 'Steps'],
]);
const MAX_IN_FIELD = 2; // badges beside a field, before the "+N"
const MAX_HERE = 8; // people in the panel, until the user asks for all

export const FIELDS = [...LABELS.keys()];
/** One of the page's own (_icons.html): there while the service is not. */
export const icon = (name) => `#icon-${name}`;
/** Names of fields, in the form's order. */
export const inOrder = (names) => [...names].sort((one, other) => FIELDS.indexOf(one) - FIELDS.indexOf(other));
export const titleOf = (name) => LABELS.get(name) ?? name;
export const labelOf = (name) => LABELS.get(name)?.toLowerCase() ?? '';

export const avatarOptions = { max: 3, fieldLabel: labelOf };

// --- the flow ---

export const valuesOf = (flow) => Object.fromEntries(FIELDS.map((name) => [name, flow[name]]));

export async function readFlow() {
  return (await call('GET', flowUrl)).flow;
}

/** The server tells the other tabs of the save; by `tabId` it knows which one not to tell. */
export async function saveFlow(lockVersion, values, tabId) {
  return (await call('PUT', flowUrl, { ...values, lock_version: lockVersion, tab_id: tabId })).flow;
}

const flowUrl = `/api/v1/flows/${page.flow?.id}`;

/** A failed save in words, and by field. */
export function explain(error) {
  const errors = Object.fromEntries(Object.entries(error.errors).map(([name, texts]) => [name, texts.join(' ')]));
  const texts = {
    0: 'The service does not answer. Your changes are still here; try again in a moment.',
    401: 'You were signed out in another window. Your changes are still here: copy them, then reload.',
    403: 'This browser is somebody else now. Your changes are still here: copy them, then reload.',
    422: 'Not saved: see the marked fields.',
  };
  return { errors, text: texts[error.status] ?? error.message };
}

export function stepsOf(text) {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return lines.map((line, i) => {
    const isDecision = line.includes('?');
    const [kind, name] = isDecision
      ? ['step-decision', 'question']
      : i === 0
        ? ['step-start', 'bolt']
        : i === lines.length - 1
          ? ['step-end', 'flag']
          : ['step-plain', 'check'];
    return { key: `${i} ${line}`, text: line, kind, icon: icon(name) };
  });
}

/** After `unauthorized`, if there is no point in going on. */
export const SOMEBODY_ELSE = {
  text: 'This browser was signed in as somebody else, or signed out, in another window. Copy what you have not saved, then reload.',
  actions: [{ label: 'Reload', main: true, run: reload }],
};

/** The state of the user's own work, as a text and an icon. */
export function saveStateOf({ isSaving, unsaved, version }) {
  if (isSaving) return { icon: icon('unsaved'), text: 'Saving …' };
  if (unsaved.length === 0) return { icon: icon('check'), text: `Saved, version ${version}` };
  const count = unsaved.length === 1 ? '1 field' : `${unsaved.length} fields`;
  return { icon: icon('unsaved'), text: `Unsaved: ${count}` };
}

// --- the people ---

/** Of an agent, where its user's name is known: "Summariser, for Alice Moreau". */
export const nameOf = ({ name, agent }) => {
  const own = name.trim() || 'Someone';
  return agent?.for.name ? `${own}, for ${agent.for.name.trim() || 'Someone'}` : own;
};

/** A name inside a sentence: its direction and its contents don't affect the rest. */
export const isolated = (user) => `\u2068${cleanNameOf(user, 'Someone')}\u2069`;

/** Who else is in this form field or has unsaved changes in it, and what they are doing; beyond two, a number. */
export function peopleIn(viewers, typing, field) {
  const people = new Map();
  const add = (doing, isHere) => (person) => {
    const key = userKey(person);
    if (people.has(key)) return;
    const className = isHere ? 'in-field-person' : 'in-field-person is-away';
    const title = `${isolated(person)} ${doing}`;
    people.set(key, { key, name: nameOf(person), style: colorsOf(person.id), doing, className, title });
  };
  whoIsTyping(typing, field).forEach(add('is typing …', true)); // told faster than the focus
  whoIsIn(viewers, field).forEach(add('is here', true));
  (viewers ?? []).filter((viewer) => viewer.dirty_fields?.includes(field)).forEach(add('unsaved', false));
  const all = [...people.values()];
  if (all.length <= MAX_IN_FIELD) return all;
  const [shown, rest] = [all.slice(0, MAX_IN_FIELD), all.slice(MAX_IN_FIELD)];
  const title = rest.map((person) => person.title).join('; ');
  const more = {
    key: 'more',
    name: `+${rest.length}`,
    style: {},
    doing: '',
    className: 'in-field-person is-away is-more',
  };
  return [...shown, { ...more, title, label: `${rest.length} more: ${title}` }];
}

const awayTimes = createAwayTimes();

/** Everybody else, as the panel shows them: people first, and then programs. */
export function peopleHere(viewers, fresh) {
  const awaySince = awayTimes({ viewers, fresh });
  const all = viewers ?? [];
  return [...all.filter(({ agent }) => !agent), ...all.filter(({ agent }) => agent)].map((viewer) => {
    const [doing, iconName, verb] = viewer.has_dirty_tab
      ? ['unsaved', 'unsaved', 'Unsaved changes']
      : viewer.mode === 'edit'
        ? ['editing', 'pencil', 'Editing']
        : ['viewing', 'eye', 'Viewing'];
    const names = (doing === 'unsaved' && viewer.dirty_fields) || viewer.active_fields;
    const fields = inOrder(names).map(labelOf).filter(Boolean).join(', ');
    const where = fields && (doing === 'viewing' ? ` the ${fields}` : ` in ${fields}`);
    const tabs = viewer.tabs > 1 ? ` · ${viewer.tabs} tabs` : '';
    const since = awaySince(viewer);
    const away = viewer.away ? ` · away${since ? ` since ${clockText(since, 'en-GB')}` : ''}` : '';
    const came = clockText(Date.parse(viewer.since), 'en-GB');
    return {
      key: userKey(viewer),
      name: nameOf(viewer),
      initials: initialsOf(viewer.name),
      style: colorsOf(viewer.id),
      className: [doing, viewer.away && 'is-away', viewer.agent && 'is-agent'].filter(Boolean).join(' '),
      icon: icon(iconName),
      text: `${verb}${where}${tabs}${away}`,
      details: [...Object.values(viewer.about ?? {}), came && `here since ${came}`].filter(Boolean).join(' · '),
    };
  });
}

/** The first of a list of people, until the user asks for all; `more` is the label of the button for that, or ''. */
export function firstOf(people, showsAll, most = MAX_HERE) {
  if (people.length <= most) return { shown: people, more: '' };
  return {
    shown: showsAll ? people : people.slice(0, most),
    more: showsAll ? 'Show fewer' : `Show all ${people.length}`,
  };
}

const CLOCK = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', second: '2-digit', hour12: false });

/** One line about the list: that it is empty, unknown or old. "" when it speaks for itself. */
export function hereText(viewers, fresh, status, staleSince) {
  if (!viewers) return status === 'retrying' ? 'Can’t see who is here. Trying again …' : 'Looking who is here …';
  if (!fresh && status !== 'connecting') {
    return staleSince ? `As of ${CLOCK.format(staleSince)}. Trying to reconnect …` : 'Trying to reconnect …';
  }
  return viewers.length ? '' : 'Just you, for now.';
}
