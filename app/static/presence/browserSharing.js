// The rest of the contact with the browser: what only streams and their sharing need, loaded with them.

/** For browser.d.ts. */
export const sharingOf = (win = globalThis) => ({
  /** The whole URL, however the page writes it. */
  resolveUrl: (url) => new URL(url, win.location?.href).href,
  /** undefined where the browser has no Web Locks, as on plain http. */
  locks: win.navigator?.locks,
  openChannel: win.BroadcastChannel && ((name) => new win.BroadcastChannel(name)),
  /** SHA-256 in hex; only where there are locks. */
  digest: async (text) =>
    hex(new Uint8Array(await win.crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))),
});

const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
