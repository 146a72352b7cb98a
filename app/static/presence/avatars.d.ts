import type { PresenceState } from './presence.js';

export interface AvatarLabels {
  /** Names the row for screen readers. */
  group: string;
  /** Someone without a name. */
  unknown: string;
  viewing: string;
  editing: string;
  unsaved: string;
  connecting: string;
  retrying: string;
  stale(time: string): string;
  /** Of the user themselves. */
  unseen: string;
  more(count: number): string;
  arrived(names: string, count: number): string;
  others(count: number): string;
}

export interface AvatarOptions {
  /** Avatars before the "+N". Default: 3. */
  max?: number | undefined;
  /** How long someone who left is still drawn, so that a reload doesn't flicker. Default: 3000. */
  graceMs?: number | undefined;
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
