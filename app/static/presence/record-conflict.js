// <record-conflict form="editor">: what somebody else has saved and what this form holds, made into one.

import { createConflictLoader } from './conflictLoader.js';

class RecordConflict extends (globalThis.HTMLElement ?? Object) {
  labels; // texts in place of the English ones
  #loader = null;
  #forms = null; // formValues.js
  #given = null;

  /** Says that the record was saved meanwhile. See record-conflict.d.ts. */
  async show(conflict) {
    if (this.#form()) this.#forms ??= await import('./formValues.js');
    this.#given = conflict;
    this.#loader ??= createConflictLoader(this, {
      onResolve: (outcome) => this.#resolve(outcome),
      onCollisions: (fields) => this.#emit('collisions', { fields }),
    });
    await this.#loader.show({ ...this.#knownByForm(conflict), labels: this.labels, ...conflict });
  }

  /** Opens the dialog, if there is a conflict. */
  open() {
    this.#loader?.open();
  }

  /** There is no conflict any more. */
  clear() {
    this.#loader?.clear();
  }

  #form() {
    const id = this.getAttribute('form');
    const found = id && (this.getRootNode().getElementById?.(id) ?? this.ownerDocument.getElementById(id));
    return found?.matches('form') ? found : null;
  }

  #knownByForm({ base }) {
    const form = this.#form();
    if (!form) return {};
    const { labelIn, readForm, shownIn, wholeFields } = this.#forms;
    return {
      mine: () => readForm(form, base),
      whole: wholeFields(form),
      fieldLabel: (name) => labelIn(form, name),
      format: (name, value) => shownIn(form, name, value),
    };
  }

  #resolve(outcome) {
    const { lockVersion } = this.#given;
    const form = this.#form();
    if (form) this.#fill(form, outcome, lockVersion);
    this.#emit('resolved', { ...outcome, lockVersion });
  }

  /** First with theirs, which is what is loaded now for whoever watches the form; then with what was made of both. */
  #fill(form, { base, theirs, values, collisions }, lockVersion) {
    const { fillForm, firstControl, tellChanged } = this.#forms;
    const before = new Set(fillForm(form, { ...base, ...theirs }));
    form.dispatchEvent(new CustomEvent('presence:saved', { bubbles: true, detail: { lockVersion } }));
    tellChanged(new Set([...before, ...fillForm(form, values)]));
    if (collisions.length) firstControl(form, collisions[0])?.focus();
  }

  #emit(event, detail) {
    this.dispatchEvent(new CustomEvent(`conflict:${event}`, { detail, bubbles: true, composed: true }));
  }
}

if (globalThis.customElements && !customElements.get('record-conflict')) {
  customElements.define('record-conflict', RecordConflict);
}
