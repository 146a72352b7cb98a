// Alpine over the core: x-data="recordPresence('flow', 12)", x-presence-avatars, x-presence-form.

import { clearAvatars, renderAvatars } from './avatars.js';
import { trackDirty } from './dirty.js';
import { createPresence } from './presence.js';
import { acquire, release } from './presencePool.js';
import { whoIsIn, whoIsTyping } from './who.js';

const COMPONENT = 'recordPresence';
const EVENTS = ['change', 'unauthorized', 'error', 'signal', 'asked', 'passed'];

export default function (Alpine) {
  // Kept beside the component, not in it: Alpine would wrap it in a proxy.
  const hosts = new WeakMap(); // element -> host
  const hostOf = (element) => {
    const found = Alpine.findClosest(element, (candidate) => hosts.has(candidate));
    if (!found) throw new Error(`No ${COMPONENT} around this element.`);
    return hosts.get(found);
  };
  const live = new Set(); // hosts with a presence

  // Alpine doesn't always tell a component that its element is gone: not when Turbo replaces the first page.
  const releaseRemoved = () => {
    for (const host of live) if (!host.element.isConnected) release(host.held);
  };
  const pageObserver = globalThis.document && new MutationObserver(releaseRemoved);

  /** The presence of a former component on the same record, if that is gone in this turn; or else a new one. */
  function enter(element, type, id, options) {
    const host = hosts.get(element) ?? createHost(element);
    hosts.set(element, host);
    releaseRemoved();
    const { base, token, csrfToken, credentials } = options;
    const key = JSON.stringify([type, id, base, token !== undefined, csrfToken, credentials]);
    const held = acquire(key) ?? { key, token: { current: token } };
    held.token.current = token; // the server may have sent a new one
    held.presence ??= createPresence({
      ...options,
      token: token === undefined ? undefined : held.token,
      type,
      id,
      autoStart: false,
    });
    if (host.held) host.held.letGo = null;
    host.hold(held);
    held.letGo = () => {
      live.delete(host);
      if (!live.size) pageObserver?.disconnect();
      host.letGo();
    };
    pageObserver?.observe(document, { childList: true, subtree: true });
    live.add(host);
    return host;
  }

  Alpine.data(COMPONENT, (type, id, options = {}) => {
    let host;
    let presence;
    let unfollow;
    const call =
      (name) =>
      (...values) =>
        presence?.[name](...values);
    return {
      viewers: null,
      total: null,
      version: null,
      status: 'idle',
      fresh: false,
      staleSince: null,
      unseen: false,
      error: null,
      tabId: null,
      typing: [],
      saved: null,
      claims: null,
      forecast: null,
      presence: null, // the whole snapshot

      init() {
        const element = this.$el;
        const emit = (event, detail) =>
          element.dispatchEvent(new CustomEvent(`presence:${event}`, { detail, bubbles: true, composed: true }));
        const show = (snapshot) => Object.assign(this, snapshot, { presence: snapshot });

        const start = () => {
          host = enter(element, type, id, options);
          const { held } = host;
          presence = held.presence;
          unfollow = host.follow(() =>
            all([
              presence.subscribe((snapshot) => {
                show(snapshot);
                emit('state', snapshot);
              }),
              ...EVENTS.map((event) => presence.on(event, (detail) => emit(event, detail))),
            ]),
          );
          if (held.isStarted) {
            show(presence.getSnapshot());
            emit('state', presence.getSnapshot());
            presence.setMode(options.mode ?? 'view');
            if (options.baseVersion !== undefined) presence.setBaseVersion(options.baseVersion);
          }
          const { error } = presence.getSnapshot();
          if (!held.isStarted || error?.isAboutToken || error?.kind === 'unauthorized') presence.resume();
          held.isStarted = true;
        };
        Alpine.skipDuringClone(start)(); // a morph clones a component to compare with it
      },
      destroy() {
        if (host?.held) release(host.held);
        unfollow?.();
      },

      setDirty: call('setDirty'),
      setMode: call('setMode'),
      setActiveField: call('setActiveField'),
      setBaseVersion: call('setBaseVersion'),
      claim: call('claim'),
      release: call('release'),
      decline: call('decline'),
      announceSaved: call('announceSaved'),
      signal: call('signal'),
      resume: call('resume'),
    };
  });

  Alpine.magic('whoIsIn', () => whoIsIn);
  Alpine.magic('whoIsTyping', () => whoIsTyping);

  /** Not for the clone with which a morph compares, and which is in no page. */
  const directive = (name, run) => Alpine.directive(name, Alpine.skipDuringClone(run));

  /** The avatars of the component around it; the expression, if any, gives renderAvatars' options. */
  directive('presence-avatars', (element, { expression }, { evaluate, cleanup }) => {
    const options = expression ? evaluate(expression) : {};
    const stop = hostOf(element).follow((presence) => {
      const render = () => renderAvatars(element, presence.getSnapshot(), options);
      render();
      return all([presence.subscribe(render), () => element.isConnected || clearAvatars(element)]);
    });
    cleanup(() => {
      stop();
      clearAvatars(element);
    });
  });

  /**
   * On a form: tells the others which fields have unsaved changes, which one has the focus, and where someone is
   * typing. The expression, if any, runs on each change, with $dirty and $fields. Dispatch `presence:saved` on the
   * form after a save, with the `lockVersion` that is now loaded.
   */
  directive('presence-form', (form, { expression }, { evaluateLater, cleanup }) => {
    const host = hostOf(form);
    const run = expression ? evaluateLater(expression) : null;
    let tracker;
    let isGone = false;
    let focused = null;
    const presence = () => host.held?.presence;
    const stop = host.follow((next) => {
      next.setDirty(tracker?.dirtyFields() ?? false);
      next.setActiveField(focused);
      return () => form.isConnected || tracker?.stop();
    });
    // After this turn: Alpine starts with the form, and renders and fills what is in it afterwards.
    Alpine.nextTick(() => {
      if (isGone) return;
      tracker = trackDirty(form, {
        onFocus(field) {
          focused = field;
          presence()?.setActiveField(field);
        },
        onChange({ dirty, fields }) {
          presence()?.setDirty(fields);
          run?.(() => {}, { scope: { $dirty: dirty, $fields: fields } });
        },
      });
    });
    const onSaved = ({ detail }) => {
      if (detail?.lockVersion !== undefined) presence()?.setBaseVersion(detail.lockVersion);
      tracker?.rebase(detail?.values);
    };
    // Only what a person does is typing, not a script that fills the form.
    const onInput = ({ target, isTrusted }) =>
      isTrusted && target.name && presence()?.signal('typing', { field: target.name });
    const onBlur = () => presence()?.signal('typing', null);
    form.addEventListener('presence:saved', onSaved);
    form.addEventListener('input', onInput);
    form.addEventListener('focusout', onBlur);
    cleanup(() => {
      isGone = true;
      stop();
      tracker?.stop();
      form.removeEventListener('presence:saved', onSaved);
      form.removeEventListener('input', onInput);
      form.removeEventListener('focusout', onBlur);
      presence()?.setDirty(false);
      presence()?.setActiveField(null);
    });
  });
}

const all = (ends) => () => {
  for (const end of ends) end();
};

/** The element of a component: which presence it has now, and those who follow it from one to the next. */
function createHost(element) {
  const followers = new Map(); // function -> how to end it for the presence of now
  const host = {
    element,
    held: null,

    hold(held) {
      host.letGo();
      host.held = held;
      for (const follow of followers.keys()) followers.set(follow, follow(held.presence));
    },
    letGo() {
      for (const [follow, end] of followers) {
        end?.();
        followers.set(follow, null);
      }
      host.held = null;
    },
    follow(run) {
      followers.set(run, host.held && run(host.held.presence));
      return () => {
        followers.get(run)?.();
        followers.delete(run);
      };
    },
  };
  return host;
}
