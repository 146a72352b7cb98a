import type { Signal, Viewer } from './presence.js';

/** The viewers who are in this form field; [] if the list isn't known. */
export function whoIsIn(viewers: readonly Viewer[] | null, field: string): Viewer[];

/** The people who are typing, each once; with `field`, those whose signals say `{ field }`. */
export function whoIsTyping(typing: readonly Signal[], field?: string): Signal['user'][];
