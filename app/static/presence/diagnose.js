// Tells the developer, in one line in the console, why nothing is known of the viewers. For calls that have failed
// from the start.

import { sharingOf } from './browserSharing.js';

export function diagnose({ viewers, error }, options) {
  if (viewers || !error) return;
  console.warn(`Record Presence doesn't know who is here. ${reasonOf(error, options)}`);
}

function reasonOf({ kind, status, message, isAboutToken }, { base, token, csrfToken, browser }) {
  const { resolveUrl } = { ...sharingOf(), ...browser };
  const [origin, ownOrigin] = [base, '/'].map((url) => new URL(resolveUrl(url)).origin);
  if (isAboutToken) return message;
  if (!status && kind === 'unauthorized') return `${origin} redirects to another page: nobody is signed in.`;
  if (!status && origin !== ownOrigin) {
    return (
      `${origin} gave no answer, or none that this page may read: PRESENCE_CORS_ORIGINS there must name ` +
      `${ownOrigin}, and a Content Security Policy here must allow it (connect-src).`
    );
  }
  if (!status) return `No answer from ${origin}: ${message}`;
  const said = `The service says ${status} (${message}):`;
  if (status < 400)
    return `${origin} answers with a page (${status}), which is not the service's: to sign in, or a proxy's.`;
  if (status === 404) return `There is no service at ${base} (404). See the option "base".`;
  if (token != null && [401, 403].includes(status)) return `${said} see the option "token".`;
  if (status === 401) return `${said} nobody is signed in, or the cookie isn't sent; or see the option "token".`;
  if (status !== 403) return said.replace(/:$/, '.');
  const hasCsrfToken = csrfToken !== undefined || browser.csrfToken();
  return hasCsrfToken
    ? `${said} the CSRF token is not this session's, or this person may not see the record.`
    : `${said} the page has no <meta name="csrf-token">.`;
}
