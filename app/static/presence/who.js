// Small questions about a state, for showing people beside what they do.

/** The viewers who are in this form field. */
export const whoIsIn = (viewers, field) => (viewers ?? []).filter((viewer) => viewer.active_fields.includes(field));

/** The people who are typing, in this form field where one is given; each once, whatever their tabs. */
export function whoIsTyping(typing, field) {
  const people = new Map();
  for (const { user, data } of typing) {
    if (field === undefined || data?.field === field) people.set(typeof user.id + user.id, user);
  }
  return [...people.values()];
}
