import type { DirtyTracker } from './dirty.js';
import type { Presence } from './presence.js';

/** `<record-presence type="flow" id="12" form="editor">`; importing this file defines it. */
export interface RecordPresenceElement extends HTMLElement {
  /** null while it is not in a page, or has no type or id. */
  readonly presence: Presence | null;
  /** null without a form. */
  readonly tracker: DirtyTracker | null;
}

declare global {
  interface HTMLElementTagNameMap {
    'record-presence': RecordPresenceElement;
  }
}
