// Watches records through the hub of the person who watches them. A page has one hub for each person.

import { createHub } from './hub.js';
import { identityKey } from './identity.js';

const MIN_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;

const hubs = new Map(); // by identity key, or by pageKey()

/** As `watch` in stream.d.ts, with a whole browser, and what transport.js makes of answers. */
export function watchRecords({ base, ...options }) {
  const watcher = { ...options, base: base.replace(/\/+$/, ''), join };
  let hub = null;
  let isClosed = false;
  let retryMs = MIN_RETRY_MS;

  /** Joins the hub of the person who is signed in now. */
  async function join() {
    hub?.leave(watcher);
    hub = null;
    let key = null;
    try {
      key = await identityKey(watcher);
    } catch (error) {
      if (error.isAboutToken && error.kind === 'unreachable') {
        joinLater();
        return;
      }
      // The person isn't known: the stream is shared with nobody.
    }
    if (isClosed) return;
    hub = hubOf(key, watcher);
    hub.join(watcher);
  }
  join();

  /** The page has no token yet. */
  function joinLater() {
    watcher.browser.setTimer(() => isClosed || join(), retryMs);
    retryMs = Math.min(2 * retryMs, MAX_RETRY_MS);
  }

  return {
    /** A call of this page was answered again. */
    back: () => hub?.onServiceBack(),
    /** Tries the stream at once, even where the server had none. */
    resume: () => hub?.retry(),
    close() {
      isClosed = true;
      hub?.leave(watcher);
    },
  };
}

function hubOf(key, { browser, base, credentials, token, csrfToken, failureOf, presenceError }) {
  const known = key ?? pageKey(base, credentials, csrfToken, token?.current);
  const hub = hubs.get(known) ?? createHub({ key, browser, base, credentials, failureOf, presenceError, onEmpty });
  function onEmpty() {
    hubs.delete(known);
  }
  hubs.set(known, hub);
  return hub;
}

/** For those who share with no other tab: what this page watches with the same proof is watched by the same person. */
function pageKey(...parts) {
  const isSame = (key) => typeof key !== 'string' && key.every((part, i) => part === parts[i]);
  return [...hubs.keys()].find(isSame) ?? parts;
}
