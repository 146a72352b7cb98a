// What both editors do when someone else has saved: compare three versions of a flow (as it was loaded, as it is in the
// form, as it was saved over there), and put the result into words. No framework in here.

import { FIELDS, isolated, titleOf } from './flow.js';
import { page } from './session.js';

const CLOCK = new Intl.DateTimeFormat('en', { hour: 'numeric', minute: '2-digit', hour12: false });
const LIST = new Intl.ListFormat('en');

// --- three versions ---

/** The fields in which two versions differ. */
export const differing = (one, other) => FIELDS.filter((name) => one[name] !== other[name]);

/** The fields that both sides changed, to different values. */
export const collisionsOf = (base, mine, theirs) =>
  FIELDS.filter((name) => ![mine[name], theirs[name]].includes(base[name]) && mine[name] !== theirs[name]);

/** The form's values once theirs is loaded. Of the fields that collide, `kept` stay as they are. */
export const merged = (base, mine, theirs, kept = []) =>
  Object.fromEntries(
    FIELDS.map((name) => {
      const isMine = mine[name] !== base[name] && (theirs[name] === base[name] || kept.includes(name));
      return [name, (isMine ? mine : theirs)[name]];
    }),
  );

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

/** What was taken over without a question, since it changed none of the unsaved fields. */
export function newsOf({ forecast, base, theirs, unsaved, isSavedAfter }) {
  const what = namesOf(differing(base, theirs));
  const kept = isSavedAfter
    ? ' Your changes were saved on top of it.'
    : unsaved.length
      ? ' Your unsaved changes are kept.'
      : ' You see it now.';
  return `${sentenceOf(savesOf(forecast, theirs))}${what && ` (${what})`}.${kept}`;
}

/** The banner, and the note beside each field; null if nothing collides. */
export function conflictOf({ forecast, base, mine, theirs, isRefused }) {
  if (!theirs) return null;
  const fields = collisionsOf(base, mine, theirs);
  if (!fields.length) return null;
  const unsaved = differing(base, mine);
  const saves = savesOf(forecast, theirs);
  const isOwn = saves.every(({ own }) => own);
  const count =
    unsaved.length === 1
      ? `It changed the field that you have unsaved changes in: ${namesOf(fields)}.`
      : `${fields.length} of your ${unsaved.length} unsaved fields changed: ${namesOf(fields)}.`;
  const at = CLOCK.format(Date.parse(saves.at(-1).saved_at));
  const one = saves.length === 1 && !isOwn;
  return {
    fields,
    title: isRefused ? `Not saved: ${lowerYou(sentenceOf(saves))} first` : `${sentenceOf(saves)} at ${at}`,
    text: `${count} Your changes are still here.`,
    theirName: isOwn ? 'Your other tab’s' : one ? `${whoSaved(saves[0])}’s` : 'Theirs',
    takeLabel: isOwn ? 'Take the other tab’s' : 'Take theirs',
    notes: Object.fromEntries(fields.map((name) => [name, noteOf(name, saves, theirs)])),
  };
}

const lowerYou = (text) => text.replace(/^You /, 'you ');

function noteOf(name, saves, theirs) {
  const save = saves.findLast(({ fields }) => fields === null || fields.includes(name)) ?? saves.at(-1);
  const where = `version ${save.lock_version}${save.own ? ', in another tab' : ''}`;
  return { text: `${whoSaved(save)} saved, in ${where}:`, theirs: shownAs(name, theirs[name]) };
}

/** After a choice: what happened, and how to undo it. */
export function chosen(kept, dropped) {
  const stays = `Your ${namesOf(kept)} ${kept.length === 1 ? 'stays' : 'stay'}. Save to replace what was saved over there.`;
  if (!dropped.length) return { text: stays };
  const taken = `Took over ${namesOf(dropped)} as saved over there.`;
  return { text: kept.length ? `${taken} ${stays}` : taken, undo: 'Undo' };
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
  if (claim.tab_id === tabId) return { who: '', label: 'I’m on it', pressed: true, doing: 'release' };
  const who = claim.user.id === page.me.id ? 'You’re on it in another tab' : `${isolated(claim.user)} is on it`;
  return { who, label: 'Take over', pressed: false, doing: 'takeOver' };
}

/** Which claims of this tab another tab has now. */
export function takenClaims(before, now, tabId) {
  if (!before || !now) return [];
  return Object.keys(before)
    .filter((name) => before[name].tab_id === tabId && Object.hasOwn(now, name) && now[name].tab_id !== tabId)
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
