import type { PresenceState } from './presence.js';

export interface AvatarLabels {
  /** Names the row for screen readers. */
  group: string;
  /** Someone without a name. */
  unknown: string;
  viewing: string;
  editing: string;
  unsaved: string;
  /** `time` is null where it isn't known since when. */
  away(time: string | null): string;
  /** "12 minutes", in the locale. */
  hereFor(duration: string): string;
  hereSince(time: string): string;
  /** `time` is null where it isn't known until when. */
  wasHere(time: string | null): string;
  /** A program, and the user on whose behalf it works. */
  agent(name: string, user: string): string;
  connecting: string;
  retrying: string;
  stale(time: string): string;
  /** Of the user themselves. */
  unseen: string;
  /** People. */
  more(count: number): string;
  moreAgents(count: number): string;
  arrived(names: string, count: number): string;
  /** People. */
  others(count: number): string;
  otherAgents(count: number): string;
}

export interface AvatarOptions {
  /** Avatars of people before the "+N". Default: 3. */
  max?: number | undefined;
  /** The same for agents, which follow the people and are not counted among them. Default: 2. */
  maxAgents?: number | undefined;
  /** How long someone who left is still drawn, so that a reload doesn't flicker. Default: 3000. */
  graceMs?: number | undefined;
  /** Who left within the last five minutes is drawn faded, where there is room. Default: false. */
  wasHere?: boolean | undefined;
  /** Default: true. false: initials for everybody, and nothing is loaded. */
  pictures?: boolean | undefined;
  /** Announce arrivals to screen readers. Default: true; turn it off where a page has many rows. */
  announce?: boolean | undefined;
  /** BCP 47; default: the browser's. */
  locale?: string | undefined;
  /** Texts in place of the English ones. */
  labels?: Partial<AvatarLabels> | undefined;
  /** The label of a form field, by its name; "" to leave it out. */
  fieldLabel?: ((name: string) => string) | undefined;
}

/**
 * Draws who is here into an element, which it then owns. Call it with each new snapshot; only what differs
 * is touched. Styles: avatars.css.
 */
export function renderAvatars(
  element: Element,
  state: Pick<PresenceState, 'viewers' | 'total' | 'fresh' | 'staleSince' | 'status'> &
    Partial<Pick<PresenceState, 'unseen'>>,
  options?: AvatarOptions,
): void;

/** Empties the element and ends its timers. */
export function clearAvatars(element: Element): void;

export const LABELS: Readonly<AvatarLabels>;
