// Tells when somebody waits for a field that this tab has, and when one was passed on to it or from it.

const isSame = (one, other) => !!one && one.tab_id === other.tab_id && one.since === other.since;
const userKey = ({ id, agent }) => JSON.stringify([id, agent?.for.id]); // as in store.js
const overlap = (one, other) => one === other || one === '*' || other === '*';

/** Gives `follow(claims, tabId)`, to be called with each new list of claims. */
export function createHandOver(emit) {
  let own = new Map(); // field -> claim of this tab, also of before as long as nobody else is known to have the field

  return (claims, tabId) => {
    const before = own;
    own = new Map(before);
    for (const [field, claim] of Object.entries(claims)) {
      if (claim.tab_id === tabId) own.set(field, claim);
      else for (const name of before.keys()) if (overlap(name, field)) own.delete(name);
    }
    for (const [field, claim] of Object.entries(claims)) {
      const isMine = claim.tab_id === tabId;
      const known = isSame(before.get(field), claim) ? before.get(field) : null;
      const wasOwn = ([name, { user }]) => overlap(name, field) && userKey(user) === userKey(claim.passed_from);
      if (claim.passed_from && !known && (isMine || [...before].some(wasOwn))) emit('passed', { field, claim, isMine });
      for (const waiting of (isMine && claim.waiting) || []) {
        const isKnown = known?.waiting?.some((other) => isSame(other, waiting) && other.field === waiting.field);
        if (!isKnown) emit('asked', { field, claim, waiting });
      }
    }
  };
}
