import type { Browser } from './browser.js';
import type { Claim, PresenceError, PresenceOptions, Save, Viewer } from './presence.js';

/** The viewers of one record, oneself left out. */
export interface ViewerList {
  readonly viewers: readonly Viewer[];
  readonly total: number;
  readonly version: string;
  /** The last saves, one's own too, oldest first. */
  readonly saved: readonly Save[];
  readonly claims: Readonly<Record<string, Claim>>;
  /** Redis has lost its data: some who are listed may not come back. Confirmed by another list. */
  readonly unconfirmed?: true;
}

export interface WatchOptions
  extends Pick<PresenceOptions, 'base' | 'token' | 'csrfToken' | 'credentials' | 'share' | 'shareKey'> {
  /** Up to 100, such as "flow:12". */
  records: readonly string[];
  /** A record's list, each time it changes or is confirmed. */
  onList(record: string, list: ViewerList): void;
  /** Nothing is confirmed any more since `goodUntil` (on browser.now()'s clock); goes on by itself. */
  onLost?(goodUntil: number): void;
  /** 401 or 403; asked again by itself, more and more rarely. */
  onRefused?(error: PresenceError): void;
  /** The service answers again, as this tab or another one found: what waits for its next try may go on. */
  onBack?(): void;
  /** Other events of the record, such as `signal`. */
  onEvent?(kind: string, data: any): void;
  browser?: Partial<Browser>;
}

/** Watch records without being there, as a list of records does. */
export function watch(options: WatchOptions): {
  /** A call of one's own was answered again: all tabs that share the stream hear of it. */
  back(): void;
  close(): void;
};
