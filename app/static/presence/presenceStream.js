// The stream as createPresence uses it: one record, and who is typing in it. Loaded by presence.js after the first
// answer. Neither this nor what it imports may import a module of the core: bundlers would cut the core in two, and it
// would no longer fit its budget.

import { sharingOf } from './browserSharing.js';
import { watchRecords } from './hubs.js';
import { createReceiver, createSender } from './signals.js';

const EMPTY_VERSION = '0'; // of a record that nobody has open
const EMPTY_SPREAD_MS = 1000;

/** `heartbeat`, `freshness`, `lifecycle` and the others are the parts of a presence, as presence.js names them. */
export function watchPresence({
  record,
  store,
  transport,
  heartbeat,
  freshness,
  lifecycle,
  emit,
  withConflicts,
  ...options
}) {
  const browser = { ...sharingOf(), ...options.browser };
  const post = (body) => transport.call('signal', { tab_id: store.getSnapshot().tabId, ...body });
  const receiver = createReceiver({
    onSignal: (signal) => emit('signal', signal),
    onTyping: (typing) => store.set({ typing }),
    browser,
  });
  let others = 0;
  let isListed = false; // by the stream, and so not by heartbeats
  const sender = createSender({ post, browser, countOthers: () => others });

  function onList(_, list) {
    others = list.total;
    if (list.viewers.length === list.total) receiver.keepOnly(list.viewers); // else someone may be beyond the limit
    if (!lifecycle.isActive()) return;
    freshness.onStreamedList(list);
    isListed = true;
    withConflicts('apply', list).catch(() => {});
    // Not even this tab has it open: Redis has lost its data, and every tab has to come back.
    if (list.version === EMPTY_VERSION) heartbeat.schedule(EMPTY_SPREAD_MS * browser.random());
  }

  const watcher = watchRecords({
    ...options,
    browser,
    records: [record],
    onList,
    onEvent: (kind, data) => kind === 'signal' && receiver.receive(data),
    onLost: freshness.onStreamLost,
    onBack: heartbeat.endBackOff,
    onUnsupported() {
      if (isListed) heartbeat.beatSoon(); // which asks for the list
      isListed = false;
    },
    onRefused: () => heartbeat.beatSoon(), // the beat asks for this record alone, and its answer decides
  });
  return {
    /** Sent only while there are other viewers. */
    signal: (kind, data = null) => store.getSnapshot().viewers?.length && sender.signal(kind, data),
    back: watcher.back,
    resume: watcher.resume,
    close() {
      watcher.close();
      freshness.onStreamClosed();
      sender.stop();
      receiver.stop();
    },
  };
}
