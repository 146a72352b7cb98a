import type { Signal, Viewer } from './presence.js';

/** The viewers who are in this form field; none where the list isn't known. */
export function whoIsIn(viewers: readonly Viewer[] | null, field: string): Viewer[];

/** The people who are typing, in one field where it is given and signals say `{ field }`; each once. */
export function whoIsTyping(typing: readonly Signal[], field?: string): Signal['user'][];
