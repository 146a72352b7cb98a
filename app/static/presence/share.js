// Who of the tabs of one browser leads: whoever holds a Web Lock. They talk over a BroadcastChannel.

/**
 * `onLead()` is called when this page got the lock, `onMessage(message)` with what other pages post, `onFail()`
 * where the browser doesn't let us, as in a sandboxed frame.
 */
export function createShare({ name, browser, onLead, onMessage, onFail }) {
  let channel = null;
  let asking = null;
  let release = null;

  function start() {
    if (channel) return;
    try {
      channel = browser.openChannel(name);
      channel.onmessage = ({ data }) => onMessage(data);
      asking = new AbortController();
      const { signal } = asking;
      browser.locks
        .request(name, { signal }, () => {
          if (signal.aborted) return undefined; // it came while we let go
          onLead();
          return new Promise((resolve) => (release = resolve));
        })
        .catch(() => signal.aborted || fail());
    } catch {
      fail();
    }
  }

  function fail() {
    stop();
    onFail();
  }

  /** Let go of the lead, or of the wish for it. */
  function stop() {
    asking?.abort();
    release?.();
    channel?.close();
    asking = release = channel = null;
  }

  return { start, stop, post: (message) => channel?.postMessage(message) };
}
