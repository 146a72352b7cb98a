import type { PresenceState, Signal, Viewer } from './presence.js';

/** The viewers who are in this form field; [] if the list isn't known. */
export function whoIsIn(viewers: readonly Viewer[] | null, field: string): Viewer[];

/** The people who are typing, each once; with `field`, those whose signals say `{ field }`. */
export function whoIsTyping(typing: readonly Signal[], field?: string): Signal['user'][];

/**
 * Remembers since when viewers are away. Call what it returns with each new state; that gives a function from a viewer to
 * the time (ms since 1970), null for those who are not away, or were so before anybody here could see it.
 */
export function createAwayTimes(): (
  state: Pick<PresenceState, 'viewers' | 'fresh'>,
) => (viewer: Viewer) => number | null;
