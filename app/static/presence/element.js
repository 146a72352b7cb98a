// <record-presence type="flow" id="12" form="editor">: this tab on a record, and the avatars of the others.

import { clearAvatars, renderAvatars } from './avatars.js';
import { trackDirty } from './dirty.js';
import { createPresence } from './presence.js';

class RecordPresence extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ['type', 'id', 'form', 'base', 'mode'];

  presence = null;
  tracker = null;
  #isOther = false; // another record, or another service
  #stop = null;

  connectedCallback() {
    this.#settle();
  }

  disconnectedCallback() {
    this.#settle();
  }

  attributeChangedCallback() {
    this.#isOther = true;
    this.#settle();
  }

  /** After this turn, so that an element that is moved, or gets several attributes, starts once. */
  #settle() {
    queueMicrotask(() => {
      if (this.#isOther || !this.isConnected) this.#stop?.();
      if (this.isConnected && !this.#stop && this.getAttribute('type') && this.id) this.#start();
      this.#isOther = false;
    });
  }

  #start() {
    const form = this.getRootNode().getElementById(this.getAttribute('form'));
    const presence = createPresence({
      type: this.getAttribute('type'),
      id: this.id,
      base: this.getAttribute('base') ?? undefined,
      mode: this.getAttribute('mode') ?? (form ? 'edit' : 'view'),
      token: this.hasAttribute('token') ? () => this.getAttribute('token') : undefined,
    });
    const draw = () => renderAvatars(this, presence.getSnapshot());
    presence.subscribe(draw);
    draw();
    const onChange = ({ fields }) => presence.setDirty(fields);
    this.presence = presence;
    this.tracker = form && trackDirty(form, { onChange, onFocus: presence.setActiveField });
    this.#stop = () => {
      this.tracker?.stop();
      presence.stop();
      clearAvatars(this);
      this.presence = this.tracker = this.#stop = null;
    };
  }
}

if (globalThis.customElements && !customElements.get('record-presence')) {
  customElements.define('record-presence', RecordPresence);
}
