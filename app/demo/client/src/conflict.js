// What both editors say when someone else has saved. <record-conflict> makes one of three versions of a flow: as it was
// loaded, as it is in the form, as it was saved over there. No framework in here.

import { FIELDS, isolated, titleOf, valuesOf } from './flow.js';
import { whoAsks } from './handOver.js';
import { page } from './session.js';

const LIST = new Intl.ListFormat('en');

/** The fields in which two versions differ. */
export const differing = (one, other) => FIELDS.filter((name) => one[name] !== other[name]);

/** Whether the record must be loaded: there is a save that isn't, or there may be one that is no longer remembered. */
export const isBehind = (forecast, version, checkedAt) =>
  forecast.saves.some((save) => save.lock_version > version) || Date.parse(forecast.remembered_since) > checkedAt;

// --- in words ---

const namesOf = (fields) => LIST.format(fields.map(titleOf));

/** The saves between the loaded version and theirs; from the forecast, or else from the record itself. */
function savesOf(forecast, theirs) {
  const saves = (forecast?.saves ?? []).filter((save) => save.lock_version <= theirs.lock_version);
  if (saves.some((save) => save.lock_version === theirs.lock_version)) return saves;
  const isOwn = theirs.saved_by === page.me.name;
  return [...saves, { ...theirs, own: isOwn, user: { name: theirs.saved_by }, fields: null }];
}

const whoSaved = ({ own, user }) => (own ? 'You' : isolated(user));
const versionsOf = (saves) => {
  const [first, last] = [saves[0].lock_version, saves.at(-1).lock_version];
  return first === last ? `version ${first}` : `versions ${first} to ${last}`;
};

/** "Bob Tanaka saved version 8", "You saved version 8 in another tab". */
function sentenceOf(saves) {
  const names = LIST.format([...new Set(saves.map(whoSaved))]);
  const where = saves.every(({ own }) => own) ? ' in another tab' : '';
  return `${names} saved ${versionsOf(saves)}${where}`;
}

/** The news with one more item, which replaces the last of its kind; without a text it only removes that one. */
export const withNews = (news, item) => [
  ...news.filter(({ kind }) => kind !== item.kind),
  ...(item.text ? [item] : []),
];

/** What <record-conflict> is told of a save that isn't loaded; null without one. */
export const conflictOf = ({ forecast, base, theirs, isRefused }) =>
  theirs && {
    base: valuesOf(base),
    theirs,
    saves: savesOf(forecast, theirs),
    isRefused,
    fields: FIELDS,
    whole: ['status', 'owner'],
    fieldLabel: titleOf,
    format: shownAs,
    locale: 'en-GB',
  };

/** What became of it: without a question, or by somebody's choice. `undo` are the values that were replaced. */
export function outcomeOf(outcome, { forecast, mine, unsaved }) {
  const { base, theirs, values, collisions, became, isRefused } = outcome;
  const fieldsThat = (...kinds) => FIELDS.filter((name) => kinds.includes(became[name]));
  const replaced = FIELDS.filter((name) => unsaved.includes(name) && values[name] !== mine[name]);
  const undo = replaced.length && Object.fromEntries(replaced.map((name) => [name, mine[name]]));
  if (collisions.length) return { text: chosenText(collisions, became), undo };
  const what = namesOf(differing(base, theirs));
  const together = fieldsThat('merged');
  const put = together.length ? ` What both of you changed in ${namesOf(together)} is put together.` : '';
  const kept = isRefused
    ? ' Your changes were saved on top of it.'
    : unsaved.length
      ? ' Your unsaved changes are kept.'
      : ' You see it now.';
  return { text: `${sentenceOf(savesOf(forecast, theirs))}${what && ` (${what})`}.${put}${kept}`, undo };
}

function chosenText(collisions, became) {
  const [kept, taken] = ['mine', 'theirs'].map((side) => collisions.filter((name) => became[name] === side));
  const both = collisions.filter((name) => !kept.includes(name) && !taken.includes(name));
  return [
    taken.length && `Took over ${namesOf(taken)} as saved over there.`,
    both.length && `Put together ${namesOf(both)} as chosen.`,
    kept.length &&
      `Your ${namesOf(kept)} ${kept.length === 1 ? 'stays' : 'stay'}. Save to replace what was saved over there.`,
  ]
    .filter(Boolean)
    .join(' ');
}

/** The note beside each field that collides. */
export function notesOf(colliding, { forecast, theirs }) {
  if (!theirs) return {};
  const saves = savesOf(forecast, theirs);
  return Object.fromEntries(colliding.map((name) => [name, noteOf(name, saves, theirs)]));
}

function noteOf(name, saves, theirs) {
  const save = saves.findLast(({ fields }) => fields === null || fields.includes(name)) ?? saves.at(-1);
  const where = `version ${save.lock_version}${save.own ? ', in another tab' : ''}`;
  return { text: `${whoSaved(save)} saved, in ${where}:`, theirs: shownAs(name, theirs[name]) };
}

/** A value as it is shown. */
export function shownAs(name, value) {
  if (name === 'owner') return page.people.find(({ handle }) => handle === value)?.name ?? value;
  if (name === 'status') return value[0].toUpperCase() + value.slice(1);
  return value;
}

/** "Bob Tanaka also has unsaved changes here." "You also have unsaved changes here, in another tab." */
export function contestOf(forecast, name) {
  const people = (forecast?.contested[name] ?? []).map(isolated);
  const others = `${LIST.format(people)} also ${people.length === 1 ? 'has' : 'have'} unsaved changes here.`;
  const isOwn = forecast?.own_contested?.includes(name);
  return [people.length && others, isOwn && 'You also have unsaved changes here, in another tab.']
    .filter(Boolean)
    .join(' ');
}

// --- claims ---

/** What is shown beside a field about its claim: `doing` is what the button does. */
export function claimOf(claims, name, tabId) {
  const claim = claims && Object.hasOwn(claims, name) ? claims[name] : null;
  if (!claim) return { who: '', label: 'I’m on it', pressed: false, doing: 'claim' };
  if (claim.tab_id === tabId) return { who: whoAsks(claim), label: 'I’m on it', pressed: true, doing: 'release' };
  if (claim.user.id === page.me.id) {
    return { who: 'You’re on it in another tab', label: 'Take over', pressed: false, doing: 'takeOver' };
  }
  const isAsked = !!claim.waiting?.some((row) => row.tab_id === tabId);
  const label = isAsked ? 'Asked' : 'Ask for it';
  return { who: `${isolated(claim.user)} is on it`, label, pressed: isAsked, doing: isAsked ? 'release' : 'wait' };
}

/** Which claims of this tab another tab has taken over. */
export function takenClaims(before, now, tabId) {
  if (!before || !now) return [];
  return Object.keys(before)
    .filter((name) => before[name].tab_id === tabId && Object.hasOwn(now, name) && now[name].tab_id !== tabId)
    .filter((name) => !now[name].passed_from)
    .map((name) => {
      const { user } = now[name];
      const isOwn = user.id === page.me.id;
      return {
        name,
        text: isOwn
          ? `Your other tab is on ${titleOf(name)} now.`
          : `${isolated(user)} took over ${titleOf(name)} from you.`,
      };
    });
}
