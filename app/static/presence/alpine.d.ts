import type { Mode, Presence, PresenceState, SignalKind } from './presence.js';

/** What `x-data="recordPresence(type, id, options)"` puts in scope, with the parts of PresenceState. */
export interface RecordPresenceComponent extends PresenceState {
  /** The whole snapshot. */
  presence: PresenceState | null;
  setDirty(dirty: boolean | readonly string[]): void;
  setBaseVersion(lockVersion: number | null): void;
  claim: Presence['claim'];
  release: Presence['release'];
  decline: Presence['decline'];
  announceSaved: Presence['announceSaved'];
  setMode(mode: Mode): void;
  setActiveField(name: string | null): void;
  signal(kind: SignalKind, data?: unknown): void;
  resume(): void;
}

/** `Alpine.plugin(presence)` before `Alpine.start()`. */
export default function presence(Alpine: unknown): void;
