// What both editors know about a flow and the people in it; no framework in here.

import { initialsOf } from '../../presence/initials.js';
import { whoIsIn, whoIsTyping } from '../../presence/who.js';
import { colorsOf } from './chrome.js';
import { call, page } from './session.js';

const LABELS = { name: 'Name', status: 'Status', owner: 'Owner', description: 'Description', steps: 'Steps' };
const ICONS = new URL('../icons.svg', import.meta.url).pathname;

export const FIELDS = Object.keys(LABELS);
export const icon = (name) => `${ICONS}#${name}`;
/** Names of fields as the form has them. */
export const inOrder = (names) => [...names].sort((one, other) => FIELDS.indexOf(one) - FIELDS.indexOf(other));
export const titleOf = (name) => LABELS[name] ?? name;
export const labelOf = (name) => LABELS[name]?.toLowerCase() ?? '';

export const avatarOptions = { max: 3, fieldLabel: labelOf };

// --- the flow ---

export const valuesOf = (flow) => Object.fromEntries(FIELDS.map((name) => [name, flow[name]]));

export async function readFlow() {
  return (await call('GET', flowUrl)).flow;
}

/** The server tells the others of the save; `tabId` is whose it was, so that this tab isn't told as well. */
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
  const lines = text.split('\n').map((line) => line.trim()).filter(Boolean);
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

/** The state of one's own work, in a word and an icon. */
export function saveStateOf({ isSaving, unsaved, version }) {
  if (isSaving) return { icon: icon('unsaved'), text: 'Saving …' };
  if (unsaved.length === 0) return { icon: icon('check'), text: `Saved, version ${version}` };
  const count = unsaved.length === 1 ? '1 field' : `${unsaved.length} fields`;
  return { icon: icon('unsaved'), text: `Unsaved: ${count}` };
}

// --- the people ---

const keyOf = ({ id }) => `${typeof id} ${id}`;
const nameOf = ({ name }) => name.trim() || 'Someone';

/** Who else is in this form field, or has unsaved changes in it, and what they do there. */
export function peopleIn(viewers, typing, field) {
  const people = new Map();
  const add = (doing, isHere) => (person) => {
    const key = keyOf(person);
    if (people.has(key)) return;
    const className = isHere ? 'in-field-person' : 'in-field-person is-away';
    people.set(key, { key, name: nameOf(person), style: colorsOf(person.id), doing, className });
  };
  whoIsTyping(typing, field).forEach(add('is typing …', true)); // told faster than the focus
  whoIsIn(viewers, field).forEach(add('is here', true));
  (viewers ?? []).filter((viewer) => viewer.dirty_fields?.includes(field)).forEach(add('unsaved', false));
  return [...people.values()];
}

/** Everybody else, as the panel shows them. */
export const peopleHere = (viewers) =>
  (viewers ?? []).map((viewer) => {
    const [doing, iconName, verb] = viewer.has_dirty_tab
      ? ['unsaved', 'unsaved', 'Unsaved changes']
      : viewer.mode === 'edit'
        ? ['editing', 'pencil', 'Editing']
        : ['viewing', 'eye', 'Viewing'];
    const names = (doing === 'unsaved' && viewer.dirty_fields) || viewer.active_fields;
    const fields = inOrder(names).map(labelOf).filter(Boolean).join(', ');
    const where = fields && (doing === 'viewing' ? ` the ${fields}` : ` in ${fields}`);
    const tabs = viewer.tabs > 1 ? ` · ${viewer.tabs} tabs` : '';
    return {
      key: keyOf(viewer),
      name: nameOf(viewer),
      initials: initialsOf(nameOf(viewer)),
      style: colorsOf(viewer.id),
      doing,
      icon: icon(iconName),
      text: `${verb}${where}${tabs}`,
    };
  });

const CLOCK = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', second: '2-digit', hour12: false });

/** One line about the list: that it is empty, unknown or old. "" when it speaks for itself. */
export function hereText(viewers, fresh, status, staleSince) {
  if (!viewers) return status === 'retrying' ? 'Can’t see who is here. Trying again …' : 'Looking who is here …';
  if (!fresh && status !== 'connecting') {
    return staleSince ? `As of ${CLOCK.format(staleSince)}. Trying to reconnect …` : 'Trying to reconnect …';
  }
  return viewers.length ? '' : 'Just you, for now.';
}
