import type { Browser } from './browser.js';
import type { Heartbeat, Mode, Presence, PresenceState, User, Viewer } from './presence.js';

export interface FakeServiceOptions {
  /** For install(): which calls it answers. Default: "/api/v1/presence". */
  base?: string | undefined;
  /** Whose page is tested. */
  me?: User | undefined;
  /** Default: true. false: `GET events` is answered with 204, and changes come with the next heartbeat. */
  streams?: boolean | undefined;
}

/** Somebody else, with whatever the host's identity has of them; with `agent`, a program. */
export type FakeUser = User & Pick<Viewer, 'picture' | 'about' | 'agent'>;

/** One tab of somebody else. What they do is seen at once by every page that has the record open. */
export interface FakePerson {
  readonly tabId: string;
  readonly user: User;
  /** They only look, and have nothing unsaved. */
  view(): void;
  /** They edit, and these are their unsaved fields. */
  edit(...unsavedFields: string[]): void;
  /** They look at another tab, and are away; or they are back. */
  look(isLooking?: boolean): void;
  /** null: they are in no field. */
  focus(field: string | null): void;
  /** null: they have stopped. */
  type(field: string | null): void;
  /** Their cursor; null: it is gone. */
  point(data: unknown): void;
  /** Returns whether they have it. */
  claim(field: string, options?: { takeOver?: boolean | undefined; wait?: boolean | undefined }): boolean;
  /** Whoever waits for the field has it then. */
  release(field: string): void;
  /** Sends away those who wait; returns how many they were. */
  decline(field: string): number;
  /** They save a version; nothing of theirs is unsaved any more. */
  save(lockVersion: number, fields: readonly string[]): void;
  leave(): void;
}

export interface FakeCall {
  readonly call: 'heartbeat' | 'unregister' | 'claim' | 'claim/decline' | 'saved' | 'signal';
  /** "flow:12" */
  readonly record: string;
  readonly method: string;
  readonly body: any;
}

/** What the page under test has told of one of its tabs. */
export interface FakeTab extends Omit<Heartbeat, 'version' | 'visible' | 'active' | 'active_field' | 'dirty_fields'> {
  readonly dirty_fields: readonly string[];
  readonly active_field: string | null;
}

export interface FakeService {
  /** Somebody opens a record, such as "flow:12". */
  join(record: string, user: FakeUser, options?: { mode?: Mode | undefined }): FakePerson;
  /** Those of the page under test. */
  tabs(record: string): FakeTab[];
  /** Every call but those for the stream, oldest first. */
  readonly calls: readonly FakeCall[];
  /** From now on all calls fail with this status; streams that are open go on. */
  fail(
    status: number,
    options?: {
      message?: string | undefined;
      errors?: Record<string, string[]> | undefined;
      retryAfterSeconds?: number | undefined;
    },
  ): void;
  /** The network is gone, for streams too. */
  disconnect(): void;
  /** After fail() or disconnect(). */
  recover(): void;
  /** Answers the calls that this page's `fetch` makes under `base`; returns the function that undoes it. */
  install(): () => void;
  /** For the option `browser` of createPresence() and watch(), in the place of install(); in Node too. */
  readonly browser: Partial<Browser>;
  readonly fetch: typeof fetch;
}

export function createFakeService(options?: FakeServiceOptions): FakeService;

/** The snapshot, as soon as it is as wanted; the test's own timeout is the limit. */
export function until(presence: Presence, isWanted: (state: PresenceState) => boolean): Promise<PresenceState>;
