// Asks before a page with unsaved changes is left.

function ask(event) {
  event.preventDefault();
  event.returnValue = true; // for browsers older than 2023
}

/** While `isDirty`, the browser asks. Not all the time: a page that listens is kept out of some back/forward caches. */
export function askBeforeLeaving(isDirty) {
  if (isDirty) addEventListener('beforeunload', ask);
  else removeEventListener('beforeunload', ask);
}

/** For a user who has chosen to: they aren't asked twice. */
export function reload() {
  askBeforeLeaving(false);
  location.reload();
}
