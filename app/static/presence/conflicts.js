// Saves of others, claims on fields, and the forecast of what a save would run into.

import { createHandOver } from './handOver.js';

const NOTHING = Object.freeze([]);
const NO_CLAIMS = Object.freeze({});

const TRANSIENT_KINDS = ['unreachable', 'unavailable', 'throttled', 'unauthorized']; // failures that may be over soon
const MAX_UNSENT_SAVES = 50; // that the service remembers
const MAX_LIST_DELAY_MS = 10_000; // a list that comes later is not late: Redis has lost data, or its clock was set back

/**
 * `heartbeat.desired()` is the state that the next beat sends, `update(part)` changes it. What the server's forecast
 * depends on makes up a numbered question, whose number is part of that state: a new number leads to a beat that asks,
 * batched and retried like any other change.
 */
export function createConflicts({ browser, store, transport, heartbeat, update, emit }) {
  const followHandOver = createHandOver(emit);
  const ownTabs = new Set(); // all tab ids of this page, which gets a new one after the back/forward cache
  const unsentSaves = []; // saves of this page that could not be sent to the server
  let otherOwnTabs = 0; // the person's other tabs, as of the last forecast
  let asked = {}; // the last question: { text, number }
  const answers = new Map(); // field -> { claim, time }, of calls about claims: lists on their way may be older
  let listTime = 0; // of the claims that are shown
  let isPolling = false; // heartbeats bring the lists
  let answered = { texts: [] }; // the questions that the last forecast answers, and the number of the one it was asked

  /** Applies a stream's list or a beat's answer; while a stream brings the lists, only the forecast of an answer. */
  function apply(news, sent, isStreaming) {
    const { forecast, viewers } = news;
    isPolling = sent && !isStreaming;
    ownTabs.add(store.getSnapshot().tabId);
    if (sent) for (const save of unsentSaves.splice(0)) sendSave(save).catch(() => {}); // a beat was answered
    const known = {};
    if (viewers && !isStreaming) {
      known.saved = (news.saved ?? NOTHING).filter(isOfOthers);
      listTime = timeOf(news.version);
      known.claims = withAnswers(news.claims ?? NO_CLAIMS);
    }
    if (forecast && isCurrent(forecast, heartbeat.desired())) {
      otherOwnTabs = forecast.own_tabs;
      known.forecast = forecast;
      // As the answer sees it, and as it was asked: where the two differ, asking again would change nothing.
      answered = { number: sent.asks, texts: [textOf(sent, viewers, news.saved)] };
      if (asked.number === sent.asks) answered.texts.push(asked.text);
    }
    setKnown(known);
    update({});
  }

  /** What didn't change stays the same object. */
  function setKnown(known) {
    const before = store.getSnapshot();
    for (const [part, value] of Object.entries(known)) {
      if (JSON.stringify(value) === JSON.stringify(before[part])) known[part] = before[part];
      else freeze(value);
    }
    const { claims } = before;
    store.set(known);
    if (known.claims && known.claims !== claims) followHandOver(known.claims, tabId());
  }

  const isCurrent = ({ base_version: version }, desired) => version === desired.base_version;
  const isOfOthers = ({ tab_id: tab }) => tab === null || !ownTabs.has(tab);

  /** The number of the current question: that of the answered one as long as the answer holds. */
  function question(desired) {
    const { viewers, saved, forecast } = store.getSnapshot();
    if (forecast && !isCurrent(forecast, desired)) store.set({ forecast: null });
    const text = textOf(desired, viewers, saved);
    if (text === undefined || answered.texts.includes(text)) return answered.number;
    if (text !== asked.text) asked = { text, number: (asked.number ?? 0) + 1 };
    return asked.number;
  }

  /**
   * What the server's forecast for this tab depends on. Of the person's other tabs the stream doesn't tell: while there
   * are any, it is asked for with each beat that tells of other unsaved fields.
   */
  function textOf({ base_version: baseVersion, dirty_fields: dirtyFields = NOTHING }, viewers, saved) {
    if (baseVersion === undefined) return undefined;
    const ahead = (saved ?? NOTHING)
      .filter((save) => save.lock_version > baseVersion && isOfOthers(save))
      .map(({ lock_version: version, fields }) => [version, ...fields.filter((name) => dirtyFields.includes(name))]);
    const contested = (viewers ?? NOTHING)
      .map(({ id, dirty_fields: theirs = NOTHING }) => [id, ...theirs.filter((name) => dirtyFields.includes(name))])
      .filter(({ length }) => length > 1);
    return JSON.stringify([baseVersion, ahead, contested, otherOwnTabs ? dirtyFields : NOTHING]);
  }

  const tabId = () => store.getSnapshot().tabId;

  /** The claims of the list, and the results of calls that were answered after it was made. */
  function withAnswers(claims) {
    let all = claims;
    for (const [field, { change, time, until }] of answers) {
      if (listTime < time && browser.now() < until) all = change(all);
      else answers.delete(field);
    }
    return all;
  }

  // A field may be called "constructor".
  const claimIn = (claims, field) => (Object.hasOwn(claims, field) ? claims[field] : null);

  /** The field has this claim now. An answer doesn't say who waits for it: that is as it was. */
  function withClaim(claims, field, claim) {
    const { [field]: _, ...others } = claims;
    const { tab_id: tab, since, waiting, passes_at } = claimIn(claims, field) ?? NOTHING;
    const isSame = tab === claim.tab_id && since === claim.since;
    return { ...others, [field]: isSame && waiting ? { waiting, ...(passes_at && { passes_at }), ...claim } : claim };
  }

  /** This tab neither has the field nor waits for it; another one may. */
  function withoutMine(claims, field) {
    const isMine = (name, { tab_id: tab }) => name === field && tab === tabId();
    const left = Object.entries(claims).filter(([name, claim]) => !isMine(name, claim));
    const isOther = (name, row) => row.tab_id !== tabId() || (row.field ?? name) !== field;
    return Object.fromEntries(left.map(([name, claim]) => [name, waitedBy(claim, (row) => isOther(name, row))]));
  }

  /** The claim with only those who wait and are wanted. */
  function waitedBy(claim, isWanted) {
    const { waiting: all = NOTHING, passes_at: _, ...rest } = claim;
    const waiting = all.filter(isWanted);
    return waiting.length === all.length ? claim : waiting.length ? { ...claim, waiting } : rest;
  }

  function withoutWaiting(claims, field) {
    const own = claimIn(claims, field);
    return own?.tab_id === tabId() ? { ...claims, [field]: waitedBy(own, () => false) } : claims;
  }

  /** Makes a call about a claim and shows what `change` makes of it, unless a newer list has come meanwhile. */
  async function callClaim(name, field, body, change, method) {
    const before = store.getSnapshot().claims;
    const call = () => transport.call(name, { tab_id: tabId(), field, ...body }, method);
    let answer = await call();
    if (answer.reason === 'not_editing') {
      // Who claims a field is about to edit. The beat that says so may be under way, or the page names no mode.
      const { asks: _, ...state } = heartbeat.desired();
      await transport.call('heartbeat', { tab_id: tabId(), ...state, mode: 'edit' });
      answer = await call();
    }
    const { version } = answer;
    const { claims } = store.getSnapshot();
    const time = timeOf(version);
    const changed = (list) => change(list, field, answer);
    if (time > listTime) answers.set(field, { change: changed, time, until: browser.now() + MAX_LIST_DELAY_MS });
    // A transport of the host's own may name no version.
    if (version === undefined ? claims === before : time > listTime) {
      setKnown({ claims: changed(claims ?? NO_CLAIMS) });
    }
    return answer;
  }

  /** Of a claim that is in the way of the one that was asked for, its answer names the field. */
  function withAnswered(claims, field, { claim }) {
    if (!claim) return withoutMine(claims, field);
    const { field: its = field, ...found } = claim;
    return withClaim(claims, its, found);
  }

  /** Sent until it is answered: the service announces a version once, however often it receives it. */
  async function sendSave(save) {
    try {
      await transport.call('saved', save);
    } catch (error) {
      if (TRANSIENT_KINDS.includes(error.kind) && unsentSaves.length < MAX_UNSENT_SAVES) unsentSaves.push(save);
      throw error;
    }
  }

  return {
    apply,
    question,

    async claim(field, { takeOver = false, wait } = {}) {
      const answer = await callClaim('claim', field, { take_over: takeOver, ...(wait && { wait }) }, withAnswered);
      if (answer.place && isPolling) heartbeat.beatAgain(); // its list says who else waits
      return answer;
    },

    release: (field) => callClaim('claim', field, {}, withoutMine, 'DELETE').then(() => {}),

    decline: (field) => callClaim('claim/decline', field, {}, withoutWaiting).then(({ declined }) => declined),

    async announceSaved(lockVersion, fields) {
      update({ base_version: lockVersion });
      await sendSave({ tab_id: tabId(), lock_version: lockVersion, fields });
    },
  };
}

/** When a version was made, in µs of Redis's time; a record's versions only grow. */
const timeOf = (version) => Number.parseInt(version, 10);

function freeze(value) {
  if (value && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(freeze);
  }
  return value;
}
