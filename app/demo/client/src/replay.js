// A timeline that can be replayed: who was there in which state after each entry, and which saves ran into someone's
// unsaved changes. Nothing of the page in here.

import { userKey } from '../../../static/presence/store.js';
import { inOrder, isolated, titleOf } from './flow.js';

const MAX_FULL_SECONDS = 15; // a longer time is drawn shorter
const MIN_SECONDS = 0.4; // between two entries, so that each can be seen
const LIST = new Intl.ListFormat('en');

export const fieldsOf = (names) => LIST.format(inOrder(names).map(titleOf));

/** The length of a stretch of time on the screen, in seconds. */
const lengthOf = (seconds) =>
  seconds <= MAX_FULL_SECONDS
    ? Math.max(MIN_SECONDS, seconds)
    : MAX_FULL_SECONDS * (1 + Math.log(seconds / MAX_FULL_SECONDS));

/**
 * `moments`: one an entry, with `at` (ms), `place` (seconds on the screen), `text`, `conflicts` (whose unsaved fields
 * a save changed) and `people`, a Map of who was there after it. `lanes`: one a person, in the order of arrival.
 */
export function replay(entries) {
  const moments = [];
  const lanes = new Map();
  let people = new Map();
  let place = 0;
  for (const entry of entries) {
    const at = Date.parse(entry.at);
    if (moments.length) place += lengthOf((at - moments.at(-1).at) / 1000);
    const before = people;
    people = after(before, entry);
    const key = entry.user && userKey(entry.user);
    if (key && !lanes.has(key)) lanes.set(key, { key, user: entry.user });
    if (key) lanes.get(key).user = entry.user; // the newest name
    const conflicts = entry.kind === 'saved' ? conflictsOf(entry, before) : [];
    moments.push({ entry, at, place, key, people, conflicts, text: textOf(entry, before.get(key), conflicts) });
  }
  return { moments, lanes: [...lanes.values()] };
}

function after(people, entry) {
  const { kind, user, tabs, mode, away, active_fields: active, dirty_fields: dirty, has_dirty_tab: isDirty } = entry;
  if (kind === 'reset') return new Map();
  const key = userKey(user);
  if (kind === 'leave') return new Map([...people].filter(([other]) => other !== key));
  if (kind !== 'join' && kind !== 'update') return people;
  return new Map(people).set(key, { user, tabs, mode, away, active, dirty, isDirty });
}

/** Who had unsaved changes in what this save changed. */
function conflictsOf({ user, fields }, people) {
  return [...people.values()]
    .filter((other) => userKey(other.user) !== userKey(user))
    .map((other) => ({ user: other.user, fields: other.dirty.filter((name) => fields.includes(name)) }))
    .filter((conflict) => conflict.fields.length);
}

export const doingOf = ({ isDirty, mode }) => (isDirty ? 'unsaved' : mode === 'edit' ? 'editing' : 'viewing');

const looksLike = (one, other) => doingOf(one) === doingOf(other) && String(one.dirty) === String(other.dirty);

/** The stretches of a lane between two places, each with the state in it. */
export function spansOf(moments, key, from, to) {
  const spans = [];
  moments.forEach(({ people, place }, i) => {
    const state = people.get(key);
    const end = moments[i + 1]?.place ?? to;
    if (!state || end <= from || place >= to) return;
    const start = Math.max(place, from);
    const last = spans.at(-1);
    if (last && last.to >= start && looksLike(last.state, state)) last.to = Math.min(end, to);
    else spans.push({ from: start, to: Math.min(end, to), state });
  });
  return spans;
}

// --- in words ---

const REASONS = new Map([
  ['expired', 'is gone: no heartbeat until the lease was over'],
  ['evicted', 'is evicted by an operator'],
]);

function textOf(entry, before, conflicts) {
  switch (entry.kind) {
    case 'reset':
      return 'Nobody is known any more; everyone still here joins again';
    case 'join':
      return entry.has_dirty_tab ? 'opens the flow, with unsaved changes' : 'opens the flow';
    case 'update':
      return changeOf(before, entry);
    case 'leave':
      return (REASONS.get(entry.reason) ?? 'leaves') + (before?.isDirty ? ', with unsaved changes' : '');
    case 'saved': {
      const what = entry.fields.length ? `: ${fieldsOf(entry.fields)}` : '';
      const whose = conflicts.map(({ user, fields }) => `${isolated(user)} had unsaved changes in ${fieldsOf(fields)}`);
      return `saves version ${entry.lock_version}${what}${whose.length ? `, while ${LIST.format(whose)}` : ''}`;
    }
    case 'claimed':
      if (entry.passed_from)
        return `gets ${titleOf(entry.field)} from ${isolated(entry.passed_from)}, having waited for it`;
      return entry.taken_from
        ? `takes over ${titleOf(entry.field)} from ${isolated(entry.taken_from)}`
        : `says: I’m on ${titleOf(entry.field)}`;
    case 'released':
      return `lets go of ${titleOf(entry.field)}`;
    default:
      return entry.kind;
  }
}

function changeOf(before, { tabs, mode, away, active_fields: active, dirty_fields: dirty, has_dirty_tab: isDirty }) {
  const was = before ?? { tabs: 0, mode: 'view', active: [], dirty: [], isDirty: false };
  const more = dirty.filter((name) => !was.dirty.includes(name));
  const less = was.dirty.filter((name) => !dirty.includes(name));
  const entered = active.filter((name) => !was.active.includes(name));
  const parts = [];
  if (more.length) parts.push(`has unsaved changes in ${fieldsOf(more)}`);
  if (less.length) parts.push(`has nothing unsaved in ${fieldsOf(less)} any more`);
  if (!more.length && !less.length && isDirty !== was.isDirty)
    parts.push(isDirty ? 'has unsaved changes' : 'has nothing unsaved any more');
  if (entered.length) parts.push(`goes to ${fieldsOf(entered)}`);
  else if (mode !== was.mode) parts.push(mode === 'edit' ? 'edits' : 'only looks now');
  else if (!parts.length && active.length < was.active.length)
    parts.push(`leaves ${fieldsOf(was.active.filter((name) => !active.includes(name)))}`);
  if (tabs > was.tabs && was.tabs) parts.push(`opens another tab (${tabs})`);
  if (tabs < was.tabs) parts.push(`closes a tab (${tabs} left)`);
  if (!!away !== !!was.away) parts.push(away ? 'is away' : 'is back');
  return LIST.format(parts) || 'goes on';
}

/** "editing Name, unsaved: Name and Steps, 2 tabs" */
export function stateText({ mode, active, dirty, isDirty, tabs, away }) {
  const fields = active.length ? ` ${fieldsOf(active)}` : '';
  const unsaved = isDirty && (dirty.length ? `unsaved changes in ${fieldsOf(dirty)}` : 'unsaved changes');
  return [(mode === 'edit' ? 'editing' : 'viewing') + fields, unsaved, tabs > 1 && `${tabs} tabs`, away && 'away']
    .filter(Boolean)
    .join(', ');
}
