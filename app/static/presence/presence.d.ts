/** A person with at least one live tab on the record. Frozen; the same object while nothing about them changes. */
export interface Viewer {
  /** Number or text as in the server's identity: 42 and "42" are two people. */
  readonly id: number | string;
  readonly name: string;
  readonly tabs: number;
  readonly mode: Mode;
  readonly has_dirty_tab: boolean;
  readonly active_fields: readonly string[];
  /** None of their tabs is active: on the screen, and in use in the last minutes. Absent from an older server's. */
  readonly away?: boolean;
  /** When they came (ISO 8601, UTC); since then they have been here all the time. Absent from an older server's. */
  readonly since?: string;
  /** The fields with unsaved changes; only if there are any that are known by name. */
  readonly dirty_fields?: readonly string[];
  /** An https URL, as the host's identity has it. */
  readonly picture?: string;
  /** Up to 8 texts by name, such as a job title, as the host's identity has them. */
  readonly about?: Readonly<Record<string, string>>;
  /** Only of a program, whose `id` and `name` these are; `for` is the user on whose behalf it works. */
  readonly agent?: { readonly for: { readonly id: number | string; readonly name: string } };
}

export interface User {
  /** Number or text as in the server's identity. */
  readonly id: number | string;
  readonly name: string;
  /** Only of a program that works on behalf of a user. */
  readonly agent?: { readonly for: { readonly id: number | string } };
}

/** A version of the record that someone saved. */
export interface Save {
  readonly lock_version: number;
  /** What was changed. */
  readonly fields: readonly string[];
  readonly user: User;
  /** null if a server announced it that knows no tab. */
  readonly tab_id: string | null;
  /** ISO 8601, UTC. */
  readonly saved_at: string;
}

/** Someone says that they are working on a field. Advisory: it blocks nobody. */
export interface Claim {
  readonly user: User;
  /** Equal to state.tabId if the claim is this tab's. */
  readonly tab_id: string;
  /** ISO 8601, UTC. */
  readonly since: string;
  /** Who had it before, if it was taken over. */
  readonly taken_from?: User;
  /** Who had it before, if this tab waited for it. */
  readonly passed_from?: User;
  /** Who waits for it, the next one first. */
  readonly waiting?: readonly Waiting[];
  /**
   * ISO 8601, UTC: when it passes on to the first who waits. Only while somebody waits and its user is away, who keeps
   * it by coming back before.
   */
  readonly passes_at?: string;
}

/** Somebody who waits for a claim to end. */
export interface Waiting {
  readonly user: User;
  /** Equal to state.tabId if it is this tab. */
  readonly tab_id: string;
  /** ISO 8601, UTC. */
  readonly since: string;
  /** What they wait for, if that is not the field of the claim, such as "*". */
  readonly field?: string;
}

/** Somebody waits for a field that this tab has. */
export interface Asked {
  readonly field: string;
  readonly claim: Claim;
  readonly waiting: Waiting;
}

/** A field was passed on to who waited for it. */
export interface Passed {
  readonly field: string;
  /** That of the one who has it now; `passed_from` says who had it. */
  readonly claim: Claim;
  /** true: this tab has it now. false: it had it. */
  readonly isMine: boolean;
}

export interface ClaimAnswer {
  readonly claimed: boolean;
  /** Who has the field, or what is in the way. */
  readonly claim: (Claim & { readonly field?: string }) | null;
  /** Where this tab waits: 1 is the next to have it. */
  readonly place?: number;
  /** Why not, where the claim doesn't say it. */
  readonly reason?: string;
}

/** What saving now would run into. */
export interface Forecast {
  readonly base_version: number;
  /** By other tabs, after `base_version`, oldest first. */
  readonly saves: readonly (Save & {
    /** By the same person, in another tab. */
    readonly own: boolean;
    /** Which of this tab's unsaved fields it changed. */
    readonly touches: readonly string[];
  })[];
  /** This tab's unsaved fields that those saves changed. */
  readonly collisions: readonly string[];
  /** Who else has unsaved changes in this tab's unsaved fields, by field. */
  readonly contested: Readonly<Record<string, readonly User[]>>;
  /** How many other tabs the same person had on the record when this was asked. */
  readonly own_tabs: number;
  /** This tab's unsaved fields that the same person has unsaved in another tab as well. */
  readonly own_contested: readonly string[];
  /** ISO 8601, UTC. No later save is missing here; a form that was loaded earlier must check the record itself. */
  readonly remembered_since: string;
}

export type Mode = 'view' | 'edit';

/**
 * - `idle`: not started
 * - `connecting`: no answer yet for this tab id
 * - `live`: the last heartbeat was answered
 * - `retrying`: the last heartbeat failed; another follows
 * - `paused`: the page went away, perhaps into the back/forward cache; goes on when it comes back
 * - `stopped`: by stop(), or by an error that only the host can fix; resume() starts it again
 */
export type Status = 'idle' | 'connecting' | 'live' | 'retrying' | 'paused' | 'stopped';

/** Frozen; the same object while nothing changed. */
export interface PresenceState {
  readonly status: Status;
  /** Who else is here, in the server's order, without oneself. null, and never [], while that isn't known. */
  readonly viewers: readonly Viewer[] | null;
  /** How many others there are, including those beyond the server's limit for `viewers`. */
  readonly total: number | null;
  readonly version: string | null;
  /** Whether `viewers` is confirmed: by a live stream, or by a heartbeat at most 43 seconds ago. */
  readonly fresh: boolean;
  /** While not fresh: when `viewers` was last confirmed (ms since 1970); null when never. */
  readonly staleSince: number | null;
  /**
   * Others no longer see this user: no heartbeat has been answered for as long as a lease lasts. `viewers` may be fresh
   * all the same.
   */
  readonly unseen: boolean;
  /** Why the last heartbeat failed; null if it didn't. */
  readonly error: PresenceError | null;
  /** New after each load, each return from the back/forward cache and each stop; null before the start. */
  readonly tabId: string | null;
  /** Who is typing, by tab; ends 3 s after the last signal. See whoIsTyping(). */
  readonly typing: readonly Signal[];
  /** The last saves of other tabs, oldest first. null: not known. */
  readonly saved: readonly Save[] | null;
  /** By field. null: not known. */
  readonly claims: Readonly<Record<string, Claim>> | null;
  /** null: not known, or no `baseVersion` is set. */
  readonly forecast: Forecast | null;
}

/** What someone is doing right now; never stored. Frozen. */
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
 * - `unauthorized`: 401, 403, a redirect, or a token that is none (status 0); stopped
 * - `refused`: 422, and other mistakes in the call; stopped
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
  /** Of a stream, the records that may not be seen; without it, none may. */
  readonly records?: readonly string[];
}

export interface ViewersChange {
  readonly joined: readonly Viewer[];
  readonly updated: readonly Viewer[];
  readonly left: readonly Viewer[];
}

export interface PresenceEvents {
  /** The list changed. Not sent for the first list. */
  change: ViewersChange;
  /** Stopped by 401 or 403: renew the session or the token, then call resume(). */
  unauthorized: PresenceError;
  /** A heartbeat failed. `state.status` says whether another follows. */
  error: PresenceError;
  /** Someone points or types; `data` is null when that is over, at the latest 3 s after the last signal. */
  signal: Signal<any>;
  /** Somebody waits for a field that this tab has: release() hands it over, decline() sends them away. */
  asked: Asked;
  /** A field was passed on to this tab, or from it: by a release, or because its user was away. */
  passed: Passed;
}

export type TokenFunction = () => string | null | undefined | Promise<string | null | undefined>;

/** `url`: where the page's own server gives a token, as text or as JSON, `{ "token": "…" }`. */
export type Token = string | TokenFunction | { readonly url: string };

export interface PresenceOptions {
  /** [a-z][a-z0-9_]{0,63} */
  type: string;
  /** [A-Za-z0-9_-]{1,64} */
  id: string | number;
  /** Default: "/api/v1/presence". */
  base?: string | undefined;
  /** Default: "view". */
  mode?: Mode | undefined;
  /** Or the names of the fields with unsaved changes. */
  dirty?: boolean | readonly string[] | undefined;
  /** The lock_version that the form was loaded with; needed for a forecast. */
  baseVersion?: number | undefined;
  activeField?: string | null | undefined;
  /**
   * Bearer token. A function may be async; it is called, or the URL is fetched, when a token is needed, and again 5 s
   * before that one's `exp` or when it is refused. While it gives none (null, ''), nothing is sent, and it is asked
   * again. Of another object, such as a React ref, `current` is used.
   */
  token?: Token | { readonly current: Token | null | undefined } | undefined;
  /**
   * For the X-CSRF-TOKEN header. Default: `<meta name="csrf-token">`, read at every heartbeat, unless `token`
   * is given. null: none.
   */
  csrfToken?: string | null | (() => string | null | undefined | Promise<string | null | undefined>) | undefined;
  /** fetch's; default "same-origin". */
  credentials?: RequestCredentials | undefined;
  /** Default: true. false: nothing happens before resume(). */
  autoStart?: boolean | undefined;
  /** Default: true, changes are pushed. false: heartbeats ask for them, as they do if there are no streams. */
  stream?: boolean | undefined;
  /** Default: true, one stream for all tabs of the browser that belong to the same person. */
  share?: boolean | undefined;
  /**
   * Identifies the person, for tokens that are no JWTs: tabs with the same key share a stream. Default: the
   * token's `sub`, `tenant` and `records`, or the session's CSRF token.
   */
  shareKey?: string | undefined;
  /**
   * After how long without a pointer, key, touch or scroll the user counts as away, in ms; at least 1000. Default:
   * 300,000. Infinity: only while the page is hidden.
   */
  awayAfterMs?: number | undefined;
  /** Replacements for parts of browser.js, `{ fetch }` for example. */
  browser?: Partial<import('./browser.js').Browser> | undefined;
  /** In place of HTTP; then there is no stream. */
  transport?: Transport | undefined;
}

export interface Heartbeat {
  tab_id: string;
  mode: Mode;
  dirty: boolean;
  active_field?: string;
  dirty_fields?: readonly string[];
  base_version?: number;
  /** null asks for the list and the forecast. Absent while a stream brings the lists. */
  version?: string | null;
  /** On the screen; what is hidden for less than 3 s counts as such. */
  visible: boolean;
  /** false: on the screen, but not in use. Absent where it is `visible`; a server of an earlier release refuses it. */
  active?: boolean;
}

export interface LeftOut {
  active_field?: string;
  dirty_fields?: string[];
  /** How many more names there are. */
  more?: number;
}

export interface HeartbeatAnswer {
  version: string;
  heartbeat_seconds: number;
  viewers?: Viewer[];
  /** Redis has lost its data: those who are missing may come back. */
  unconfirmed?: true;
  total?: number;
  /** Where there are more viewers: `after` of the next page of `GET viewers`. */
  next?: number;
  saved?: Save[];
  claims?: Record<string, Claim>;
  forecast?: Forecast;
  /** Fields of this tab that were not recorded, since the user's tabs name too many. */
  left_out?: LeftOut;
}

export interface Transport {
  /** Rejects with a PresenceError. */
  heartbeat(body: Heartbeat, signal: AbortSignal): Promise<HeartbeatAnswer>;
  /** For a page that stands still: what its worker sends in the place of heartbeat(body). */
  standIn?(body: Heartbeat | null | undefined, intervalMs: number): import('./browser.js').StandIn | null | undefined;
  /** Must send before it returns, since the page may be going away, and must not reject. */
  leave(tabId: string): Promise<void>;
  /** Other calls of the record, for claim(), release(), decline() and announceSaved(); gives the answer's data. */
  call?(call: 'claim' | 'claim/decline' | 'saved', body: object, method?: 'DELETE'): Promise<any>;
}

export interface Presence {
  getSnapshot(): PresenceState;
  /** Called with each new snapshot. Returns the function that unsubscribes. */
  subscribe(listener: (state: PresenceState) => void): () => void;
  on<Name extends keyof PresenceEvents>(event: Name, handler: (detail: PresenceEvents[Name]) => void): () => void;
  setMode(mode: Mode): void;
  /** Or the names of the fields with unsaved changes, of which the first hundred are sent. */
  setDirty(dirty: boolean | readonly string[]): void;
  /** The lock_version that the form now holds, after a load, a save or a merge. null: no forecast. */
  setBaseVersion(lockVersion: number | null): void;
  /**
   * Says that the user is working on a field, at their click. Not granted while another tab has it, except with
   * `takeOver`; ends with the tab. With `wait` it has the field as soon as the other one lets it go, for as long as it
   * is in mode `edit`. "*" is the whole record. Rejects with a PresenceError.
   */
  claim(field: string, options?: { takeOver?: boolean; wait?: boolean }): Promise<ClaimAnswer>;
  /** Whoever waits for the field has it then. Where this tab waits for it, it waits no longer. */
  release(field: string): Promise<void>;
  /** Not yet: sends away those who wait for what this tab has. Resolves with how many they were. */
  decline(field: string): Promise<number>;
  /**
   * Tells the others that this tab saved, if the server doesn't do so itself; the version becomes the loaded one.
   * Rejects with a PresenceError; if the failure may pass, the save is sent again after an answered heartbeat.
   */
  announceSaved(lockVersion: number, fields: readonly string[]): Promise<void>;
  /** The form field that has the focus; null for none. A name that the service refuses counts as none. */
  setActiveField(name: string | null): void;
  /**
   * Tells the others what the user is doing right now, in at most 1 KiB of JSON; null: no longer. Call it as often
   * as you like: one `cursor` is sent per 150 ms and one `typing` per second, always the latest. Needs the stream.
   */
  signal(kind: SignalKind, data?: unknown): void;
  /** Starts, or starts again after a stop; else sends a heartbeat at once, and opens the stream if it is closed. */
  resume(): void;
  /** Leaves the record. Resolves when the goodbye is sent; never rejects. */
  stop(): Promise<void>;
}

export function createPresence(options: PresenceOptions): Presence;
