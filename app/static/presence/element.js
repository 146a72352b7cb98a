// <record-presence type="flow" id="12" form="editor">: this tab on a record, and the avatars of the others.

import { clearAvatars, renderAvatars } from './avatars.js';
import { trackDirty } from './dirty.js';
import { createPresence } from './presence.js';
import { acquire, reclaim, release } from './presencePool.js';

const EVENTS = ['change', 'unauthorized', 'error', 'signal', 'asked', 'passed'];

class RecordPresence extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ['type', 'id', 'base', 'token', 'token-url', 'mode', 'form', 'base-version', 'lock'];

  presence = null;
  tracker = null;
  #held = null; // the presence, with what this or a former element has set; see presencePool.js
  #formId = null;
  #lock = null; // of fields that others have claimed
  #token = null; // "": there is none yet; null: the page uses none
  #tokenUrl = null; // { url }
  #getToken = null;
  #stopListening = null;
  #isUpdating = false;
  #unsubscribes = [];

  connectedCallback() {
    const early = Object.getOwnPropertyDescriptor(this, 'getToken'); // set before this file was loaded
    if (early) {
      delete this.getToken;
      this.#getToken = early.value;
    }
    this.#update();
  }

  get getToken() {
    return this.#getToken;
  }

  set getToken(ask) {
    this.#getToken = ask ?? null;
    this.#update();
  }

  disconnectedCallback() {
    this.#update();
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    // One that a script has set may be removed by a morph.
    if (name === 'token') this.#token = now ?? this.#token;
    if (name === 'token-url') this.#tokenUrl = now ? { url: now } : this.#tokenUrl;
    this.#update();
  }

  /** What proves who is calling, as createPresence takes it; null where that is a cookie of the page. */
  #proof() {
    return this.#getToken ?? this.#tokenUrl ?? this.#token;
  }

  /** At once, what is no longer this element's is another's to take; the rest follows when all attributes are set. */
  #update() {
    if (this.#held && this.#held.key !== this.#key()) release(this.#held);
    if (this.#isUpdating) return;
    this.#isUpdating = true;
    queueMicrotask(() => {
      this.#isUpdating = false;
      this.#apply();
    });
  }

  /** What makes another presence; null while there is none. */
  #key() {
    const type = this.getAttribute('type');
    if (!this.isConnected || !type || !this.id) return null;
    return JSON.stringify([type, this.id, this.getAttribute('base'), this.#proof() !== null]);
  }

  #apply() {
    const key = this.#key();
    if (!key) return;
    if (this.#held?.key !== key) this.#letGo();
    if (this.#held) reclaim(this.#held);
    else this.#hold(acquire(key) ?? this.#create(key));
    this.#watchForm();
    this.#applyLock();
    this.#applyAttributes();
  }

  #create(key) {
    const held = { key, token: { current: this.#proof() } };
    held.presence = createPresence({
      type: this.getAttribute('type'),
      id: this.id,
      base: this.getAttribute('base') ?? undefined,
      token: this.#proof() === null ? undefined : held.token,
      awayAfterMs: Number(this.getAttribute('away-after-ms')) || undefined,
      autoStart: false,
    });
    return held;
  }

  #hold(held) {
    const { presence } = held;
    held.letGo = () => this.#letGo();
    this.#held = held;
    this.presence = presence;
    const draw = (state) =>
      renderAvatars(this, state, {
        wasHere: this.hasAttribute('was-here'),
        pictures: this.getAttribute('pictures') !== 'off',
      });
    draw(presence.getSnapshot());
    if (held.isStarted) this.#emit('state', presence.getSnapshot());
    this.#unsubscribes = [
      presence.subscribe((state) => {
        draw(state);
        this.#emit('state', state);
      }),
      ...EVENTS.map((event) => presence.on(event, (detail) => this.#emit(event, detail))),
    ];
  }

  #letGo() {
    if (!this.#held) return;
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
    this.#unwatchForm();
    clearAvatars(this);
    this.#held.letGo = null;
    this.#held = this.presence = null;
  }

  #emit(event, detail) {
    this.dispatchEvent(new CustomEvent(`presence:${event}`, { detail, bubbles: true, composed: true }));
  }

  #watchForm() {
    const id = this.getAttribute('form');
    if (id === this.#formId) return;
    this.#unwatchForm();
    const { presence } = this;
    if (this.#held.hadForm) {
      presence.setDirty(false);
      presence.setActiveField(null);
    }
    this.#held.hadForm = !!id;
    if (!id) return;
    this.#formId = id;
    const root = this.getRootNode();
    const tracker = trackDirty(id, {
      root,
      onChange: ({ fields }) => presence.setDirty(fields),
      onFocus: presence.setActiveField,
      onForm: () => {
        this.#lock?.update?.();
        if (this.tracker) this.#applyAttributes();
      },
    });
    const onSaved = ({ target, detail }) => {
      if (target !== tracker.form()) return;
      if (detail?.lockVersion !== undefined) presence.setBaseVersion(detail.lockVersion);
      tracker.rebase(detail?.values);
    };
    root.addEventListener('presence:saved', onSaved);
    this.tracker = tracker;
    this.#stopListening = () => root.removeEventListener('presence:saved', onSaved);
  }

  /** Loaded only for pages that want it. */
  #applyLock() {
    const { presence, tracker } = this;
    if (!tracker || !this.hasAttribute('lock')) {
      this.#unlock();
    } else if (this.#lock) {
      this.#lock.update?.(); // the words may be others
    } else {
      const lock = (this.#lock = {});
      import('./fieldLock.js')
        .then(({ createFieldLock }) => {
          const words = () => this.getAttribute('lock');
          if (this.#lock === lock) Object.assign(lock, createFieldLock({ presence, form: tracker.form, words }));
        })
        .catch(() => {
          if (this.#lock === lock) this.#lock = null; // the next attribute that changes tries again
        });
    }
  }

  #unlock() {
    this.#lock?.stop?.();
    this.#lock = null;
  }

  #unwatchForm() {
    this.#unlock();
    this.#stopListening?.();
    this.tracker?.stop();
    this.tracker = this.#stopListening = this.#formId = null;
  }

  /** Only what has changed: the page may have called setMode() or setBaseVersion() itself. */
  #applyAttributes() {
    const held = this.#held;
    const { presence } = held;
    const mode = this.getAttribute('mode') ?? (this.tracker?.form() ? 'edit' : 'view');
    const baseVersion = this.getAttribute('base-version');
    if (held.mode !== mode) presence.setMode(mode);
    if (held.baseVersion !== baseVersion) presence.setBaseVersion(baseVersion ? Number(baseVersion) : null);
    const isNewToken = held.token.current !== this.#proof();
    held.token.current = this.#proof();
    const { error } = presence.getSnapshot();
    const waitsForToken = error?.isAboutToken || error?.kind === 'unauthorized';
    if (!held.isStarted || (isNewToken && waitsForToken)) presence.resume();
    Object.assign(held, { mode, baseVersion, isStarted: true });
  }
}

if (globalThis.customElements && !customElements.get('record-presence')) {
  customElements.define('record-presence', RecordPresence);
}
