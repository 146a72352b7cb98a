// watch: the live events of records, without registering a tab. Options and behaviour are in stream.d.ts and README.md.

import { theBrowser } from './browser.js';
import { sharingOf } from './browserSharing.js';
import { watchRecords } from './hubs.js';
import { failureOf, presenceError } from './transport.js';

export const watch = ({ base = '/api/v1/presence', token, browser, ...options }) =>
  watchRecords({
    ...options,
    base,
    token: token == null ? token : { current: token },
    browser: { ...theBrowser(), ...sharingOf(), ...browser },
    failureOf,
    presenceError,
  });
