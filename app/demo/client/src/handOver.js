// What both editors say of a field that somebody waits for: to who has it, and to who is to have it. No framework in here.

import { isolated, titleOf } from './flow.js';
import { page } from './session.js';

const LIST = new Intl.ListFormat('en');

const claimsOf = (claims) => Object.entries(claims ?? {});
const isOwn = ({ user }) => user.id === page.me.id;
const queueOf = (claim) => claim.waiting ?? [];
const placeOf = (claim, tabId) => queueOf(claim).findIndex((row) => row.tab_id === tabId) + 1; // 0: not in it
const namesOf = (rows) => LIST.format([...new Set(rows.map((row) => (isOwn(row) ? 'You' : isolated(row.user))))]);
const asks = (rows) => `${namesOf(rows)} ${rows.length === 1 && !isOwn(rows[0]) ? 'asks' : 'ask'}`;

/** Whoever waits counts as editing: who only looks waits for nothing. */
export const isWaiting = (claims, tabId) => claimsOf(claims).some(([, claim]) => placeOf(claim, tabId) > 0);

/** "Bob Tanaka asks for it", beside the field of who has it. */
export const whoAsks = (claim) => (queueOf(claim).length ? `${asks(queueOf(claim))} for it` : '');

/**
 * One item for each field that this tab is asked for or waits for, with what may be done about it: `doing` as of
 * setClaim, or `saveAndRelease`. `timeLeft` is createPassing's.
 */
export function handOversOf({ claims, tabId, unsaved }, timeLeft) {
  return claimsOf(claims).flatMap(([name, claim]) => {
    const isMine = claim.tab_id === tabId;
    if (isMine && queueOf(claim).length) {
      const save = { doing: 'saveAndRelease', label: 'Save and hand over' };
      return {
        key: `asked ${name}`,
        name,
        text: `${asks(queueOf(claim))} for ${titleOf(name)}. If you are away, it passes on by itself.`,
        time: timeLeft(claim, 'You seem to be away. It passes on in'),
        actions: [
          ...(unsaved.length ? [save] : []),
          { doing: 'release', label: 'Hand over' },
          { doing: 'decline', label: 'Not yet' },
        ],
      };
    }
    const place = placeOf(claim, tabId);
    if (!place) return [];
    const holder = isOwn(claim) ? 'your other tab' : isolated(claim.user);
    const next = place === 1 ? 'You are next.' : `${place - 1} before you.`;
    return {
      key: `waits ${name}`,
      name,
      text: `You asked ${holder} for ${titleOf(name)}. ${next}`,
      time: timeLeft(claim, `${holder} is away. It passes on in`),
      actions: [
        { doing: 'takeOver', label: 'Take it over now' },
        { doing: 'release', label: 'Stop waiting' },
      ],
    };
  });
}

/** What the presence's event `passed` says; and that nothing is lost to who comes back. */
export function passedText({ field, claim, isMine }, unsaved) {
  const title = titleOf(field);
  if (isMine) return `${title} is yours now. ${isolated(claim.passed_from)} had it before.`;
  const who = isOwn(claim) ? 'Your other tab' : isolated(claim.user);
  return `${who} has ${title} now.${unsaved.includes(field) ? ' What you wrote there is still here, unsaved.' : ''}`;
}

/** For which fields this tab was sent away: the same claim, without it. Not those of `stopped`, in which it gave up. */
export function declinedClaims(before, now, tabId, stopped) {
  return claimsOf(before)
    .filter(([name, claim]) => {
      if (!placeOf(claim, tabId) || !now || (Object.hasOwn(now, name) && placeOf(now[name], tabId))) return false;
      if (stopped.delete(name) || !Object.hasOwn(now, name)) return false;
      return now[name].tab_id === claim.tab_id && now[name].since === claim.since;
    })
    .map(([name, { user }]) => ({ name, text: `${isolated(user)} is not done with ${titleOf(name)} yet.` }));
}

/**
 * Gives `timeLeft(claim, label)`: how long it takes until the field passes on, as "… in 1:43"; '' while its holder is
 * there. `onTick` is called when the text is another one. This machine's clock may be wrong: a moment that can't be is
 * taken for the whole time from now.
 */
export function createPassing(onTick) {
  const idleMs = page.claim_idle_seconds * 1000;
  const ends = new Map(); // passes_at -> when that is, by this clock
  let isTicking = false;

  function endOf(passesAt) {
    const leftMs = Date.parse(passesAt) - Date.now();
    if (!ends.has(passesAt)) ends.set(passesAt, Date.now() + (leftMs >= 0 && leftMs <= idleMs ? leftMs : idleMs));
    return ends.get(passesAt);
  }

  return ({ passes_at: passesAt }, label) => {
    if (!passesAt) return '';
    if (!isTicking) {
      isTicking = true;
      setTimeout(() => {
        isTicking = false;
        onTick();
      }, 1000);
    }
    const left = Math.max(0, Math.ceil((endOf(passesAt) - Date.now()) / 1000));
    return `${label} ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}.`;
  };
}
