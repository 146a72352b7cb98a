// What both editors say of a field that somebody waits for: to who has it, and to who is to have it. No framework in here.

import { attentionOf } from '../../../static/presence/browserAttention.js';
import { userKey } from '../../../static/presence/store.js';
import { isolated, titleOf } from './flow.js';
import { page } from './session.js';

const AWAY_AFTER_MS = 300_000; // the presence's own
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
export function handOversOf({ claims, viewers, tabId, unsaved }, timeLeft) {
  return claimsOf(claims).flatMap(([name, claim]) => {
    const isMine = claim.tab_id === tabId;
    if (isMine && queueOf(claim).length) {
      const save = { doing: 'saveAndRelease', label: 'Save and hand over' };
      return {
        key: `asked ${name}`,
        name,
        text: `${asks(queueOf(claim))} for ${titleOf(name)}. If you are away, it passes on by itself.`,
        time: timeLeft(name, claim, { isAway: null, label: 'You seem to be away. It passes on in' }),
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
    const isAway = !!viewers?.find((viewer) => userKey(viewer) === userKey(claim.user))?.away;
    const next = place === 1 ? 'You are next.' : `${place - 1} before you.`;
    return {
      key: `waits ${name}`,
      name,
      text: `You asked ${holder} for ${titleOf(name)}. ${next}`,
      time: timeLeft(name, claim, { isAway, label: `${holder} is away. It passes on in` }),
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
 * How long it takes until a field passes on, as "… in 1:43"; '' while its holder is there. The service doesn't tell, so
 * it is counted from when this page saw them go. `onTick` is called when the text is another one.
 */
export function createPassing(onTick) {
  const awaySince = new Map(); // field -> { key, at } of others
  let activeAt = Date.now();
  let isTicking = false;
  const onActive = () => {
    const wasAway = Date.now() - activeAt > AWAY_AFTER_MS;
    activeAt = Date.now();
    if (wasAway) onTick();
  };
  attentionOf()?.onActivity(onActive);

  function awayAt(name, claim, isAway) {
    if (isAway === null) return activeAt + AWAY_AFTER_MS; // the user of this page
    const key = `${claim.tab_id} ${claim.since}`;
    if (!isAway) awaySince.delete(name);
    else if (awaySince.get(name)?.key !== key) awaySince.set(name, { key, at: Date.now() });
    return awaySince.get(name)?.at ?? Infinity;
  }

  return (name, claim, { isAway, label }) => {
    const at = awayAt(name, claim, isAway);
    if (at < Infinity && !isTicking) {
      isTicking = true;
      setTimeout(() => {
        isTicking = false;
        onTick();
      }, 1000);
    }
    if (Date.now() < at) return '';
    const left = Math.max(0, Math.ceil((at + page.claim_idle_seconds * 1000 - Date.now()) / 1000));
    return `${label} ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}.`;
  };
}
