// The list of one record, with its saves and claims, kept by the events of a stream.

const MOST_SAVES = 50; // as many as the service remembers

/**
 * The list after an event; null when the event can't be applied, since its snapshot is missing.
 *
 * The server cuts a list at its limit, and `total` counts also those beyond. So somebody who joins is
 * listed only where the list is whole; where somebody moves up into it, the server sends a snapshot.
 * `unconfirmed`: Redis has lost its data, and some who are listed have not come back yet.
 */
export function applyEvent(roster, kind, event) {
  const { viewers, viewer, total, version, saved = [], claims = {}, unconfirmed } = event;
  if (kind === 'snapshot') return { viewers, total, version, saved, claims, ...(unconfirmed && { unconfirmed }) };
  if (!roster) return null;
  if (kind === 'claims') return { ...roster, claims, version };
  if (kind === 'saved') return { ...roster, saved: [...roster.saved, saveOf(event)].slice(-MOST_SAVES), version };
  return { ...roster, viewers: changed(roster.viewers, kind, viewer, total), total, version };
}

const saveOf = ({ lock_version, fields, user, tab_id, saved_at }) => ({ lock_version, fields, user, tab_id, saved_at });

function changed(viewers, kind, viewer, total) {
  const place = viewers.findIndex(({ id }) => id === viewer.id); // 42 and "42" are two people
  if (kind === 'leave') return viewers.filter((_, i) => i !== place);
  if (place >= 0) return viewers.map((old, i) => (i === place ? viewer : old));
  return kind === 'join' && viewers.length + 1 === total ? [...viewers, viewer] : viewers;
}
