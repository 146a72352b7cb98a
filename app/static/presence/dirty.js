// trackDirty: which fields of a form differ from what was loaded, and which one has the focus.

const NO_VALUE = new Set(['button', 'submit', 'reset', 'image', 'fieldset', 'output', 'object']);

/**
 * Watches a form. A field is all controls of one name; it is dirty while its value is not the loaded
 * one, also when the field was added or removed since. See dirty.d.ts.
 *
 * What is loaded is what the HTML says, and not what stands in the controls: a browser puts there what was
 * typed before a reload, and people type before this runs.
 *
 * Changes made by a script fire no event: call refresh() after them.
 */
export function trackDirty(
  form,
  { onChange = () => {}, onFocus = () => {}, ignore = [], loaded: given = {}, isFilled = isDrawn } = {},
) {
  const root = form.getRootNode(); // controls with form="…" may stand anywhere below it
  const page = form.ownerDocument.defaultView;
  const ignored = new Set(ignore);
  let dirty = new Set();
  let focused = null;
  let resetTimer;

  const fieldOf = ({ form: owner, name, type }) =>
    owner === form && name && !ignored.has(name) && !NO_VALUE.has(type) ? name : null;

  /** The form's values by field: now, or of other controls in the place of these. */
  function take(standIn = (control) => control) {
    const parts = new Map();
    for (const control of form.elements) {
      const name = fieldOf(control);
      if (!name) continue;
      if (!parts.has(name)) parts.set(name, []);
      const values = parts.get(name);
      values.push(valueOf(standIn(control, name, values.length)));
    }
    return new Map([...parts].map(([name, values]) => [name, JSON.stringify(values)]));
  }

  function asLoaded(control, name, index) {
    if (Object.hasOwn(given, name)) return holding(control, given[name], index);
    return isFilled(control) ? control : asInHtml(control);
  }

  function refresh() {
    const now = take();
    const names = new Set([...loaded.keys(), ...now.keys()]);
    const found = new Set([...names].filter((name) => loaded.get(name) !== now.get(name)));
    if (found.size === dirty.size && [...found].every((name) => dirty.has(name))) return;
    dirty = found;
    onChange(state());
  }

  const state = () => ({ dirty: dirty.size > 0, fields: [...dirty] });

  function focus(control) {
    const name = control ? fieldOf(control) : null;
    if (name === focused) return;
    focused = name;
    onFocus(name);
  }

  const onInput = ({ target }) => target.form === form && refresh();
  const onReset = ({ target }) => {
    if (target !== form) return;
    clearTimeout(resetTimer);
    resetTimer = setTimeout(refresh); // the event comes before the values go back
  };
  const onFocusOut = ({ target, relatedTarget }) => {
    if (root.activeElement === target) return; // only the window lost the focus: the cursor is still here
    focus(relatedTarget); // at once to the next, not by way of none
  };
  let loaded = take(asLoaded);
  const events = [
    ['input', onInput],
    ['change', onInput],
    ['reset', onReset],
    ['focusin', ({ target }) => focus(target)],
    ['focusout', onFocusOut],
  ];
  for (const [name, run] of events) root.addEventListener(name, run);
  page?.addEventListener('pageshow', refresh); // some browsers fill the form in again only then
  const observer = new MutationObserver(refresh);
  observer.observe(form, { childList: true, subtree: true });
  refresh();
  focus(root.activeElement);

  return {
    isDirty: () => dirty.size > 0,
    dirtyFields: () => [...dirty],
    take: () => take(),
    refresh,

    /**
     * What was saved is what is loaded. Pass what take() gave when the save began, so that what was
     * typed while it was under way stays unsaved.
     */
    rebase(values = take()) {
      loaded = new Map(values);
      refresh();
    },

    /** Fields that a script has just put there, or filled, as they were loaded. */
    adopt(names) {
      const now = take();
      for (const name of names) {
        if (now.has(name)) loaded.set(name, now.get(name));
        else loaded.delete(name);
      }
      refresh();
    },

    stop() {
      for (const [name, run] of events) root.removeEventListener(name, run);
      page?.removeEventListener('pageshow', refresh);
      observer.disconnect();
      clearTimeout(resetTimer);
    },
  };
}

/**
 * By Alpine or React, which set what a control holds and leave the HTML as it is: x-model and x-bind always,
 * React only on a <select>. Whatever was typed before, Alpine has overwritten.
 */
function isDrawn(control) {
  const { _x_model: model, _x_bindings: bound = {} } = control;
  if (model || 'value' in bound || 'checked' in bound) return true;
  return control.matches('select') && Object.keys(control).some((key) => key.startsWith('__reactProps$'));
}

/** A copy that holds what the HTML says; the browser's own reset knows how, for each type. */
function asInHtml(control) {
  if (!control.matches('input, select, textarea')) return control; // a custom element can't be asked
  const copy = control.cloneNode(true);
  copy.removeAttribute('form');
  const form = control.ownerDocument.createElement('form');
  form.append(copy);
  form.reset();
  return copy;
}

/** A copy that holds a value as a host has it: text, a number, true, or a list. `index`: of the controls of a name. */
function holding(control, value, index) {
  const copy = asInHtml(control);
  const texts = [value ?? []].flat().map(String);
  switch (copy.type) {
    case 'checkbox':
      copy.checked = typeof value === 'boolean' ? value : texts.includes(copy.value);
      break;
    case 'radio':
      copy.checked = texts.includes(copy.value);
      break;
    case 'select-multiple':
      for (const option of copy.options) option.selected = texts.includes(option.value);
      break;
    case 'file':
      break;
    default:
      if (copy !== control) copy.value = texts[Array.isArray(value) ? index : 0] ?? '';
  }
  return copy;
}

function valueOf(control) {
  switch (control.type) {
    case 'checkbox':
    case 'radio':
      return [control.value, control.checked];
    case 'select-multiple':
      return [...control.options].filter((option) => option.selected).map((option) => option.value);
    case 'file':
      return [...control.files].map(({ name, size, lastModified }) => [name, size, lastModified]);
    default:
      return control.value;
  }
}
