// Small questions about a state, for showing people beside what they do.

import { userKey } from './store.js';

export { createAwayTimes } from './times.js';

/** The viewers who are in this form field. */
export const whoIsIn = (viewers, field) => (viewers ?? []).filter((viewer) => viewer.active_fields.includes(field));

/** The people who are typing, in this form field if one is given; each once, however many tabs they have. */
export function whoIsTyping(typing, field) {
  const people = new Map();
  for (const { user, data } of typing) {
    if (field === undefined || data?.field === field) people.set(userKey(user), user);
  }
  return [...people.values()];
}
