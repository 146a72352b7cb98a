import type { Browser } from './browser.js';
import type { Claim, PresenceError, PresenceOptions, Save, Viewer } from './presence.js';

/** The viewers of one record, without oneself. */
export interface ViewerList {
  readonly viewers: readonly Viewer[];
  readonly total: number;
  readonly version: string;
  /** The last saves, including one's own, oldest first. */
  readonly saved: readonly Save[];
  readonly claims: Readonly<Record<string, Claim>>;
  /** Redis has lost its data: some who are listed may not come back. Another list confirms those who did. */
  readonly unconfirmed?: true;
}

export interface WatchOptions
  extends Pick<PresenceOptions, 'base' | 'token' | 'csrfToken' | 'credentials' | 'share' | 'shareKey'> {
  /** Up to 100, such as "flow:12". */
  records: readonly string[];
  /** Called with a record's list each time it changes or is confirmed. */
  onList(record: string, list: ViewerList): void;
  /** Nothing is confirmed since `goodUntil` (on browser.now()'s clock); reconnects by itself. */
  onLost?: ((goodUntil: number) => void) | undefined;
  /**
   * 401 or 403; tried again by itself within half a minute. With `error.records` only these are refused, and the others
   * are streamed.
   */
  onRefused?: ((error: PresenceError) => void) | undefined;
  /** The server has no event streams (204): nothing comes until resume(). */
  onUnsupported?: (() => void) | undefined;
  /** The service answers again, as this tab or another one found: what waits for its next try may try now. */
  onBack?: (() => void) | undefined;
  /** Other events of the record, such as `signal`. */
  onEvent?: ((kind: string, data: any) => void) | undefined;
  browser?: Partial<Browser> | undefined;
}

/** Watches records without being listed as a viewer, for lists of records. */
export function watch(options: WatchOptions): {
  /** Tells all tabs that share the stream that a call of this one was answered again. */
  back(): void;
  /** Tries the stream at once, even where the server had none. */
  resume(): void;
  close(): void;
};
