/** Made half an interval after the timer was due, and again at each interval, until the timer is cleared. */
export interface StandIn {
  intervalMs: number;
  /** What fetch takes; only what can be cloned. */
  request: [url: string, init: RequestInit];
}

/** What the client needs from a browser. Each part can be replaced, for tests or unusual hosts. */
export interface Browser {
  /** Milliseconds; never runs backwards, and counts the time that the machine sleeps. */
  now(): number;
  /** Milliseconds since 1970. */
  wallNow(): number;
  /** Fires on time in a hidden page too. Where the page stands still then, its worker makes the request of `standIn`. */
  setTimer(run: () => void, delayMs: number, standIn?: StandIn | null): number;
  clearTimer(timer: number | undefined): void;
  /** A request of the worker's that may be under way; null without one. */
  workerRequest?(): { answered: Promise<void>; abort: AbortController } | null | undefined;
  random(): number;
  fetch: typeof fetch;
  newTabId(): string;
  csrfToken(): string | null | undefined;
  isVisible(): boolean;
  isPrerendering(): boolean;
  /** Reports an error that a handler of the host's threw. */
  report(error: unknown): void;
  listen(handlers: { wake(): void; glance(): void; hide(): void; leave(): void; freeze?(): void }): () => void;
  /** Calls back whenever the user does something. Without it, they are away only while the page is hidden. */
  onActivity?(run: () => void): () => void;
  /** The focus is in a frame, where this page hears of nothing. */
  isInFrame?(): boolean;
  /** This and what follows only the stream needs, see browserSharing.js. */
  resolveUrl(url: string): string;
  /** Without it, or without openChannel, each tab has a stream of its own. */
  locks?: LockManager | undefined;
  openChannel?: ((name: string) => BroadcastChannel) | undefined;
  digest(text: string): Promise<string>;
}

export type PageBrowser = Omit<Browser, 'onActivity' | 'isInFrame' | 'resolveUrl' | 'locks' | 'openChannel' | 'digest'>;
export function createBrowser(window?: unknown, options?: { startWorker?: () => Worker }): PageBrowser;
export function theBrowser(): PageBrowser;
