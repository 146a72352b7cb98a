// Why nothing is known of the viewers, in one line for who builds the page. Loaded by presence.js when calls have
// failed from the start.

import { sharingOf } from './browser-late.js';

export function hint({ viewers, error }, options) {
  if (viewers || !error) return;
  console.warn(`Record Presence doesn't know who is here. ${reasonOf(error, options)}`);
}

function reasonOf({ status, message }, { base, token, csrfToken, browser }) {
  const { resolveUrl } = { ...sharingOf(), ...browser };
  const [origin, ownOrigin] = [base, '/'].map((url) => new URL(resolveUrl(url)).origin);
  if (!status && origin !== ownOrigin) {
    return (
      `${origin} gave no answer, or none that this page may read: PRESENCE_CORS_ORIGINS there must name ` +
      `${ownOrigin}, and a Content Security Policy here must allow it (connect-src).`
    );
  }
  if (!status) return `No answer from ${origin}: ${message}`;
  const said = `The service says ${status} (${message}):`;
  if (status === 404) return `There is no service at ${base} (404). See the option "base".`;
  if (token !== undefined && [401, 403].includes(status)) return `${said} see the option "token".`;
  if (status === 401) return `${said} nobody is signed in, or the cookie isn't sent; or see the option "token".`;
  if (status !== 403) return said.replace(/:$/, '.');
  const hasCsrf = csrfToken !== undefined || browser.csrfToken();
  return hasCsrf
    ? `${said} the CSRF token is not this session's, or this person may not see the record.`
    : `${said} the page has no <meta name="csrf-token">.`;
}
