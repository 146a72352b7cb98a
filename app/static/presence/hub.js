// One event stream for all tabs that one person has open in a browser. Each page has a hub. The hubs elect a leader,
// whose stream serves them all.

import { createEventStream } from './eventStream.js';
import { createFollowers } from './followers.js';
import { identityKey } from './identity.js';
import { createLeaderElection } from './leaderElection.js';
import { createRecovery } from './recovery.js';
import { callWithToken } from './tokens.js';
import { createWatchers } from './watchers.js';

const BROADCAST_MS = 5000; // after which a leader that has sent nothing else says that it is alive
const ASK_MS = 15_000; // between two messages of a follower that say which records it wants
const VISIBLE_ASK_MS = 4000; // the same for a visible page: it notices a stuck leader as soon as a lost stream
const ANSWER_TIMEOUT_MS = 3000; // for the leader's answer
const LATE_MS = 500; // a timer that is later shows that this page was stuck, not the leader

/**
 * A hub's role, and what changes it.
 *
 * - idle: no stream. The page is frozen or gone, or it is hidden where streams can't be shared.
 * - following: the leader passes on what its stream brings.
 * - leading: holds the lock, and streams for all pages.
 * - fallback: streams for this page, since the leader is stuck or has no capacity, until it sends all that is wanted
 *   here.
 * - unshared: streams for this page, since there is nobody to share with.
 */
const TRANSITIONS = {
  idle: { start: 'following', startUnshared: 'unshared' },
  following: { elected: 'leading', notServed: 'fallback', unsupported: 'unshared', release: 'idle' },
  fallback: { elected: 'leading', served: 'following', unsupported: 'unshared', release: 'idle' },
  leading: { unsupported: 'unshared', release: 'idle' },
  unshared: { release: 'idle' },
};
const ROLES_WITH_STREAM = ['leading', 'fallback', 'unshared'];

/**
 * `key` names the person, see identity.js; null: shares with nobody. `onEmpty()` is called when the last watcher has
 * left.
 */
export function createHub({ key, browser, base, credentials, failureOf, presenceError, onEmpty }) {
  const watchers = createWatchers(presenceError);
  const followers = createFollowers(browser); // while we lead
  const recovery = createRecovery({ browser, onRecovered });
  const ownId = browser.newTabId();
  const canShare = !!(key && browser.locks && browser.openChannel);
  const election =
    canShare &&
    createLeaderElection({
      name: key,
      browser,
      onElected,
      onMessage,
      onUnsupported: () => transition('unsupported'),
    });

  // Without Web Locks only visible pages have a stream: a browser has six connections to a host.
  const isForVisible = key && !canShare;

  let role = 'idle';
  let stream = null;
  let isStreamLost = false;
  let isUnsupported = false; // as the last stream found
  let leader = null; // its id, while we follow
  let leaderHeardAt = 0;
  let isAnswered = false; // since we asked the leader
  let broadcastAt = -Infinity; // by us, as the leader
  let tickTimer;
  let askTimer;
  let stopListening = null;

  function transition(event) {
    const next = TRANSITIONS[role][event];
    if (!next) return;
    role = next;
    browser.clearTimer(tickTimer);
    if (ROLES_WITH_STREAM.includes(role)) openStream();
    else closeStream();
  }

  // --- watchers, and the life of the page ---

  function join(watcher) {
    stopListening ??= browser.listen({
      wake,
      glance: () => stream?.checkSilence(),
      hide: () => isForVisible && release(),
      leave: release,
      freeze: release,
    });
    watchers.add(watcher);
    start();
    sendWanted();
  }

  function leave(watcher) {
    if (!watchers.delete(watcher)) return;
    if (!watchers.isEmpty()) {
      sendWanted();
      return;
    }
    release();
    stopListening();
    stopListening = null;
    onEmpty();
  }

  function start() {
    if (role !== 'idle' || (isForVisible && !browser.isVisible())) return;
    if (!canShare) {
      transition('startUnshared');
      return;
    }
    transition('start');
    leaderHeardAt = browser.now();
    election.start(); // may find at once that it can't
    if (role === 'following') askLeader();
  }

  function wake() {
    if (watchers.isEmpty()) return;
    start();
    retry();
  }

  /** Tries again at once what waits for its next try. `isAsked`: by the host. */
  function retry(isAsked = false) {
    wakeStream(isAsked);
    if (role !== 'following') return;
    if (isAsked || !watchers.records().every(watchers.isLive)) election.post({ retry: ownId, isAsked });
    askLeader();
  }

  function wakeStream(isAsked) {
    if (isAsked) isUnsupported = false;
    stream?.wake(isAsked);
  }

  /** The page is frozen or unloaded: if it leads, another one must take over. */
  function release() {
    if (role === 'idle') return;
    if (canShare && role !== 'leading') election.post({ page: ownId, want: [] });
    transition('release');
    browser.clearTimer(askTimer);
    recovery.cancel();
    if (canShare) election.stop();
    followers.clear();
    leader = null;
    watchers.lose(browser.now());
  }

  // --- the stream ---

  function openStream() {
    stream ??= createEventStream({
      browser,
      base,
      credentials,
      sendAuthorized,
      failureOf,
      presenceError,
      onHeard: () => isBroadcastDue() && broadcast({ live: true }),
      onRoster,
      onLost,
      onRefused(error) {
        watchers.onRefused(error);
        broadcast({ refused: { message: error.message, status: error.status } });
      },
      onForbidden(records) {
        watchers.onForbidden(records);
        broadcast({ forbidden: records });
      },
      isUnsupported,
      onUnsupported() {
        isUnsupported = true;
        watchers.onUnsupported();
        broadcast({ live: false, isUnsupported: true });
      },
      onEvent(kind, data) {
        watchers.onEvent(kind, data);
        broadcast({ event: [kind, data] });
      },
    });
    sendWanted();
  }

  function closeStream() {
    const closing = stream;
    stream = null;
    closing?.close();
  }

  function onRoster(record, roster) {
    watchers.show(record, roster);
    broadcast({ rosters: [[record, roster]] });
    if (isStreamLost) onServiceBack();
    isStreamLost = false;
  }

  function onLost(goodUntil) {
    isStreamLost = true;
    watchers.lose(goodUntil);
    broadcast({ live: false, silentMs: browser.now() - goodUntil });
  }

  /** Calls `send` with headers. If another person has signed in meanwhile, the watchers move to that person's hub. */
  function sendAuthorized(send) {
    const watcher = watchers.all().at(-1);
    const sendWith = async (bearer) => {
      if (watcher && key && (await identityKey({ ...watcher, base, browser }).catch(() => null)) !== key) {
        for (const moved of watchers.all()) moved.join();
        throw new Error('Another person has signed in.');
      }
      return send(bearer ? { Authorization: `Bearer ${bearer}` } : {});
    };
    return watcher?.token == null ? sendWith() : callWithToken(watcher.token, browser, sendWith);
  }

  // --- as the leader ---

  function onElected() {
    leader = null;
    transition('elected');
    broadcast({ live: false }); // followers answer with what they want, and one request asks for all of it
    tick();
  }

  const isBroadcastDue = () => browser.now() - broadcastAt > BROADCAST_MS;

  function broadcast(message) {
    if (role !== 'leading') return;
    broadcastAt = browser.now();
    election.post({ lead: ownId, ...message });
  }

  function onFollowerMessage({ page: id, want: records, lacks }) {
    if (role !== 'leading') return;
    followers.update(id, records);
    sendWanted();
    if (!records.length) return;
    if (followers.isCrowdedOut(id)) {
      broadcast({ crowdedOut: id });
      return;
    }
    const rosters = lacks.map((record) => [record, stream.rosterOf(record)]).filter(([, roster]) => roster?.isLive);
    broadcast({ live: stream.isOpen(), rosters, forbidden: lacks.filter(stream.isForbidden) });
  }

  // --- as a follower ---

  /** Tells the stream, or the leader, which records are wanted. */
  function sendWanted() {
    if (role === 'following') {
      // After this turn: records that are added together need one message.
      browser.clearTimer(askTimer);
      askTimer = browser.setTimer(() => role === 'following' && askLeader(), 0);
    } else {
      const own = watchers.records();
      stream?.want(role === 'leading' ? followers.withOwn(own) : own);
    }
  }

  function sendWantedRecords() {
    const want = watchers.records();
    const lacks = role === 'fallback' ? want : want.filter((record) => !watchers.isLive(record));
    election.post({ page: ownId, want, lacks });
  }

  /** Says what is wanted, and finds out soon whether there is a leader that answers. */
  function askLeader() {
    sendWantedRecords();
    browser.clearTimer(tickTimer);
    isAnswered = false;
    const dueAt = browser.now() + ANSWER_TIMEOUT_MS;
    tickTimer = browser.setTimer(() => {
      const isLate = browser.now() - dueAt > LATE_MS;
      if (isAnswered) tickTimer = browser.setTimer(tick, followerAskMs() - ANSWER_TIMEOUT_MS);
      else if (isLate) askLeader();
      else fallBackToOwnStream();
    }, ANSWER_TIMEOUT_MS);
  }

  const followerAskMs = () => (browser.isVisible() ? VISIBLE_ASK_MS : ASK_MS);

  /** The leader is stuck, or has no capacity for us. We go on asking. */
  function fallBackToOwnStream() {
    if (role === 'following') watchers.lose(leaderHeardAt);
    transition('notServed');
    tickTimer = browser.setTimer(tick, ASK_MS);
  }

  function onLeaderMessage({
    lead: id,
    live,
    silentMs = 0,
    rosters = [],
    forbidden = [],
    event,
    refused,
    isUnsupported,
    crowdedOut,
  }) {
    if (role === 'fallback') {
      const served = new Map(rosters);
      const isServed = (record) => served.has(record) || forbidden.includes(record);
      if (!watchers.records().every(isServed)) return;
      transition('served');
      tickTimer = browser.setTimer(tick, followerAskMs());
    }
    if (role !== 'following') return;
    if (crowdedOut) {
      if (crowdedOut === ownId) fallBackToOwnStream();
      return;
    }
    leaderHeardAt = browser.now();
    isAnswered = true;
    if (leader !== id) {
      leader = id;
      sendWantedRecords(); // a new leader doesn't know us
    }
    if (live === false) watchers.lose(leaderHeardAt - silentMs);
    for (const [record, roster] of rosters) watchers.show(record, roster);
    watchers.onForbidden(forbidden);
    if (isUnsupported) watchers.onUnsupported();
    if (event) watchers.onEvent(...event);
    if (refused) watchers.onRefused(presenceError('unauthorized', refused.message, { status: refused.status }));
  }

  // --- in every role ---

  function onMessage(message) {
    if (message.page) onFollowerMessage(message);
    else if (message.lead) onLeaderMessage(message);
    else if (message.retry) wakeStream(message.isAsked);
    else if (message.back) onServiceBack(true);
  }

  function tick() {
    if (role === 'following') {
      askLeader();
      return;
    }
    if (role === 'leading') {
      followers.forgetSilent();
      sendWanted();
      if (isBroadcastDue()) broadcast({ live: stream.isOpen() }); // also while the stream is down
    } else {
      sendWantedRecords();
    }
    tickTimer = browser.setTimer(tick, ASK_MS);
  }

  /** A call of this page was answered again, or another page said so. */
  function onServiceBack(isFromOtherPage = false) {
    if (canShare && !isFromOtherPage && !recovery.isRecent()) election.post({ back: ownId });
    if (role !== 'idle') recovery.schedule();
  }

  function onRecovered() {
    stream?.wake();
    for (const watcher of watchers.all()) watcher.onBack?.();
  }

  return { join, leave, retry: () => retry(true), onServiceBack: () => onServiceBack() };
}
