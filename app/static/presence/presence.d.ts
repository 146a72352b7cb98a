/** A person with at least one live tab on the record. Frozen; the same object while nothing about them changes. */
export interface Viewer {
  /** With the type that the server's identity has: 42 and "42" are two people. */
  readonly id: number | string;
  readonly name: string;
  readonly tabs: number;
  readonly mode: Mode;
  readonly has_dirty_tab: boolean;
  readonly active_fields: readonly string[];
  /** With unsaved changes; only when there are any that are told by name. */
  readonly dirty_fields?: readonly string[];
}

export interface User {
  /** With the type that the server's identity has. */
  readonly id: number | string;
  readonly name: string;
}

/** A version of the record that somebody saved. */
export interface Save {
  readonly lock_version: number;
  /** What was changed. */
  readonly fields: readonly string[];
  readonly user: User;
  /** null: told by a server that knows no tab. */
  readonly tab_id: string | null;
  /** ISO 8601, UTC. */
  readonly saved_at: string;
}

/** Somebody works on a field, and has said so. Nobody is kept from anything by it. */
export interface Claim {
  readonly user: User;
  /** state.tabId where it is one's own. */
  readonly tab_id: string;
  /** ISO 8601, UTC. */
  readonly since: string;
  /** Who had it before, where it was taken over. */
  readonly taken_from?: User;
}

/** What saving now would run into. */
export interface Forecast {
  readonly base_version: number;
  /** Of other tabs, after `base_version`, oldest first. */
  readonly saves: readonly (Save & {
    /** By the same person, in another tab. */
    readonly own: boolean;
    /** Which of one's unsaved fields it changed. */
    readonly touches: readonly string[];
  })[];
  /** One's unsaved fields that those saves changed. */
  readonly collisions: readonly string[];
  /** Who else has unsaved changes in one's unsaved fields, by field. */
  readonly contested: Readonly<Record<string, readonly User[]>>;
  /** ISO 8601, UTC. No save after this is missing here; a form loaded before must look at the record itself. */
  readonly remembered_since: string;
}

export type Mode = 'view' | 'edit';

/**
 * - `idle`: not started
 * - `connecting`: no answer yet for this tab id
 * - `live`: the last heartbeat was answered
 * - `retrying`: the last heartbeat failed; another follows by itself
 * - `paused`: the page went away, perhaps into the back/forward cache; comes back by itself
 * - `stopped`: by stop(), or by an error that only the host can mend; resume() goes on
 */
export type Status = 'idle' | 'connecting' | 'live' | 'retrying' | 'paused' | 'stopped';

/** Frozen; the same object while nothing changed. */
export interface PresenceState {
  readonly status: Status;
  /** Who else is here, in the server's order, oneself left out. null: not known. Never [] for "not known". */
  readonly viewers: readonly Viewer[] | null;
  /** How many others there are, also where `viewers` is cut at the server's limit. */
  readonly total: number | null;
  readonly version: string | null;
  /** Whether `viewers` is confirmed: by a stream that lives, or by a heartbeat at most 43 seconds ago. */
  readonly fresh: boolean;
  /** While not fresh: when `viewers` was last confirmed (ms since 1970); null when never. */
  readonly staleSince: number | null;
  /** Why the last heartbeat failed; null after one that didn't. */
  readonly error: PresenceError | null;
  /** A new one for every load, every return from the back/forward cache and every stop; null before the start. */
  readonly tabId: string | null;
  /** Who is typing, by tab; over 3 s after the last word. See whoIsTyping(). */
  readonly typing: readonly Signal[];
  /** The last saves of other tabs, oldest first. null: not known. */
  readonly saved: readonly Save[] | null;
  /** Who is on which field. null: not known. */
  readonly claims: Readonly<Record<string, Claim>> | null;
  /** null: not known, or no `baseVersion` is set. */
  readonly forecast: Forecast | null;
}

/** What somebody does just now; never stored. Frozen. */
export interface Signal<Data = unknown> {
  /** "flow:12" */
  readonly record: string;
  readonly tab_id: string;
  readonly user: User;
  readonly kind: SignalKind;
  /** What signal() was given; null: it is over. */
  readonly data: Data;
}

export type SignalKind = 'cursor' | 'typing';

/**
 * - `unauthorized`: 401, 403 or a redirect; stopped
 * - `refused`: 422 and other mistakes of the caller; stopped
 * - `taken`: 409 twice; stopped
 * - `throttled` (429), `unavailable` (5xx, or an answer that isn't the service's), `unreachable` (network, no
 *   answer in time): tried again
 */
export interface PresenceError extends Error {
  readonly kind: 'unauthorized' | 'refused' | 'taken' | 'throttled' | 'unavailable' | 'unreachable';
  /** HTTP status; 0 without an answer. */
  readonly status: number;
  /** By field, for 422. */
  readonly errors?: Readonly<Record<string, readonly string[]>>;
  readonly retryAfterMs?: number;
}

export interface ViewersChange {
  readonly joined: readonly Viewer[];
  readonly updated: readonly Viewer[];
  readonly left: readonly Viewer[];
}

export interface PresenceEvents {
  /** The list changed. Not sent for the first list. */
  change: ViewersChange;
  /** Stopped by 401 or 403: renew the sign-in or the token, then resume(). */
  unauthorized: PresenceError;
  /** A heartbeat failed. `state.status` says whether another follows. */
  error: PresenceError;
  /** Somebody points or types; once more with `data: null` when that is over, at the latest 3 s after the last. */
  signal: Signal<any>;
}

export interface PresenceOptions {
  /** [a-z][a-z0-9_]{0,63} */
  type: string;
  /** [A-Za-z0-9_-]{1,64} */
  id: string | number;
  /** Default: "/api/v1/presence". */
  base?: string;
  /** Default: "view". */
  mode?: Mode;
  /** Or the names of the fields with unsaved changes. */
  dirty?: boolean | readonly string[];
  /** The lock_version that the form was loaded with; asks for a forecast. */
  baseVersion?: number;
  activeField?: string | null;
  /** Bearer token. A function is asked at every heartbeat and may be async. */
  token?: string | (() => string | null | undefined | Promise<string | null | undefined>);
  /**
   * For the X-CSRF-TOKEN header. Default: `<meta name="csrf-token">`, read at every heartbeat, unless `token`
   * is given. null: none.
   */
  csrfToken?: string | null | (() => string | null | undefined | Promise<string | null | undefined>);
  /** fetch's; default "same-origin". */
  credentials?: RequestCredentials;
  /** Default: true. false: nothing happens before resume(). */
  autoStart?: boolean;
  /** Default: true, changes are pushed. false: heartbeats ask for them, as they do where there are no streams. */
  stream?: boolean;
  /** Default: true, one stream for all tabs of the browser that are the same person. */
  share?: boolean;
  /**
   * Who "the same person" is, for tokens that are no JWT: the tabs that give the same key see the same. By
   * default the token's `sub`, `tenant` and `records`, or the session's CSRF token.
   */
  shareKey?: string;
  /** Parts of browser.js to replace, `{ fetch }` for example. */
  browser?: Partial<import('./browser.js').Browser>;
  /** In the place of HTTP; then there is no stream. */
  transport?: Transport;
}

export interface Heartbeat {
  tab_id: string;
  mode: Mode;
  dirty: boolean;
  active_field?: string;
  dirty_fields?: readonly string[];
  base_version?: number;
  /** null asks for the list and the forecast. Left out while a stream keeps the list. */
  version?: string | null;
  visible: boolean;
}

export interface HeartbeatAnswer {
  version: string;
  heartbeat_seconds: number;
  viewers?: Viewer[];
  /** Redis has lost its data: whoever is missing may come back. */
  unconfirmed?: true;
  total?: number;
  saved?: Save[];
  claims?: Record<string, Claim>;
  forecast?: Forecast;
}

export interface Transport {
  /** Rejects with a PresenceError. */
  heartbeat(body: Heartbeat, signal: AbortSignal): Promise<HeartbeatAnswer>;
  /** Must send before it returns, since the page may be going away, and must not reject. */
  leave(tabId: string): Promise<void>;
  /** Other calls of the record, for claim(), release() and announceSaved(); gives the answer's data. */
  call?(call: 'claim' | 'saved', body: object, method?: 'DELETE'): Promise<any>;
}

export interface Presence {
  getSnapshot(): PresenceState;
  /** Called with each new snapshot; returns the function that ends it. */
  subscribe(listener: (state: PresenceState) => void): () => void;
  on<Name extends keyof PresenceEvents>(
    event: Name,
    handler: (detail: PresenceEvents[Name]) => void,
  ): () => void;
  setMode(mode: Mode): void;
  /** Or the names of the fields with unsaved changes; the first hundred are told. */
  setDirty(dirty: boolean | readonly string[]): void;
  /** The lock_version that the form holds now, after a load, a save or a merge. null: no forecast. */
  setBaseVersion(lockVersion: number | null): void;
  /**
   * Say that one works on a field, by a click of the person. Not given while another tab has it, unless with
   * `takeOver`; ends with the tab. Rejects with a PresenceError.
   */
  claim(field: string, options?: { takeOver?: boolean }): Promise<{ claimed: boolean; claim: Claim | null }>;
  release(field: string): Promise<void>;
  /**
   * Tell the others that this tab saved, where the server doesn't do so itself; the version is what is loaded
   * now. Rejects with a PresenceError; where that may pass, the next answered heartbeats tell the save again.
   */
  announceSaved(lockVersion: number, fields: readonly string[]): Promise<void>;
  /** The form field that has the focus; null for none, as is a name that the service doesn't take. */
  setActiveField(name: string | null): void;
  /**
   * Tell the others what one does just now, at most 1 KiB of JSON; null: no longer. Call it as often as you
   * like: of `cursor` one goes out each 150 ms, of `typing` each second, the latest always. Needs the stream.
   */
  signal(kind: SignalKind, data?: unknown): void;
  /** Start, go on after a stop, or beat at once. */
  resume(): void;
  /** Leave the record. Resolves when the goodbye is sent; never rejects. */
  stop(): Promise<void>;
}

export function createPresence(options: PresenceOptions): Presence;
