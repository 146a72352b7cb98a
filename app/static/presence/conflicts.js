// Saves of others, claims on fields, and the forecast of what a save would run into. Loaded late by presence.js.

const NOTHING = Object.freeze([]);
const NOBODY = Object.freeze({});

const PASSING = ['unreachable', 'unavailable', 'throttled', 'unauthorized']; // kinds of failures that may be over soon
const MOST_UNTOLD = 50; // that the service remembers

/**
 * `getDoing()` gives what the next beat says, `change(part)` changes it. What a forecast depends on is part of it
 * (`question`), so that news is a beat that asks, gathered and repeated like any other.
 */
export function createConflicts(store, transport, change, getDoing) {
  const ownTabs = new Set(); // this page's: it takes a new one after the back/forward cache
  let asked = {}; // the last question: its text and its number; none while there was no news
  const untold = []; // saves of this page that the server could not be told of
  let answered = { texts: [] }; // those that the last forecast answers, and the number of the one that it was asked

  /** From a stream's list, or a beat's answer; where a stream keeps the rest, of the answer only the forecast. */
  function take(news, sent, isStreaming) {
    const { forecast, viewers } = news;
    ownTabs.add(store.getSnapshot().tabId);
    if (sent) for (const save of untold.splice(0)) tellSave(save).catch(() => {}); // a beat was answered
    const known = {};
    if (viewers && !isStreaming) {
      known.saved = (news.saved ?? NOTHING).filter(isOfOthers);
      known.claims = news.claims ?? NOBODY;
    }
    if (forecast && isCurrent(forecast, getDoing())) {
      known.forecast = forecast;
      // As the answer sees it, and as it was asked: where the two differ, asking again would change nothing.
      answered = { number: sent.asks, texts: [textOf(sent, viewers, news.saved)] };
      if (asked.number === sent.asks) answered.texts.push(asked.text);
    }
    tell(known);
    change({});
  }

  /** What didn't change stays the same object. */
  function tell(known) {
    const before = store.getSnapshot();
    for (const [part, value] of Object.entries(known)) {
      if (JSON.stringify(value) === JSON.stringify(before[part])) known[part] = before[part];
      else freeze(value);
    }
    store.set(known);
  }

  const isCurrent = ({ base_version: version }, { baseVersion }) => version === baseVersion;
  const isOfOthers = ({ tab_id: tab }) => tab === null || !ownTabs.has(tab);

  /** The number of the question that stands: the answered one's while the answer holds. */
  function question(doing) {
    const { viewers, saved, forecast } = store.getSnapshot();
    if (forecast && !isCurrent(forecast, doing)) store.set({ forecast: null });
    const text = textOf(doing, viewers, saved);
    if (text === undefined || answered.texts.includes(text)) return answered.number;
    if (text !== asked.text) asked = { text, number: (asked.number ?? 0) + 1 };
    return asked.number;
  }

  /** What the server's forecast for this tab depends on. */
  function textOf({ baseVersion, dirtyFields = NOTHING }, viewers, saved) {
    if (baseVersion === undefined) return undefined;
    const ahead = (saved ?? NOTHING)
      .filter((save) => save.lock_version > baseVersion && isOfOthers(save))
      .map(({ lock_version: version, fields }) => [version, ...fields.filter((name) => dirtyFields.includes(name))]);
    const contested = (viewers ?? NOTHING)
      .map(({ id, dirty_fields: theirs = NOTHING }) => [id, ...theirs.filter((name) => dirtyFields.includes(name))])
      .filter(({ length }) => length > 1);
    return JSON.stringify([baseVersion, ahead, contested]);
  }

  const tabId = () => store.getSnapshot().tabId;

  /** A call about a claim, and what its answer says; unless the list came meanwhile, which knows better. */
  async function aboutClaim(field, body, method) {
    const before = store.getSnapshot().claims;
    const answer = await transport.call('claim', { tab_id: tabId(), field, ...body }, method);
    if (store.getSnapshot().claims === before) {
      const { [field]: _, ...others } = before ?? NOBODY;
      const old = before && Object.hasOwn(before, field) ? before[field] : null; // a field may be called "constructor"
      const now = answer.claim ?? (old?.tab_id === tabId() ? null : old);
      tell({ claims: now ? { ...others, [field]: now } : others });
    }
    return answer;
  }

  /** As often as it takes: a version is told once, however often it is heard of. */
  async function tellSave(save) {
    try {
      await transport.call('saved', save);
    } catch (error) {
      if (PASSING.includes(error.kind) && untold.length < MOST_UNTOLD) untold.push(save);
      throw error;
    }
  }

  return {
    take,
    question,

    claim: (field, { takeOver = false } = {}) => aboutClaim(field, { take_over: takeOver }),

    release: (field) => aboutClaim(field, {}, 'DELETE').then(() => {}),

    async announceSaved(lockVersion, fields) {
      change({ baseVersion: lockVersion });
      await tellSave({ tab_id: tabId(), lock_version: lockVersion, fields });
    },
  };
}

function freeze(value) {
  if (value && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(freeze);
  }
  return value;
}
