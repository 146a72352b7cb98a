// trackDirty: which fields of a form differ from what was loaded, and which one has the focus.

const NO_VALUE = new Set(['button', 'submit', 'reset', 'image', 'fieldset', 'output', 'object']);
const OBSERVED = {
  childList: true,
  subtree: true,
  characterData: true,
  attributes: true,
  attributeFilter: ['value', 'checked', 'selected'],
};

/**
 * Watches a form. A field is all controls of one name; it is dirty while its value is not the loaded
 * one, also when the field was added or removed since. See dirty.d.ts.
 *
 * What is loaded is what the HTML says, and not what is in the controls: a browser puts back what was typed
 * before a reload, and people type before this runs.
 *
 * Changes made by a script fire no event: call refresh() after them.
 */
export function trackDirty(
  formOrId,
  {
    onChange = () => {},
    onFocus = () => {},
    onForm = () => {},
    ignore = [],
    loaded: loadedValues = {},
    isFilled = isFilledByFramework,
    root = rootOf(formOrId), // controls with form="…" may stand anywhere below it
  } = {},
) {
  const id = typeof formOrId === 'string' ? formOrId : formOrId.getAttribute('id');
  const page = (root.ownerDocument ?? root).defaultView;
  const ignored = new Set(ignore);
  let form = null;
  let loaded = new Map();
  let loadedControls = [];
  let dirty = new Set();
  let focused = null;
  let resetTimer;

  const fieldOf = ({ form: owner, name, type }) =>
    owner && owner === form && name && !ignored.has(name) && !NO_VALUE.has(type) ? name : null;

  const controls = () => [...(form?.elements ?? [])].filter(fieldOf);

  /** The form's current values by field; or those of the controls that `replace` gives in their place. */
  function take(replace = (control) => control) {
    const parts = new Map();
    for (const control of controls()) {
      const { name } = control;
      if (!parts.has(name)) parts.set(name, []);
      const values = parts.get(name);
      values.push(controlValue(replace(control, name, values.length)));
    }
    return new Map([...parts].map(([name, values]) => [name, JSON.stringify(values)]));
  }

  function asLoaded(control, name, index) {
    if (Object.hasOwn(loadedValues, name)) return copyWithValue(control, loadedValues[name], index);
    return isFilled(control) ? control : htmlCopyOf(control);
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

  function watch(next) {
    htmlObserver.disconnect();
    if (form) loadedValues = {}; // was for the first one
    form = next;
    loaded = take(asLoaded);
    loadedControls = controls();
    if (form) htmlObserver.observe(form, OBSERVED);
    onForm(form);
    refresh();
    focus(root.activeElement);
  }

  /** The form that was replaced by another with its id, as after a save. */
  function follow() {
    if (form && root.contains(form)) return;
    const next = id ? root.getElementById?.(id) : null;
    const found = next?.matches('form') ? next : null;
    if (found !== form) watch(found);
  }

  /** The page has changed the HTML of the form, and with it what is loaded. */
  function onHtmlChange(records) {
    const names = new Set(records.map(changedControl).filter(Boolean).filter(fieldOf).map(nameOf));
    if (isContentReplaced()) for (const { name } of (loadedControls = controls())) names.add(name);
    const isOfScript = (control) => isFilled(control) || isRenderedByReact(control);
    const hidden = controls().filter(({ type }) => type === 'hidden');
    // Scripts keep what is edited in hidden fields; only together with others it is the page that changes them.
    if (names.size) for (const { name } of hidden) names.add(name);
    for (const control of controls()) if (isOfScript(control)) names.delete(control.name);
    const html = names.size ? take(asLoaded) : null;
    for (const name of names) loaded.set(name, html.get(name));
    refresh();
  }

  /** All that a person sees of it is new. */
  function isContentReplaced() {
    const isVisible = ({ type }) => type !== 'hidden';
    const before = loadedControls.filter(isVisible);
    return before.length > 0 && !before.some(fieldOf) && controls().some(isVisible);
  }

  const onInput = ({ target }) => form && target.form === form && refresh();
  const onReset = ({ target }) => {
    if (target !== form) return;
    clearTimeout(resetTimer);
    resetTimer = setTimeout(refresh); // the event comes before the values go back
  };
  const onFocusOut = ({ target, relatedTarget }) => {
    if (root.activeElement === target) return; // only the window lost the focus: the cursor is still here
    focus(relatedTarget); // at once to the next, not by way of none
  };
  const events = [
    ['input', onInput],
    ['change', onInput],
    ['reset', onReset],
    ['focusin', ({ target }) => focus(target)],
    ['focusout', onFocusOut],
  ];
  for (const [name, run] of events) root.addEventListener(name, run);
  page?.addEventListener('pageshow', refresh); // some browsers fill the form in again only then
  const htmlObserver = new MutationObserver(onHtmlChange);
  const formObserver = new MutationObserver(follow);
  if (id && root.getElementById) formObserver.observe(root, { childList: true, subtree: true });
  if (typeof formOrId === 'string') follow();
  else watch(formOrId);

  return {
    isDirty: () => dirty.size > 0,
    dirtyFields: () => [...dirty],
    form: () => form,
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
      htmlObserver.disconnect();
      formObserver.disconnect();
      clearTimeout(resetTimer);
    },
  };
}

const rootOf = (formOrId) => (typeof formOrId === 'string' ? document : formOrId.getRootNode());
const nameOf = ({ name }) => name;

/** What a MutationRecord says of what a control was loaded with: the control; null where it says nothing of that. */
function changedControl({ type, target, attributeName }) {
  const element = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
  const text = type === 'attributes' ? null : element?.closest('textarea');
  if (text || type !== 'attributes') return text;
  if (attributeName === 'selected') return element.closest('select');
  const isCheck = element.matches('[type=checkbox], [type=radio]');
  const isDefault = attributeName === 'checked' ? isCheck : !isCheck && element.type !== 'hidden';
  return element.matches('input') && isDefault ? element : null;
}

const isRenderedByReact = (control) => Object.keys(control).some((key) => key.startsWith('__reactProps$'));

/**
 * Whether Alpine or React has filled the control, and left the HTML as it is: x-model and x-bind always do,
 * React only for a <select>. Alpine has overwritten whatever was typed before.
 */
function isFilledByFramework(control) {
  const { _x_model: model, _x_bindings: bound = {} } = control;
  if (model || 'value' in bound || 'checked' in bound) return true;
  return control.matches('select') && isRenderedByReact(control);
}

/** A copy that holds what the HTML says; the browser's own reset knows how, for each type. */
function htmlCopyOf(control) {
  if (!control.matches('input, select, textarea')) return control; // a custom element can't be reset
  const copy = control.cloneNode(true);
  copy.removeAttribute('form');
  const form = control.ownerDocument.createElement('form');
  form.append(copy);
  form.reset();
  return copy;
}

/** A copy that holds a value as a host has it: text, a number, true, or a list. `index`: of the controls of a name. */
function copyWithValue(control, value, index) {
  const copy = htmlCopyOf(control);
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

function controlValue(control) {
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
