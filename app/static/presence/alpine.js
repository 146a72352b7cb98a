// Alpine over the core: x-data="recordPresence('flow', 12)", x-presence-avatars, x-presence-form.

import { clearAvatars, renderAvatars } from './avatars.js';
import { trackDirty } from './dirty.js';
import { createPresence } from './presence.js';
import { whoIsIn, whoIsTyping } from './who.js';

const COMPONENT = 'recordPresence';

export default function (Alpine) {
  // Kept beside the component, not in it: Alpine would wrap it in a proxy.
  const presences = new WeakMap();
  const presenceOf = (element) => {
    const host = Alpine.findClosest(element, (candidate) => presences.has(candidate));
    if (!host) throw new Error(`No ${COMPONENT} around this element.`);
    return presences.get(host);
  };

  Alpine.data(COMPONENT, (type, id, options = {}) => {
    let host;
    let presence;
    return {
      viewers: null,
      total: null,
      version: null,
      status: 'idle',
      fresh: false,
      staleSince: null,
      error: null,
      tabId: null,
      typing: [],
      saved: null,
      claims: null,
      forecast: null,
      presence: null, // the whole snapshot

      init() {
        host = this.$el;
        presence = createPresence({ ...options, type, id, autoStart: false });
        presences.set(host, presence);
        const show = (snapshot) => Object.assign(this, snapshot, { presence: snapshot });
        presence.subscribe(show);
        for (const event of ['change', 'unauthorized', 'error', 'signal']) {
          presence.on(event, (detail) =>
            host.dispatchEvent(new CustomEvent(`presence:${event}`, { detail, bubbles: true })),
          );
        }
        presence.resume();
      },
      destroy() {
        presences.delete(host);
        presence.stop();
      },

      setDirty: (value) => presence.setDirty(value),
      setMode: (value) => presence.setMode(value),
      setActiveField: (value) => presence.setActiveField(value),
      setBaseVersion: (value) => presence.setBaseVersion(value),
      claim: (field, options) => presence.claim(field, options),
      release: (field) => presence.release(field),
      announceSaved: (lockVersion, fields) => presence.announceSaved(lockVersion, fields),
      signal: (kind, data) => presence.signal(kind, data),
      resume: () => presence.resume(),
    };
  });

  Alpine.magic('whoIsIn', () => whoIsIn);
  Alpine.magic('whoIsTyping', () => whoIsTyping);

  /** The avatars of the component around it; the expression, if any, gives renderAvatars' options. */
  Alpine.directive('presence-avatars', (element, { expression }, { evaluate, cleanup }) => {
    const presence = presenceOf(element);
    const options = expression ? evaluate(expression) : {};
    const render = () => renderAvatars(element, presence.getSnapshot(), options);
    const stop = presence.subscribe(render);
    render();
    cleanup(() => {
      stop();
      clearAvatars(element);
    });
  });

  /**
   * On a form: which fields have unsaved changes, the field that has the focus, and typing are told to the
   * others. The expression, if any, is run on each change, with $dirty and $fields. Dispatch `presence:saved`
   * on the form after a save; with a `lockVersion`, that is what is loaded now.
   */
  Alpine.directive('presence-form', (form, { expression }, { evaluateLater, cleanup }) => {
    const presence = presenceOf(form);
    const run = expression ? evaluateLater(expression) : null;
    let tracker;
    let isGone = false;
    // After this turn: Alpine starts with the form, and what stands in it is drawn and filled afterwards.
    Alpine.nextTick(() => {
      if (isGone) return;
      tracker = trackDirty(form, {
        onFocus: presence.setActiveField,
        onChange({ dirty, fields }) {
          presence.setDirty(fields);
          run?.(() => {}, { scope: { $dirty: dirty, $fields: fields } });
        },
      });
    });
    const onSaved = ({ detail }) => {
      if (detail?.lockVersion !== undefined) presence.setBaseVersion(detail.lockVersion);
      tracker?.rebase(detail?.values);
    };
    // Typing is what a person does: a script that fills the form is not typing.
    const onInput = ({ target, isTrusted }) =>
      isTrusted && target.name && presence.signal('typing', { field: target.name });
    const onBlur = () => presence.signal('typing', null);
    form.addEventListener('presence:saved', onSaved);
    form.addEventListener('input', onInput);
    form.addEventListener('focusout', onBlur);
    cleanup(() => {
      isGone = true;
      tracker?.stop();
      form.removeEventListener('presence:saved', onSaved);
      form.removeEventListener('input', onInput);
      form.removeEventListener('focusout', onBlur);
      presence.setDirty(false);
      presence.setActiveField(null);
    });
  });
}
