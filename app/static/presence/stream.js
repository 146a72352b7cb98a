// What happens to records, as it happens: one event stream for all tabs of a browser that are one person.
// Loaded by presence.js when it is needed.

import { createLine } from './line.js';
import { createShare } from './share.js';
import { createReceiver, createSender } from './signals.js';
import { theBrowser } from './browser.js';
import { sharingOf } from './browser-late.js';
import { valueOf } from './transport.js';

const WORD_EVERY_MS = 5000; // at most; the leader also says so when its stream says something
const ASK_EVERY_MS = 15_000;
const PATIENCE_MS = 20_000; // without a word of the leader
const ANSWER_MS = 3000; // for a newcomer's question
const FORGET_MS = 100_000; // a tab that said nothing for so long is gone; a hidden one may be slow
const MAX_RECORDS = 100; // of one stream
const BACK_MS = 500; // the tabs of one browser come back one after the other
const BACK_EVERY_MS = 5000; // at most, where the service comes and goes

const PROTOCOL = 2; // pages with an older script, from before a deploy, have a stream of their own

const hubs = new Map(); // by identity; one for all that this page watches as one person

/** Options and behaviour are in stream.d.ts and README.md. */
export function watch({ base = '/api/v1/presence', browser: ownBrowser, ...options }) {
  const browser = { ...theBrowser(), ...sharingOf(), ...ownBrowser };
  const watcher = { ...options, browser, base: base.replace(/\/+$/, ''), join };
  let hub = null;
  let isClosed = false;

  async function join() {
    hub?.leave(watcher);
    hub = null;
    let key = null;
    try {
      key = await keyOf(watcher);
    } catch {
      // Not known who we are: not shared with anybody.
    }
    if (isClosed) return;
    hub = hubOf(key, watcher);
    hub.join(watcher);
  }
  join();

  return {
    /** A call of this page was answered again. */
    back: () => hub?.comeBack(),
    close() {
      isClosed = true;
      hub?.leave(watcher);
    },
  };
}

/** As createPresence wants it: one record, with who is typing, which it puts into the store. */
export function watchPresence({ record, store, transport, onSignal, onList, ...options }) {
  const browser = { ...theBrowser(), ...options.browser };
  const post = (body) => transport.call('signal', { tab_id: store.getSnapshot().tabId, ...body });
  const receiver = createReceiver({ onSignal, onTyping: (typing) => store.set({ typing }), browser });
  let others = 0;
  const sender = createSender({ post, browser, countOthers: () => others });
  const watcher = watch({
    ...options,
    records: [record],
    onList(_, list) {
      others = list.total;
      if (list.viewers.length === list.total) receiver.keepOnly(list.viewers); // else somebody may be beyond the limit
      onList(list);
    },
    onEvent: (kind, data) => kind === 'signal' && receiver.receive(data),
  });
  return {
    signal: sender.signal,
    back: watcher.back,
    close() {
      watcher.close();
      sender.stop();
      receiver.stop();
    },
  };
}

// --- who shares with whom ---

/** Names the person, so that no tab is told what another person may see; null where that isn't known. */
async function keyOf({ base, credentials, token, csrfToken, share = true, shareKey, browser }) {
  if (!share) return null;
  let identity = shareKey && ['key', shareKey];
  if (!identity && token !== undefined) {
    identity = ['token', ...claimsOf(await valueOf(token))];
  } else if (!identity) {
    // Of another session when somebody else signs in.
    identity = ['cookie', (await valueOf(csrfToken === undefined ? browser.csrfToken : csrfToken)) ?? ''];
  }
  const key = JSON.stringify([PROTOCOL, browser.resolveUrl(base), credentials ?? '', ...identity]);
  return browser.locks && browser.openChannel ? `record-presence:${await browser.digest(key)}` : key;
}

/** Raises what a text that is no JWT leads to. */
function claimsOf(token) {
  const payload = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
  const bytes = Uint8Array.from(payload, (character) => character.charCodeAt(0));
  const { sub, tenant, records } = JSON.parse(new TextDecoder().decode(bytes));
  if (sub === undefined) throw new Error('A token of nobody.');
  return [sub, tenant ?? null, records ?? null];
}

function hubOf(key, { browser, base, credentials }) {
  const known = key && hubs.get(key);
  if (known) return known;
  const hub = createHub({ key, browser, base, credentials, onEmpty: () => key && hubs.delete(key) });
  if (key) hubs.set(key, hub);
  return hub;
}

// --- the hub ---

function createHub({ key, browser, base, credentials, onEmpty }) {
  const watchers = new Set();
  const pages = new Map(); // other pages, while we lead: id -> { names, heardAt }
  const shown = new Map(); // name -> the list as our watchers know it
  const self = browser.newTabId();
  const canShare = !!(key && browser.locks && browser.openChannel);
  const share =
    canShare && createShare({ name: key, browser, onLead: lead, onMessage: hear, onFail: () => goAlone('alone') });

  // Without Web Locks only tabs that are seen have a stream: a browser has six connections to a host.
  const isForSeen = key && !canShare;

  // alone: nobody to share with. following: the leader tells us. solo: it doesn't, so we do without.
  let role = 'idle';
  let line = null;
  let leader = null; // its id, while we follow
  let heardAt = 0; // the leader
  let isAnswered = false; // since we asked
  let saidAt = -Infinity; // by us, when we lead
  let isDown = false; // our stream is lost
  let backAt = -Infinity; // the last time that we came back
  let tickTimer;
  let joinTimer;
  let backTimer = null;
  let stopListening = null;

  const ownNames = () => [...new Set([...watchers].flatMap(({ records }) => records))];
  const watchersOf = (name) => [...watchers].filter(({ records }) => records.includes(name));

  function join(watcher) {
    watchers.add(watcher);
    stopListening ??= browser.listen({
      wake,
      glance: () => line?.glance(),
      hide: () => isForSeen && letGo(),
      leave: letGo,
      freeze: letGo,
    });
    for (const name of watcher.records) {
      const list = shown.get(name);
      if (list?.isLive) watcher.onList(name, list);
    }
    begin();
    update();
  }

  function leave(watcher) {
    if (!watchers.delete(watcher)) return;
    for (const name of shown.keys()) if (!watchersOf(name).length) shown.delete(name);
    if (watchers.size) {
      update();
      return;
    }
    letGo();
    stopListening();
    stopListening = null;
    onEmpty();
  }

  // --- roles ---

  function begin() {
    if (role !== 'idle' || (isForSeen && !browser.isVisible())) return;
    if (!canShare) {
      goAlone('alone');
      return;
    }
    role = 'following';
    heardAt = browser.now();
    share.start(); // may find that it can't
    if (role === 'following') ask();
  }

  function lead() {
    role = 'leading';
    leader = null;
    say({ live: false });
    openLine();
    // Those who are there tell what they want; one request for all of them.
    browser.clearTimer(tickTimer);
    tick();
  }

  function goAlone(as) {
    browser.clearTimer(tickTimer);
    role = as;
    openLine();
  }

  function follow() {
    role = 'following';
    closeLine();
  }

  /** The page stands still or goes: another one shall lead. */
  function letGo() {
    if (role === 'idle') return;
    if (share && role !== 'leading') share.post({ page: self, want: [] });
    role = 'idle';
    browser.clearTimer(tickTimer);
    browser.clearTimer(joinTimer);
    browser.clearTimer(backTimer);
    backTimer = null;
    closeLine();
    if (share) share.stop();
    pages.clear();
    leader = null;
    lose(browser.now());
  }

  function wake() {
    if (!watchers.size) return;
    begin();
    line?.wake();
    if (role === 'following') ask();
  }

  /**
   * The service answers again, as this page found, or another one that said so: whatever waits for its next try goes
   * on at once. Who has just come back need not say it.
   */
  function comeBack(isSaid = false) {
    if (share && !isSaid && browser.now() - backAt > BACK_EVERY_MS) share.post({ back: self });
    if (backTimer !== null || role === 'idle') return;
    const waitMs = Math.max(0, backAt + BACK_EVERY_MS - browser.now()) + BACK_MS * browser.random();
    backTimer = browser.setTimer(() => {
      backTimer = null;
      backAt = browser.now();
      line?.wake();
      for (const watcher of [...watchers]) watcher.onBack?.();
    }, waitMs);
  }

  function openLine() {
    line ??= createLine({
      browser,
      base,
      credentials,
      authorize,
      onHeard: () => role === 'leading' && browser.now() - saidAt > WORD_EVERY_MS && say({ live: true }),
      onRoster(name, roster) {
        show(name, roster);
        say({ rosters: [[name, roster]] });
        if (isDown) comeBack();
        isDown = false;
      },
      onLost(at) {
        isDown = true;
        lose(at);
        say({ live: false, silentMs: browser.now() - at });
      },
      onRefused(error) {
        refuse(error);
        say({ refused: { message: error.message, status: error.status } });
      },
      onEvent(kind, data) {
        tell(kind, data);
        say({ event: [kind, data] });
      },
    });
    update();
  }

  function closeLine() {
    const closing = line;
    line = null;
    closing?.close();
  }

  /** Headers for the stream; another person's tab by now goes to another hub. */
  async function authorize() {
    const [watcher] = [...watchers].slice(-1);
    const bearer = await valueOf(watcher?.token);
    if (watcher && key && (await keyOf({ ...watcher, base, browser }).catch(() => null)) !== key) {
      for (const moved of [...watchers]) moved.join();
      throw new Error('Somebody else by now.');
    }
    return bearer ? { Authorization: `Bearer ${bearer}` } : {};
  }

  // --- which records ---

  function update() {
    if (role === 'following') {
      // After this turn: records that come together are one question.
      browser.clearTimer(joinTimer);
      joinTimer = browser.setTimer(() => role === 'following' && ask(), 0);
    } else {
      line?.want(role === 'leading' ? union() : ownNames());
    }
  }

  /** Our own first; a page that finds no room streams for itself. */
  function union() {
    const names = new Set(ownNames());
    for (const page of pages.values()) {
      page.isCrowdedOut = new Set([...names, ...page.names]).size > MAX_RECORDS;
      if (!page.isCrowdedOut) page.names.forEach((name) => names.add(name));
    }
    return [...names];
  }

  // --- what is said between pages ---

  /** As the leader, to all. */
  function say(message) {
    if (role !== 'leading') return;
    saidAt = browser.now();
    share.post({ lead: self, ...message });
  }

  /** As one who doesn't lead. */
  function tellWants() {
    const want = ownNames();
    share.post({ page: self, want, lacks: role === 'solo' ? want : want.filter((name) => !shown.get(name)?.isLive) });
  }

  /** As a follower who lacks something: see soon whether anybody leads. */
  function ask() {
    tellWants();
    browser.clearTimer(tickTimer);
    isAnswered = false;
    const isContent = leader && ownNames().every((name) => shown.get(name)?.isLive);
    const look = () => (isAnswered ? tick() : despair());
    tickTimer = isContent ? browser.setTimer(tick, ASK_EVERY_MS) : browser.setTimer(look, ANSWER_MS);
  }

  function tick() {
    const now = browser.now();
    if (role === 'leading') {
      for (const [id, page] of pages) if (now - page.heardAt > FORGET_MS) pages.delete(id);
      update();
      if (now - saidAt > WORD_EVERY_MS) say({ live: line.isOpen() }); // also while the stream can't be had
    } else if (role === 'following' && now - heardAt > PATIENCE_MS) {
      despair();
      return;
    } else {
      tellWants();
    }
    tickTimer = browser.setTimer(tick, ASK_EVERY_MS);
  }

  /** Whoever leads is stuck, or has no room for us. */
  function despair() {
    if (role === 'following') {
      lose(heardAt);
      goAlone('solo');
    }
    tickTimer = browser.setTimer(tick, ASK_EVERY_MS); // we go on asking
  }

  function hear(message) {
    if (message.page) hearPage(message);
    else if (message.lead) hearLeader(message);
    else if (message.back) comeBack(true);
  }

  function hearPage({ page: id, want: names, lacks }) {
    if (role !== 'leading') return;
    if (names.length) pages.set(id, { names, heardAt: browser.now() });
    else pages.delete(id);
    update();
    const page = pages.get(id);
    if (!page) return;
    if (page.isCrowdedOut) {
      say({ crowdedOut: id });
      return;
    }
    const rosters = lacks.map((name) => [name, line.rosterOf(name)]).filter(([, roster]) => roster?.isLive);
    say({ live: line.isOpen(), rosters });
  }

  function hearLeader({ lead: id, live, silentMs = 0, rosters = [], event, refused, crowdedOut }) {
    if (role === 'solo') {
      // Believed again once it has all that we want.
      const told = new Map(rosters);
      if (!ownNames().every((name) => told.has(name))) return;
      follow();
    }
    if (role !== 'following') return;
    if (crowdedOut) {
      if (crowdedOut === self) {
        browser.clearTimer(tickTimer);
        despair();
      }
      return;
    }
    heardAt = browser.now();
    isAnswered = true;
    if (leader !== id) {
      leader = id;
      tellWants(); // the new one doesn't know us
    }
    if (live === false) lose(heardAt - silentMs);
    for (const [name, roster] of rosters) show(name, roster);
    if (event) tell(...event);
    if (refused) refuse(Object.assign(new Error(refused.message), { ...refused, name: 'PresenceError', kind: 'unauthorized' }));
  }

  // --- what our watchers are told ---

  function show(name, roster) {
    const interested = watchersOf(name);
    if (!interested.length) return;
    const before = shown.get(name);
    shown.set(name, { ...roster, isLive: true });
    if (before?.isLive && before.version === roster.version && before.viewers === roster.viewers) return;
    for (const watcher of interested) watcher.onList(name, roster);
  }

  function lose(at) {
    const lost = [...shown].filter(([, list]) => list.isLive);
    for (const [, list] of lost) list.isLive = false;
    const names = lost.map(([name]) => name);
    for (const watcher of [...watchers]) {
      if (watcher.records.some((name) => names.includes(name))) watcher.onLost?.(at);
    }
  }

  function tell(kind, data) {
    for (const watcher of watchersOf(data.record)) watcher.onEvent?.(kind, data);
  }

  function refuse(error) {
    for (const watcher of [...watchers]) watcher.onRefused?.(error);
  }

  return { join, leave, comeBack: () => comeBack() };
}
