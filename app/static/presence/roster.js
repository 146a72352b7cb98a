// The list of one record, kept by the events of a stream.

/**
 * The list after an event; null when the event can't be applied, since its snapshot is missing.
 *
 * The server cuts a list at its limit, and `total` counts also those beyond. So somebody who joins is
 * listed only where the list is whole; where somebody moves up into it, the server sends a snapshot.
 * `unconfirmed`: Redis has lost its data, and some who are listed have not come back yet.
 */
export function applyEvent(roster, kind, { viewers, viewer, total, version, unconfirmed }) {
  const mark = (kind === 'snapshot' ? unconfirmed : roster?.unconfirmed) && { unconfirmed: true };
  if (kind === 'snapshot') return { viewers, total, version, ...mark };
  if (!roster) return null;
  return { viewers: changed(roster.viewers, kind, viewer, total), total, version, ...mark };
}

function changed(viewers, kind, viewer, total) {
  const place = viewers.findIndex(({ id }) => id === viewer.id); // 42 and "42" are two people
  if (kind === 'leave') return viewers.filter((_, i) => i !== place);
  if (place >= 0) return viewers.map((old, i) => (i === place ? viewer : old));
  return kind === 'join' && viewers.length + 1 === total ? [...viewers, viewer] : viewers;
}
