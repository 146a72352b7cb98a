// The lists of viewers, with their saves and claims, kept by the events of a stream.

const MAX_SAVES = 50; // as many as the service remembers
const EMPTY_VERSION = '0'; // of every record that nobody has open

/**
 * A list after an event; null when the event can't be applied, since its snapshot is missing.
 *
 * The server cuts a list at its limit, and `total` also counts those beyond. So a viewer who joins is listed only
 * if the list is complete; when one moves up into it, the server sends a snapshot. `unconfirmed`: Redis has lost its
 * data, and some who are listed have not come back yet.
 */
export function applyEvent(roster, kind, event) {
  const { viewers, viewer, total, version, saved = [], claims = {}, unconfirmed } = event;
  if (kind === 'snapshot') return { viewers, total, version, saved, claims, ...(unconfirmed && { unconfirmed }) };
  if (!roster) return null;
  if (kind === 'claims') return { ...roster, claims, version };
  if (kind === 'saved') return { ...roster, saved: [...roster.saved, saveOf(event)].slice(-MAX_SAVES), version };
  return { ...roster, viewers: applyToViewers(roster.viewers, kind, viewer, total), total, version };
}

const saveOf = ({ lock_version, fields, user, tab_id, saved_at }) => ({ lock_version, fields, user, tab_id, saved_at });

/** 42 and "42" are two people, and an agent is another viewer for each it works for. */
const isSame = (one, other) => one.id === other.id && one.agent?.for.id === other.agent?.for.id;

function applyToViewers(viewers, kind, viewer, total) {
  const place = viewers.findIndex((other) => isSame(other, viewer));
  if (kind === 'leave') return viewers.filter((_, i) => i !== place);
  if (place >= 0) return viewers.map((old, i) => (i === place ? viewer : old));
  return kind === 'join' && viewers.length + 1 === total ? [...viewers, viewer] : viewers;
}

/** The lists of all records of a stream. `onRoster(record, roster)` is called for each change and confirmation. */
export function createRosters(onRoster) {
  const rosters = new Map(); // record -> { viewers, total, version, isLive, ... }
  let lastId = null; // the version that was heard last, of whichever record

  function confirm(record, roster) {
    const confirmed = { ...roster, isLive: true };
    rosters.set(record, confirmed);
    onRoster(record, confirmed);
  }

  return {
    get: (record) => rosters.get(record),

    keepOnly(records) {
      for (const record of rosters.keys()) if (!records.includes(record)) rosters.delete(record);
    },

    apply(record, kind, event) {
      const roster = applyEvent(rosters.get(record), kind, event);
      if (roster) confirm(record, roster);
    },

    /** Of any event; with `record`, the event says of it only that its version moved on. */
    setVersion(id, record) {
      lastId = id;
      const roster = rosters.get(record);
      if (roster) rosters.set(record, { ...roster, version: id });
    },

    /** For Last-Event-ID. Only where its record is known: that one gets no snapshot if it is still current. */
    resumeId() {
      const isKnown = [...rosters.values()].some(({ version }) => version === lastId);
      return isKnown && lastId !== EMPTY_VERSION ? lastId : null;
    },

    /** The stream resumed after this version: no snapshot comes for its record, or one at once. */
    confirmVersion(id) {
      for (const [record, roster] of rosters) if (roster.version === id) confirm(record, roster);
    },

    lose() {
      for (const roster of rosters.values()) roster.isLive = false;
    },
  };
}
