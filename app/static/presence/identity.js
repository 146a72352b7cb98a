// Which tabs may share a stream: those of the same person, so that no tab is sent what another person may see.

import { bearerOf } from './tokens.js';

const PROTOCOL = 2; // pages with an older script, from before a deploy, have a stream of their own

/** A name for the person; null where it isn't to be shared. Rejects where the person isn't known. */
export async function identityKey({ base, credentials, token, csrfToken, share = true, shareKey, browser }) {
  if (!share) return null;
  let identity = shareKey && ['key', shareKey];
  if (!identity && token != null) {
    identity = ['token', ...claimsOf(await bearerOf(token, browser))];
  } else if (!identity) {
    // The CSRF token of another session when somebody else signs in.
    identity = ['cookie', (await resolve(csrfToken === undefined ? browser.csrfToken : csrfToken)) ?? ''];
  }
  const key = JSON.stringify([PROTOCOL, browser.resolveUrl(base), credentials ?? '', ...identity]);
  return browser.locks && browser.openChannel ? `record-presence:${await browser.digest(key)}` : key;
}

/** Throws for a text that is no JWT. */
function claimsOf(token) {
  const payload = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
  const bytes = Uint8Array.from(payload, (character) => character.charCodeAt(0));
  const { sub, tenant, records } = JSON.parse(new TextDecoder().decode(bytes));
  if (sub === undefined) throw new Error('The token names no user.');
  return [sub, tenant ?? null, records ?? null];
}

/** An option that may be a function. */
const resolve = (option) => (typeof option === 'function' ? option() : option);
