// What follows a failed heartbeat, beside the next one. Loaded by presence.js after the first failure.

import { diagnose } from './diagnose.js';
import { resumeWhenRenewed } from './tokens.js';

const DIAGNOSE_AFTER_MS = 10_000;

const diagnosed = new WeakSet(); // stores

export function onFailure(error, { store, lifecycle, ...connection }) {
  const { browser, token } = connection;
  if (!diagnosed.has(store)) browser.setTimer(() => diagnose(store.getSnapshot(), connection), DIAGNOSE_AFTER_MS);
  diagnosed.add(store);
  if (token && error.kind === 'unauthorized') resumeWhenRenewed(error, token, browser, store, lifecycle.resume);
}
