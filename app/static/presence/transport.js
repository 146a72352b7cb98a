// The presence calls over HTTP: what they send, and what an answer means. No timing in here.

/** Why a call failed, by `kind`; presence.js decides what to do about each. */
export function presenceError(kind, message, details) {
  return Object.assign(new Error(message), { name: 'PresenceError', kind, status: 0, ...details });
}

export const timedOut = () => presenceError('unreachable', 'Timed out.');

export function createHttpTransport({ type, id, base, token, csrfToken, credentials, browser }) {
  const url = `${base.replace(/\/+$/, '')}/${encodeURIComponent(type)}/${encodeURIComponent(id)}/`;
  const { fetch } = browser; // called bare: the native one refuses to be a method of something else
  let lastHeaders; // undefined: nothing was ever sent

  /**
   * What fetch takes. Some proxies drop the body of a DELETE: what it says is in the query as well. So is the time, for
   * calls that overtake each other; in the body, a service of an earlier release would refuse it.
   */
  const requestOf = (call, body, method, more) => [
    `${url + call}?${new URLSearchParams({ ...(method && body), sent_at: browser.wallNow() })}`,
    {
      method: method ?? 'POST',
      headers: lastHeaders,
      body: JSON.stringify(body),
      credentials,
      redirect: 'manual',
      ...more,
    },
  ];

  /** Gives the answer's `data`; rejects with a PresenceError. */
  async function send(call, body, method, signal) {
    let response;
    let answer;
    const sendWith = async (bearer) => {
      // The page's own CSRF token is the page's: a service with bearer tokens doesn't get it.
      const csrf = await resolve(csrfToken === undefined && token == null ? browser.csrfToken : csrfToken);
      lastHeaders = {
        'Content-Type': 'application/json',
        Accept: 'application/json',
        ...(bearer && { Authorization: `Bearer ${bearer}` }),
        ...(csrf && { 'X-CSRF-TOKEN': csrf }),
      };
      signal?.throwIfAborted(); // a beat sent after a goodbye would leave a ghost
      return fetch(...requestOf(call, body, method, { signal }));
    };
    try {
      response = await (token == null
        ? sendWith()
        : (await import('./tokens.js')).callWithToken(token, browser, sendWith));
      answer = await response.json().catch(() => {});
    } catch (cause) {
      throw cause?.kind ? cause : presenceError('unreachable', cause?.message, { cause });
    }
    if (response.ok && answer?.success && answer.data) return answer.data;
    throw failureOf(response, answer, browser.wallNow());
  }

  return {
    async heartbeat(body, signal) {
      await browser.workerRequest?.()?.answered;
      return send('heartbeat', body, undefined, signal);
    },

    /** For browserWorker.js: the heartbeat with the last headers. */
    standIn: (body, intervalMs) => lastHeaders && body && { intervalMs, request: requestOf('heartbeat', body) },

    /** Any other: `signal`, `saved`, `claim`. */
    call: send,

    /**
     * Says goodbye, even from a page that is going away: it waits for nothing, so it uses the headers of the last
     * beat. Never rejects: where it fails, the lease ends.
     */
    async leave(tabId) {
      if (!lastHeaders) return;
      try {
        await fetch(...requestOf('unregister', { tab_id: tabId }, 'DELETE', { keepalive: true }));
      } catch {
        // The lease ends.
      }
    },
  };
}

export const resolve = (value) => (typeof value === 'function' ? value() : value);

/** The PresenceError for an answer that is no success. */
export function failureOf(response, answer, wallNow) {
  return presenceError(kindOf(response, answer), answer?.message || `HTTP ${response.status}`, {
    status: response.status,
    errors: answer?.errors,
    retryAfterMs: retryAfterMs(response.headers?.get('Retry-After'), wallNow),
  });
}

function kindOf({ status, type }, answer) {
  // A redirect leads to a sign-in page.
  if (status === 401 || status === 403 || type === 'opaqueredirect') return 'unauthorized';
  if (status === 409) return 'taken';
  if (status === 429) return 'throttled';
  // Without our envelope it is a proxy's answer, which passes.
  const isOurs = answer?.success === false;
  if (status === 422 || (isOurs && status >= 400 && status < 500)) return 'refused';
  return 'unavailable';
}

function retryAfterMs(header, wallNow) {
  if (!header) return undefined;
  const ms = header * 1000 || Date.parse(header) - wallNow;
  return ms > 0 ? ms : undefined;
}
