import type { ComputedRef, DefineComponent, MaybeRefOrGetter, ShallowRef } from 'vue';

import type { AvatarOptions } from './avatars.js';
import type {
  Asked,
  Passed,
  Presence,
  PresenceError,
  PresenceOptions,
  PresenceState,
  Signal,
  SignalKind,
  Token,
  ViewersChange,
} from './presence.js';
import type { Conflict, ConflictOutcome } from './record-conflict.js';

export interface RecordPresenceOptions extends Omit<PresenceOptions, 'type' | 'id' | 'dirty' | 'autoStart' | 'token'> {
  /** null or '': there is none yet. Each new one is used. */
  token?: Token | null | undefined;
  onChange?: ((change: ViewersChange) => void) | undefined;
  onUnauthorized?: ((error: PresenceError) => void) | undefined;
  onError?: ((error: PresenceError) => void) | undefined;
  /** Someone points or types; `data` is null when that is over. */
  onSignal?: ((signal: Signal<any>) => void) | undefined;
  /** Somebody waits for a field that this tab has. */
  onAsked?: ((asked: Asked) => void) | undefined;
  /** A field was passed on to this tab, or from it. */
  onPassed?: ((passed: Passed) => void) | undefined;
}

/** A ref for each part of the snapshot, and one for the whole as `state`. */
export type RecordPresence = {
  readonly [Part in keyof PresenceState]: ComputedRef<PresenceState[Part]>;
} & {
  readonly state: Readonly<ShallowRef<PresenceState>>;
  /** See Presence.signal(). */
  signal(kind: SignalKind, data?: unknown): void;
  /** Rejects while the component isn't on a record; so do the three that follow. */
  readonly claim: Presence['claim'];
  readonly release: Presence['release'];
  readonly decline: Presence['decline'];
  readonly announceSaved: Presence['announceSaved'];
  /** After `unauthorized`, or to send a heartbeat at once. */
  resume(): void;
};

export function useRecordPresence(
  recordType: MaybeRefOrGetter<string>,
  /** null for a record that isn't saved yet: then nothing happens. */
  recordId: MaybeRefOrGetter<string | number | null>,
  /** Or the names of the dirty fields. */
  isDirty?: MaybeRefOrGetter<boolean | readonly string[]>,
  options?: MaybeRefOrGetter<RecordPresenceOptions>,
): RecordPresence;

export const PresenceAvatars: DefineComponent<AvatarOptions & { state: PresenceState }>;

/** What `<record-conflict>` shows, as long as there is `theirs`. Styles: record-conflict.css. */
export const RecordConflict: DefineComponent<
  Omit<Conflict, 'theirs' | 'mine' | 'lockVersion'> & {
    mine: Readonly<Record<string, unknown>>;
    /** The same object is resolved once. */
    theirs?: Readonly<Record<string, unknown>> | null | undefined;
    /** Take `theirs` over as the loaded version, and `values` as the form's. Also where nothing had to be asked. */
    onResolve?: (outcome: ConflictOutcome) => void;
    /** Which fields collide, whenever that changes. */
    onCollisions?: (fields: string[]) => void;
  }
>;
