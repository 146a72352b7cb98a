// For <record-presence lock>: what another tab has claimed can be read and not changed, and says why.

import { nameOf } from './initials.js';

const WORDS = '{name} has this field. It is read-only until they let it go.';
const NO_FIELD = new Set(['hidden', 'button', 'submit', 'reset', 'image', 'fieldset', 'output', 'object']);
// HTML knows no read-only state of these; disabled, they would be missing from what is submitted.
const CHOICES = new Set(['checkbox', 'radio', 'select-one', 'select-multiple', 'range', 'color', 'file']);
const HOLDING = ['mousedown', 'click', 'keydown', 'drop'];
const OURS = { subtree: true, childList: true, attributes: true, attributeFilter: ['readonly', 'aria-describedby'] };

let lastId = 0;

/**
 * Locks the form's controls as the presence's state says, until `stop()`: only while the list is fresh, since whoever
 * can't see whether somebody has let a field go must not be kept out of it. `words()` is the reason, with `{name}`; ''
 * for the English one. It stands where the page has `data-presence-lock="title"` in the form, or behind the field.
 */
export function createFieldLock({ presence, form, words }) {
  const locks = new Map(); // control -> { giveBack, noteId }
  const notes = new Map(); // field -> { node, isOurs }
  const observer = new MutationObserver(update); // a morph takes away what isn't in the page's HTML

  function update() {
    const { claims, fresh, tabId } = presence.getSnapshot();
    const wanted = new Map(); // field -> its controls
    const claimOf = (name) => [name, '*'].map((field) => fresh && Object.hasOwn(claims, field) && claims[field]);
    for (const control of (claims && form()?.elements) || []) {
      const { name, type } = control;
      if (!name || NO_FIELD.has(type) || !claimOf(name).some((claim) => claim && claim.tab_id !== tabId)) continue;
      wanted.set(name, [...(wanted.get(name) ?? []), control]);
    }
    const controls = new Set([...wanted.values()].flat());
    for (const control of locks.keys()) if (!controls.has(control)) unlock(control);
    for (const [name, { node }] of notes) if (!wanted.has(name) || !node.isConnected) removeNote(name);
    for (const [name, all] of wanted) {
      const { user } = claimOf(name).find(Boolean);
      const node = noteOf(name, all, (words() || WORDS).replaceAll('{name}', `\u2068${nameOf(user, '?')}\u2069`));
      for (const control of all) lock(control, node.id);
    }
    observer.disconnect();
    if (form()) observer.observe(form(), OURS);
  }

  function noteOf(name, controls, text) {
    if (!notes.has(name)) {
      const places = [...form().querySelectorAll('[data-presence-lock]')];
      const place = places.find(({ dataset }) => dataset.presenceLock === name);
      const node = place ?? document.createElement('span');
      node.id ||= `presence-lock-${++lastId}`;
      if (!place) {
        const last = controls.at(-1);
        node.className = 'presence-lock';
        // Whoever is typing hears of it at once; the others when they come to the field.
        if (controls.includes(last.getRootNode().activeElement)) node.setAttribute('role', 'alert');
        (last.closest('label') ?? last).after(node);
      }
      notes.set(name, { node, isOurs: !place });
    }
    const { node } = notes.get(name);
    if (node.textContent !== text) node.textContent = text;
    return node;
  }

  function removeNote(name) {
    const { node, isOurs } = notes.get(name);
    notes.delete(name);
    if (isOurs) node.remove();
    else node.textContent = '';
  }

  function lock(control, noteId) {
    const isChoice = CHOICES.has(control.type);
    if (!locks.has(control)) locks.set(control, { giveBack: isChoice ? holdChoice(control) : makeReadOnly(control) });
    else if (!isChoice && !control.readOnly) control.readOnly = true;
    const held = locks.get(control);
    if (held.noteId !== noteId || !idsOf(control).includes(noteId)) describe(control, held.noteId, noteId);
    held.noteId = noteId;
  }

  function unlock(control) {
    const { giveBack, noteId } = locks.get(control);
    locks.delete(control);
    giveBack();
    describe(control, noteId);
  }

  const unsubscribe = presence.subscribe(update);
  update();

  return {
    update,
    stop() {
      unsubscribe();
      observer.disconnect();
      for (const control of locks.keys()) unlock(control);
      for (const name of notes.keys()) removeNote(name);
    },
  };
}

/** Returns what gives the control back as the page has made it. */
function makeReadOnly(control) {
  const { readOnly: wasReadOnly } = control;
  control.readOnly = true;
  return () => {
    control.readOnly = wasReadOnly;
  };
}

function holdChoice(control) {
  const before = control.getAttribute('aria-disabled');
  const listening = new AbortController();
  let kept = choiceOf(control);
  const keep = () => (kept = choiceOf(control));
  const hold = (event) => {
    const { type, key, ctrlKey, metaKey, altKey } = event;
    if (type === 'keydown' && (['Tab', 'Escape'].includes(key) || ctrlKey || metaKey || altKey)) return;
    event.preventDefault();
    if (type === 'mousedown') control.focus(); // where the reason is read
  };
  // Some phones open their own picker all the same.
  const putBack = (event) => {
    if (!event.isTrusted) return keep(); // a script of the page has set it
    event.stopImmediatePropagation();
    restoreChoice(control, kept);
  };
  const on = (names, run) => {
    for (const name of names) control.addEventListener(name, run, { capture: true, signal: listening.signal });
  };
  on(['focus', 'pointerdown'], keep);
  on(HOLDING, hold);
  on(['input', 'change'], putBack);
  control.setAttribute('aria-disabled', 'true');
  return () => {
    listening.abort();
    setOrRemove(control, 'aria-disabled', before);
  };
}

const choiceOf = ({ options, checked, value }) => ({
  selected: options && [...options].map((option) => option.selected),
  checked,
  value,
});

function restoreChoice(control, { selected, checked, value }) {
  if (selected) for (const [i, option] of [...control.options].entries()) option.selected = selected[i];
  else if (checked !== undefined) control.checked = checked;
  if (['range', 'color'].includes(control.type)) control.value = value;
}

const idsOf = (control) => (control.getAttribute('aria-describedby') ?? '').split(/\s+/).filter(Boolean);

/** Takes one id from what describes the control, and adds another one. */
function describe(control, without, added) {
  const ids = idsOf(control).filter((id) => id !== without && id !== added);
  setOrRemove(control, 'aria-describedby', [...ids, added].filter(Boolean).join(' ') || null);
}

function setOrRemove(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}
