/** What the client needs from a browser. Every part can be replaced, for tests or for unusual hosts. */
export interface Browser {
  /** Milliseconds, never backwards, the machine's sleep included. */
  now(): number;
  /** Milliseconds since 1970. */
  wallNow(): number;
  /** Also on time in a hidden page. */
  setTimer(run: () => void, delayMs: number): number;
  clearTimer(timer: number | undefined): void;
  random(): number;
  fetch: typeof fetch;
  newTabId(): string;
  csrfToken(): string | null | undefined;
  isVisible(): boolean;
  isPrerendering(): boolean;
  /** Errors of the host's own handlers. */
  report(error: unknown): void;
  listen(handlers: {
    wake(): void;
    glance(): void;
    hide(): void;
    leave(): void;
    freeze?(): void;
  }): () => void;
  /** From here on what only the stream needs: browser-late.js. */
  resolveUrl(url: string): string;
  /** Without it, or without openChannel, each tab has its own stream. */
  locks?: LockManager;
  openChannel?: (name: string) => BroadcastChannel;
  digest(text: string): Promise<string>;
}

export type PageBrowser = Omit<Browser, 'resolveUrl' | 'locks' | 'openChannel' | 'digest'>;
export function createBrowser(window?: unknown, options?: { startWorker?: () => Worker }): PageBrowser;
export function theBrowser(): PageBrowser;
