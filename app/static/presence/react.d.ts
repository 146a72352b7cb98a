import type { ReactElement } from 'react';

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

/** The parts of the snapshot, and the whole as `state`. */
export interface RecordPresence extends PresenceState {
  readonly state: PresenceState;
  /** See Presence.signal(). The same function until the record changes. */
  signal(kind: SignalKind, data?: unknown): void;
  readonly claim: Presence['claim'];
  readonly release: Presence['release'];
  readonly decline: Presence['decline'];
  readonly announceSaved: Presence['announceSaved'];
  /** After `unauthorized`, or to send a heartbeat at once. */
  resume(): void;
}

export function useRecordPresence(
  recordType: string,
  /** null for a record that isn't saved yet: then nothing happens. */
  recordId: string | number | null,
  /** Or the names of the dirty fields. */
  isDirty?: boolean | readonly string[],
  options?: RecordPresenceOptions,
): RecordPresence;

export function PresenceAvatars(props: AvatarOptions & { state: PresenceState }): ReactElement;

export interface RecordConflictProps extends Omit<Conflict, 'theirs' | 'mine' | 'lockVersion'> {
  mine: Readonly<Record<string, unknown>>;
  /** null while nobody has saved. The same object is resolved once. */
  theirs: Readonly<Record<string, unknown>> | null | undefined;
  /** Take `theirs` over as the loaded version, and `values` as the form's. Also where nothing had to be asked. */
  onResolve: (outcome: ConflictOutcome) => void;
  /** Which fields collide, whenever that changes. */
  onCollisions?: ((fields: string[]) => void) | undefined;
  /** Its code can't be loaded. Default: console.error. */
  onError?: ((error: unknown) => void) | undefined;
}

/** What `<record-conflict>` shows. Styles: record-conflict.css. */
export function RecordConflict(props: RecordConflictProps): ReactElement;
