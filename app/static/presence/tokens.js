// Bearer tokens: asked for when one is needed, and kept until shortly before they expire or until one is refused.
// Loaded by transport.js before the first call with a token.

const RENEW_BEFORE_EXPIRY_MS = 5000;
const PENDING_MS = 10_000; // a function that takes longer is asked again
const MIN_ASK_MS = 5000; // for another token than the refused one
const CLOCK_DIFFERENCE_MS = 10_000; // for which a token that has just expired, by the server's clock, may still be given
const MAX_ASK_MS = 300_000;
const TOKEN = /^(?!<)[!-~]+$/; // no text with spaces or lines, and no page

/**
 * The option `token` of one presence is kept as `{ current }`, with what is known of it beside it: `token`, `usableUntil`,
 * `pending`, `askedAt`, `sent`, `isRefusedTwice`, and `isStale` where it is to be asked for anew. Not kept by the host's
 * function, or by the URL: the next presence with it may be another person's.
 */

/** Not by transport.js: what is loaded late can't import the core. */
const tokenError = (kind, message, cause) =>
  Object.assign(new Error(`The option "token" ${message}.`), {
    name: 'PresenceError',
    kind,
    status: 0,
    isAboutToken: true,
    cause,
  });

/**
 * The token to send; another one than `refused`, if there is. Rejects with `unauthorized` for what is no token, such as
 * a sign-in page, and with `unreachable` where there is none yet.
 */
export async function bearerOf(option, browser, refused) {
  let source = option;
  while (source && typeof source === 'object' && !source.url) source = source.current;
  if (source?.url) source = fetchToken.bind(null, source.url, browser.fetch);
  const given = typeof source === 'function' ? await askOnce(source, option, browser, refused) : source;
  const text = String(given ?? '').trim();
  if (TOKEN.test(text)) {
    option.sent = text;
    return text;
  }
  option.token = option.sent = null;
  if (!text) throw tokenError('unreachable', 'has given no token yet');
  throw tokenError('unauthorized', 'gave something that is no token');
}

async function askOnce(ask, known, browser, refused) {
  if (known.isStale) known.token = known.pending = known.isStale = null;
  if (known.token && known.token !== refused && browser.wallNow() < known.usableUntil) return known.token;
  if (known.pending && browser.now() - known.askedAt < PENDING_MS) return known.pending;
  known.askedAt = browser.now();
  const asked = askFor(ask, known);
  known.pending = asked;
  try {
    return await asked;
  } finally {
    if (known.pending === asked) known.pending = null;
  }
}

async function askFor(ask, known) {
  try {
    known.token = await ask();
  } catch (cause) {
    throw cause?.isAboutToken ? cause : tokenError('unreachable', `failed: ${cause?.message}`, cause);
  }
  known.usableUntil = usableUntil(known.token);
  return known.token;
}

/** What the page's own server answers: the token as text, or JSON, `{ "token": "…" }`. */
async function fetchToken(url, fetch) {
  const options = { headers: { Accept: 'application/json, text/plain' }, cache: 'no-store' };
  const response = await fetch(url, options).catch(async (cause) => {
    // A redirect to a sign-in page of another origin fails like a network that is away.
    if ((await fetch(url, { ...options, redirect: 'manual' })).type !== 'opaqueredirect') throw cause;
    throw tokenError('unauthorized', `got a redirect to another origin from ${url}`);
  });
  const isSignedOut = response.status === 401 || response.status === 403;
  if (isSignedOut) throw tokenError('unauthorized', `got ${response.status} from ${url}`);
  if (!response.ok) throw new Error(`${url} answered ${response.status}`); // asked again soon
  const text = await response.text();
  try {
    const answer = JSON.parse(text);
    return typeof answer === 'string' ? answer : answer?.token;
  } catch {
    return text;
  }
}

/** Without a readable `exp`: until it is refused. */
const usableUntil = (token) => expiryOf(token) - RENEW_BEFORE_EXPIRY_MS;

/** In ms since 1970; Infinity without a readable `exp`. */
function expiryOf(token) {
  try {
    const { exp } = JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
    return exp > 0 ? exp * 1000 : Infinity;
  } catch {
    return Infinity;
  }
}

/** `call(bearer)` gives a Response. Where it is 401, once more with a new token, if there is one. */
export async function callWithToken(option, browser, call) {
  const bearer = await bearerOf(option, browser);
  const response = await call(bearer);
  if (response?.status !== 401) return response;
  const renewed = await bearerOf(option, browser, bearer);
  if (renewed === bearer) {
    // A host that keeps its token until the end, by its own clock, has the next one in a moment.
    const isJustExpired = Math.abs(browser.wallNow() - expiryOf(bearer)) < CLOCK_DIFFERENCE_MS;
    if (isJustExpired) throw tokenError('unreachable', 'has given no new token yet');
    return response;
  }
  const last = await call(renewed);
  option.isRefusedTwice = last?.status === 401;
  return last;
}

/**
 * After `error`, the refusal that stopped a presence: resumes it once there is another token. Asks less and less often,
 * and not at all where new tokens are refused as well. Over as soon as the presence has another error, or none.
 */
export async function resumeWhenRenewed(error, option, browser, store, resume) {
  const { sent, isRefusedTwice } = option;
  option.token = null;
  if (isRefusedTwice || error.status === 403) return;
  const isOver = () => store.getSnapshot().error !== error;
  for (let waitMs = MIN_ASK_MS; ; waitMs = Math.min(2 * waitMs, MAX_ASK_MS)) {
    await new Promise((onDue) => browser.setTimer(onDue, waitMs));
    if (isOver()) return;
    const token = await bearerOf(option, browser, sent).catch(() => sent);
    if (isOver()) return;
    if (token !== sent) {
      resume();
      return;
    }
  }
}
