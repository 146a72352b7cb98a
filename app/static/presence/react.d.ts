import type { ReactElement } from 'react';

import type { AvatarOptions } from './avatars.js';
import type {
  Presence,
  PresenceError,
  PresenceOptions,
  PresenceState,
  Signal,
  SignalKind,
  ViewersChange,
} from './presence.js';

export interface RecordPresenceOptions
  extends Omit<PresenceOptions, 'type' | 'id' | 'dirty' | 'autoStart'> {
  onChange?(change: ViewersChange): void;
  onUnauthorized?(error: PresenceError): void;
  onError?(error: PresenceError): void;
  /** Somebody points or types; `data: null` when that is over. */
  onSignal?(signal: Signal<any>): void;
}

/** The snapshot's parts, and the whole of it as `state`. */
export interface RecordPresence extends PresenceState {
  readonly state: PresenceState;
  /** What one does just now, see Presence.signal(). The same function until the record changes. */
  signal(kind: SignalKind, data?: unknown): void;
  readonly claim: Presence['claim'];
  readonly release: Presence['release'];
  readonly announceSaved: Presence['announceSaved'];
  /** After `unauthorized`, or to beat at once. */
  resume(): void;
}

export function useRecordPresence(
  recordType: string,
  /** null for a record that isn't saved yet: nothing happens. */
  recordId: string | number | null,
  /** Or the names of the dirty fields. */
  isDirty?: boolean | readonly string[],
  options?: RecordPresenceOptions,
): RecordPresence;

export function PresenceAvatars(props: AvatarOptions & { state: PresenceState }): ReactElement;
