// trackDirty: which fields of a form differ from what was loaded, and which one has the focus.

const NO_VALUE = new Set(['button', 'submit', 'reset', 'image', 'fieldset', 'output', 'object']);

/**
 * Watches a form. A field is all controls of one name; it is dirty while its value is not the loaded
 * one, also when the field was added or removed since. See dirty.d.ts.
 *
 * Changes made by a script fire no event: call refresh() after them.
 */
export function trackDirty(form, { onChange = () => {}, onFocus = () => {}, ignore = [] } = {}) {
  const root = form.getRootNode(); // controls with form="…" may stand anywhere below it
  const ignored = new Set(ignore);
  let dirty = new Set();
  let focused = null;
  let resetTimer;

  const fieldOf = ({ form: owner, name, type }) =>
    owner === form && name && !ignored.has(name) && !NO_VALUE.has(type) ? name : null;

  /** The form's values now, by field. */
  function take() {
    const parts = new Map();
    for (const control of form.elements) {
      const name = fieldOf(control);
      if (!name) continue;
      if (!parts.has(name)) parts.set(name, []);
      parts.get(name).push(valueOf(control));
    }
    return new Map([...parts].map(([name, values]) => [name, JSON.stringify(values)]));
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
  let loaded = take();
  const events = [
    ['input', onInput],
    ['change', onInput],
    ['reset', onReset],
    ['focusin', ({ target }) => focus(target)],
    ['focusout', onFocusOut],
  ];
  for (const [name, run] of events) root.addEventListener(name, run);
  const observer = new MutationObserver(refresh);
  observer.observe(form, { childList: true, subtree: true });

  return {
    isDirty: () => dirty.size > 0,
    dirtyFields: () => [...dirty],
    take,
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
      observer.disconnect();
      clearTimeout(resetTimer);
    },
  };
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
