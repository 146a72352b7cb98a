import type { DirtyTracker } from './dirty.js';
import type {
  Asked,
  Passed,
  Presence,
  PresenceError,
  PresenceState,
  Signal,
  TokenFunction,
  ViewersChange,
} from './presence.js';

/** `<record-presence type="flow" id="12" form="editor">`; importing this file defines it. */
export interface RecordPresenceElement extends HTMLElement {
  /** null while it is not in a page, or has no type or id. */
  readonly presence: Presence | null;
  /** null without the attribute `form`. */
  readonly tracker: DirtyTracker | null;
  /** Asked whenever a token is needed; counts before the attributes `token-url` and `token`. */
  getToken: TokenFunction | null;
}

/** What the element and the Alpine component dispatch; all of them bubble, out of shadow roots too. */
export interface RecordPresenceEvents {
  /** Each new snapshot. */
  'presence:state': CustomEvent<PresenceState>;
  'presence:change': CustomEvent<ViewersChange>;
  'presence:unauthorized': CustomEvent<PresenceError>;
  'presence:error': CustomEvent<PresenceError>;
  'presence:signal': CustomEvent<Signal<any>>;
  'presence:asked': CustomEvent<Asked>;
  'presence:passed': CustomEvent<Passed>;
}

declare global {
  interface HTMLElementTagNameMap {
    'record-presence': RecordPresenceElement;
  }
  interface GlobalEventHandlersEventMap extends RecordPresenceEvents {}
}
