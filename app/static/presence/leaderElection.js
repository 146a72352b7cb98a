// Elects the leader among the pages of one browser: the one that holds a Web Lock. They talk over a BroadcastChannel.

/**
 * `onElected()` is called when this page leads, `onMessage(message)` with what another page posts, and
 * `onUnsupported()` where the browser forbids it, as in a sandboxed frame.
 */
export function createLeaderElection({ name, browser, onElected, onMessage, onUnsupported }) {
  let channel = null;
  let candidacy = null; // an AbortController
  let resign = null;

  function start() {
    if (channel) return;
    try {
      channel = browser.openChannel(name);
      channel.onmessage = ({ data }) => onMessage(data);
      candidacy = new AbortController();
      const { signal } = candidacy;
      browser.locks
        .request(name, { signal }, () => {
          if (signal.aborted) return undefined; // the lock came after stop()
          onElected();
          return new Promise((resolve) => (resign = resolve)); // the lock is held until it resolves
        })
        .catch(() => signal.aborted || fail());
    } catch {
      fail();
    }
  }

  function fail() {
    stop();
    onUnsupported();
  }

  /** Gives up the lead, or the wait for it. */
  function stop() {
    candidacy?.abort();
    resign?.();
    channel?.close();
    candidacy = resign = channel = null;
  }

  return { start, stop, post: (message) => channel?.postMessage(message) };
}
