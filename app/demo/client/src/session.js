// Who this window is: the page's data, and the proof that goes with each call.

export const page = JSON.parse(document.body.dataset.page ?? '{}');

const SHARE_TO_SPEND = 0.5; // of a token's life; then the next one is fetched

let token = page.token;
let renewAt = Date.now() + page.token_seconds * 1000 * SHARE_TO_SPEND;
let renewing = null;

/** The window's token, the next one in time; null in a window that goes by the browser's cookie. */
async function currentToken() {
  if (!token || Date.now() < renewAt) return token;
  // An old token may still be valid: if it is not, the service says so.
  return renewToken().catch(() => token);
}

function renewToken() {
  renewing ??= fetchToken().finally(() => (renewing = null));
  return renewing;
}

async function fetchToken() {
  const response = await fetch(page.token_url);
  const answer = await response.json();
  if (!answer.success) throw new Error(answer.message);
  renewAt = Date.now() + answer.data.token_seconds * 1000 * SHARE_TO_SPEND;
  return (token = answer.data.token);
}

/** What createPresence needs beside type and id. */
export const presenceOptions = token ? { token: currentToken } : {};

/**
 * After `unauthorized`: whether going on makes sense. A window with a token gets the next one; a cookie
 * that became another person's is for the person to decide about.
 */
export async function regainIdentity() {
  if (!token) return false;
  for (let waitMs = 1000; ; waitMs = Math.min(waitMs * 2, 30_000)) {
    await new Promise((resolve) => setTimeout(resolve, waitMs)); // never in a tight circle
    try {
      await renewToken();
      return true;
    } catch {
      // The service is away: so is everything else.
    }
  }
}

export class CallFailed extends Error {
  constructor(status, answer, retryAfterSeconds) {
    super(answer?.message ?? 'The service does not answer.');
    this.status = status;
    this.errors = answer?.errors ?? {};
    this.data = answer?.data;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** A call of the service; gives the answer's data, raises CallFailed (status 0: no answer). */
export async function call(method, url, body) {
  let response;
  let answer;
  try {
    const bearer = await currentToken();
    response = await fetch(url, {
      method,
      headers: {
        Accept: 'application/json',
        ...(body && { 'Content-Type': 'application/json' }),
        ...(bearer
          ? { Authorization: `Bearer ${bearer}` }
          : { 'X-CSRF-TOKEN': document.querySelector('meta[name="csrf-token"]').content }),
      },
      body: body && JSON.stringify(body),
    });
    answer = await response.json();
  } catch {
    throw new CallFailed(response?.status ?? 0);
  }
  if (answer.success) return answer.data;
  throw new CallFailed(response.status, answer, Number(response.headers.get('Retry-After')) || 0);
}
