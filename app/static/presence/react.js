// React over the core: a hook, and the avatars and conflicts as components.
'use client';

import { createElement, useEffect, useMemo, useRef, useSyncExternalStore } from 'react';

import { clearAvatars, renderAvatars } from './avatars.js';
import { createConflictLoader } from './conflictLoader.js';
import { createPresence } from './presence.js';
import { NOTHING_KNOWN } from './store.js';

const nothingKnown = () => NOTHING_KNOWN;

/**
 * Keeps this component's tab on a record for as long as it is mounted. Another record makes another
 * presence: its first render says "not known", and never has the viewers of the previous record.
 *
 * `isDirty` may be the names of the dirty fields. `options` are createPresence's. `mode`, `activeField`,
 * `baseVersion`, `token` and the functions may change at any time; `base` and `credentials` are read when the record
 * changes.
 */
export function useRecordPresence(recordType, recordId, isDirty = false, options = {}) {
  const latest = useRef(options);
  const { token } = options;
  const hasToken = token !== undefined; // null or '': not yet
  const presence = useMemo(
    () =>
      createPresence({
        ...options,
        // Functions are usually written inline, so the newest one is called.
        token: hasToken
          ? {
              get current() {
                return latest.current.token;
              },
            }
          : undefined,
        csrfToken: options.csrfToken && (() => callOrGet(latest.current.csrfToken)),
        type: recordType,
        id: recordId,
        autoStart: false, // rendering has no effects
      }),
    [recordType, recordId, hasToken],
  );

  const { mode = 'view', activeField = null, baseVersion = null } = options;
  const dirtyKey = JSON.stringify(isDirty); // names in another array are the same names
  useEffect(() => {
    latest.current = options;
  });
  useEffect(() => {
    presence.setBaseVersion(baseVersion);
    presence.setDirty(isDirty);
    presence.setMode(mode);
    presence.setActiveField(activeField);
  }, [presence, dirtyKey, mode, activeField, baseVersion]);

  useEffect(() => {
    if (recordId == null) return undefined; // not saved yet: nobody else can have it open
    const unsubscribes = [
      presence.on('change', (difference) => latest.current.onChange?.(difference)),
      presence.on('unauthorized', (error) => latest.current.onUnauthorized?.(error)),
      presence.on('error', (error) => latest.current.onError?.(error)),
      presence.on('signal', (signal) => latest.current.onSignal?.(signal)),
      presence.on('asked', (detail) => latest.current.onAsked?.(detail)),
      presence.on('passed', (detail) => latest.current.onPassed?.(detail)),
    ];
    presence.resume();
    return () => {
      presence.stop();
      for (const unsubscribe of unsubscribes) unsubscribe();
    };
  }, [presence, recordId]);

  useEffect(() => {
    const { error } = presence.getSnapshot();
    if (token && (error?.isAboutToken || error?.kind === 'unauthorized')) presence.resume();
  }, [presence, typeof token === 'function' || (token?.url ?? token)]);

  const state = useSyncExternalStore(presence.subscribe, presence.getSnapshot, nothingKnown);
  return useMemo(() => {
    const { resume, signal, claim, release, decline, announceSaved } = presence;
    return { ...state, state, resume, signal, claim, release, decline, announceSaved };
  }, [state, presence]);
}

const callOrGet = (value) => (typeof value === 'function' ? value() : value);

/** `state` is the hook's; the other props are renderAvatars' options. */
export function PresenceAvatars({ state, ...options }) {
  const element = useRef(null);
  useEffect(() => {
    renderAvatars(element.current, state, options);
  });
  useEffect(() => {
    const { current } = element;
    return () => clearAvatars(current);
  }, []);
  return createElement('div', { ref: element });
}

/** A conflict as long as there is `theirs`. See react.d.ts; the other props are the element's. */
export function RecordConflict({ onResolve, onCollisions, onError = console.error, ...conflict }) {
  const element = useRef(null);
  const loader = useRef(null);
  const resolved = useRef(null); // theirs, until the host has taken it over
  const latest = useRef(null);
  useEffect(() => {
    latest.current = { onResolve, onCollisions, onError };
  });
  useEffect(() => {
    const made = createConflictLoader(element.current, {
      onResolve(outcome) {
        resolved.current = outcome.theirs;
        latest.current.onResolve?.(outcome);
      },
      onCollisions: (fields) => latest.current.onCollisions?.(fields),
    });
    loader.current = made;
    return () => made.clear();
  }, []);
  useEffect(() => {
    const { theirs } = conflict;
    if (!theirs) {
      resolved.current = null;
      loader.current.clear();
    } else if (theirs !== resolved.current) {
      loader.current.show(conflict).catch((error) => latest.current.onError(error));
    }
  });
  return createElement('div', { ref: element });
}
