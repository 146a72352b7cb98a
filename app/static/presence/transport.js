// The presence calls over HTTP: what they send and what an answer means. No timing in here.

/** Why a call failed, by `kind`; presence.js decides what to do about each. */
export function presenceError(kind, message, details) {
  return Object.assign(new Error(message), { name: 'PresenceError', kind, status: 0, ...details });
}

export const timedOut = () => presenceError('unreachable', 'No answer in time.');

export function createHttpTransport({ type, id, base, token, csrfToken, credentials, browser }) {
  const url = `${base.replace(/\/+$/, '')}/${encodeURIComponent(type)}/${encodeURIComponent(id)}/`;
  const { fetch } = browser; // called bare: the native one refuses to be a method of something else
  let lastHeaders; // none: nothing was ever sent

  async function headers() {
    const bearer = await valueOf(token);
    // The page's own CSRF token is the page's: a service with bearer tokens doesn't get it.
    const csrf = await valueOf(csrfToken === undefined && token === undefined ? browser.csrfToken : csrfToken);
    return (lastHeaders = {
      'Content-Type': 'application/json',
      Accept: 'application/json',
      ...(bearer && { Authorization: `Bearer ${bearer}` }),
      ...(csrf && { 'X-CSRF-TOKEN': csrf }),
    });
  }

  /** Returns the answer's `data`; raises a PresenceError. */
  async function post(call, body, signal, method = 'POST') {
    let response;
    let answer;
    try {
      const head = await headers();
      if (signal?.aborted) throw new Error('Given up.'); // a beat sent after a goodbye would be a ghost
      response = await fetch(url + call, {
        method,
        headers: head,
        body: JSON.stringify(body),
        credentials,
        redirect: 'manual',
        signal,
      });
      answer = await response.json().catch(() => null);
    } catch (cause) {
      throw presenceError('unreachable', cause?.message ?? 'Unreachable.', { cause });
    }
    if (response.ok && answer?.success && answer.data) return answer.data;
    throw failureOf(response, answer, browser.wallNow());
  }

  return {
    heartbeat: (body, signal) => post('heartbeat', body, signal),

    /** Any other: `signal`, `saved`, `claim`. */
    call: (call, body, method) => post(call, body, undefined, method),

    /**
     * Says goodbye, also from a page that is going away: it waits for nothing, so with the headers of
     * the last beat. Never fails; the lease ends what it couldn't.
     */
    async leave(tabId) {
      if (!lastHeaders) return;
      try {
        await fetch(url + 'unregister', {
          method: 'DELETE',
          headers: lastHeaders,
          body: JSON.stringify({ tab_id: tabId }),
          credentials,
          keepalive: true,
        });
      } catch {
        // The lease ends it.
      }
    },
  };
}

export const valueOf = (value) => (typeof value === 'function' ? value() : value);

/** What an answer that is no success means. */
export function failureOf(response, answer, wallNow) {
  return presenceError(kindOf(response, answer), answer?.message || `HTTP ${response.status}`, {
    status: response.status,
    errors: answer?.errors,
    retryAfterMs: retryAfterMs(response.headers?.get('Retry-After'), wallNow),
  });
}

function kindOf({ status, type }, answer) {
  // A redirect leads to a page for people to sign in.
  if (status === 401 || status === 403 || type === 'opaqueredirect') return 'unauthorized';
  if (status === 409) return 'taken';
  if (status === 429) return 'throttled';
  // Without our envelope it wasn't us who answered, but a proxy: it passes.
  const isOurs = answer?.success === false;
  if (status === 422 || (isOurs && status >= 400 && status < 500)) return 'refused';
  return 'unavailable';
}

function retryAfterMs(header, wallNow) {
  if (!header) return undefined;
  const ms = /^\d+$/.test(header) ? header * 1000 : Date.parse(header) - wallNow;
  return ms > 0 ? ms : undefined;
}
