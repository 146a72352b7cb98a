// What is around each test: fake timers, a page that is visible, a service, and the presences that the test opens.

import { createPresence } from 'presence/presence.js';
import { afterEach, beforeEach, vi } from 'vitest';
import { createService, createStreams, page, pass } from './fakes.js';

/** Of the test that runs; the service answers with `streams` only where the test has asked for it. */
export let service;
export let streams;

const opened = [];

export function useFakePage() {
  beforeEach(() => {
    vi.useFakeTimers();
    page.reset();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

/** A fake page, and a service that answers; `{ streaming: true }`: also `GET events`. */
export function useService({ streaming = false } = {}) {
  useFakePage();
  beforeEach(() => {
    service = createService();
    streams = createStreams();
    if (streaming) service.streams = streams;
  });
  afterEach(async () => {
    service.failing = null;
    const goodbyes = opened.splice(0).map((presence) => presence.stop());
    if (goodbyes.length) await pass(2000); // for a beat that nobody answers
    await Promise.all(goodbyes);
  });
}

/** Stopped after the test. random() of 0.5 is the middle of every jitter: 30 s is 30 s. */
export function openPresence({ browser, ...options } = {}) {
  const presence = createPresence({
    type: 'flow',
    id: 12,
    ...options,
    browser: { fetch: service.fetch, random: () => 0.5, ...browser },
  });
  opened.push(presence);
  return presence;
}
