// What the row of avatars says.

import { nameOf } from './initials.js';
import { clockText, durationText } from './times.js';

export const LABELS = {
  group: 'Also here',
  unknown: 'Someone', // has no name
  viewing: 'viewing',
  editing: 'editing',
  unsaved: 'unsaved changes',
  away: (time) => (time ? `away since ${time}` : 'away'),
  hereFor: (duration) => `here for ${duration}`,
  hereSince: (time) => `here since ${time}`,
  wasHere: (time) => (time ? `was here until ${time}` : 'was here'),
  agent: (name, user) => `${name}, for ${user}`,
  connecting: 'Looking who is here…',
  retrying: 'Can’t see who is here',
  stale: (time) => `As of ${time}`,
  unseen: 'Others can’t see you',
  more: (count) => `${count} more`,
  moreAgents: (count) => (count === 1 ? '1 more agent' : `${count} more agents`),
  arrived: (names, count) => `${names} ${count === 1 ? 'is' : 'are'} here now`,
  others: (count) => (count === 1 ? '1 other' : `${count} others`),
  otherAgents: (count) => (count === 1 ? '1 other agent' : `${count} other agents`),
};

/** "Alice"; of an agent "Summariser, for Alice". */
export function fullName({ name, agent }, { labels }) {
  const own = nameOf({ name }, labels.unknown);
  return agent ? labels.agent(own, nameOf(agent.for, labels.unknown)) : own;
}

export const activityOf = (viewers) =>
  viewers.some((viewer) => viewer.has_dirty_tab)
    ? 'unsaved'
    : viewers.some((viewer) => viewer.mode === 'edit')
      ? 'editing'
      : 'viewing';

/** `awaySince`: ms since 1970; null where it isn't known. */
export function describe(viewer, awaySince, { labels, fieldLabel, locale }) {
  const fields = (viewer.active_fields ?? []).map(fieldLabel).filter(Boolean).join(', ');
  const verb = viewer.mode === 'edit' ? labels.editing : labels.viewing;
  return [
    fields ? `${verb} ${fields}` : verb,
    viewer.has_dirty_tab && labels.unsaved,
    viewer.away && labels.away(awaySince && clockText(awaySince, locale)),
  ]
    .filter(Boolean)
    .join(', ');
}

const aboutOf = ({ about = {} }) => Object.values(about).map((text) => nameOf({ name: text }));

const joined = (parts) => parts.filter(Boolean).join(' · ');

/** For the tooltip: as of now. */
export function detailsOf(viewer, { labels, locale }) {
  const duration = durationText(Date.parse(viewer.since), locale);
  return joined([...aboutOf(viewer), duration && labels.hereFor(duration)]);
}

/** The same for screen readers, who may read it at any time: with what stays true. */
export function descriptionOf(viewer, { labels, locale }) {
  const time = clockText(Date.parse(viewer.since), locale);
  return joined([...aboutOf(viewer), time && labels.hereSince(time)]) || null;
}

/** "Bob, Cleo and 2 others are here now": agents are no people. */
export function arrivalText(viewers, options) {
  const { labels, locale } = options;
  const sentence = (group, others) => {
    if (!group.length) return '';
    const names = group.map((viewer) => fullName(viewer, options));
    const parts = names.length > 3 ? [...names.slice(0, 2), others(names.length - 2)] : names;
    const listed = Intl.ListFormat ? new Intl.ListFormat(locale).format(parts) : parts.join(', ');
    return labels.arrived(listed, names.length);
  };
  const people = viewers.filter(({ agent }) => !agent);
  const agents = viewers.filter(({ agent }) => agent);
  return [sentence(people, labels.others), sentence(agents, labels.otherAgents)].filter(Boolean).join('. ');
}

export function noteOf(state, options) {
  return [state.unseen && options.labels.unseen, noteOfList(state, options)].filter(Boolean).join(' · ');
}

function noteOfList({ viewers, fresh, status, staleSince }, { labels, locale }) {
  if (fresh) return '';
  if (viewers && staleSince) return labels.stale(clockText(staleSince, locale));
  if (viewers || status === 'idle') return '';
  return status === 'connecting' ? labels.connecting : labels.retrying;
}
