// A form's values as a record has them, and back.

const NO_VALUE = new Set(['button', 'submit', 'reset', 'image', 'file', 'fieldset', 'output', 'object']);
const TEXTS = new Set(['text', 'textarea', 'search', 'hidden']); // an editor may keep its text in a hidden field

/** Field -> its controls. Those that nobody can change are left out. */
function controlsOf(form) {
  const fields = new Map();
  for (const control of form.elements) {
    if (!control.name || control.disabled || NO_VALUE.has(control.type)) continue;
    fields.set(control.name, [...(fields.get(control.name) ?? []), control]);
  }
  return fields;
}

/** The values of the form by field, in the types that `like` has: numbers, booleans, lists, null for nothing. */
export function readForm(form, like) {
  const fields = [...controlsOf(form)];
  return Object.fromEntries(
    fields.map(([name, controls]) => [name, read(controls, Object.hasOwn(like, name) ? like[name] : undefined)]),
  );
}

function read(controls, like) {
  const [{ type }] = controls;
  const isList = Array.isArray(like);
  if (type === 'radio') return typed(controls.find(({ checked }) => checked)?.value ?? '', like);
  if (type === 'checkbox' && controls.length === 1 && !isList) {
    const [{ checked, value }] = controls;
    return typeof like === 'string' ? (checked ? value : '') : checked;
  }
  const values =
    type === 'checkbox'
      ? controls.filter(({ checked }) => checked).map(({ value }) => value)
      : type === 'select-multiple'
        ? [...controls[0].options].filter(({ selected }) => selected).map(({ value }) => value)
        : controls.map(({ value }) => value);
  if (isList || type === 'checkbox' || type === 'select-multiple' || controls.length > 1) {
    return values.map((value) => typed(value, like?.[0]));
  }
  return typed(values[0], like);
}

/** A control's text as a value of that type; the text where it is none. */
function typed(text, like) {
  if (text === '' && like === null) return null;
  if (typeof like === 'number') return text.trim() === '' ? null : Number.isNaN(Number(text)) ? text : Number(text);
  if (typeof like === 'boolean' && ['true', 'false'].includes(text)) return text === 'true';
  return text;
}

/** Puts values into the form's controls. Returns the controls that have changed. */
export function fillForm(form, values) {
  const changed = new Set();
  for (const [name, controls] of controlsOf(form)) {
    if (!Object.hasOwn(values, name)) continue;
    const texts = [values[name] ?? []].flat().map(String);
    const isOne = controls.length === 1;
    controls.forEach((control, i) => {
      for (const [node, property, value] of settings(control, values[name], texts, isOne ? 0 : i)) {
        if (node[property] === value) continue;
        set(node, property, value);
        changed.add(control);
      }
    });
  }
  return [...changed];
}

function settings(control, value, texts, i) {
  if (control.type === 'checkbox' || control.type === 'radio') {
    const isChecked = typeof value === 'boolean' && control.type === 'checkbox' ? value : texts.includes(control.value);
    return [[control, 'checked', isChecked]];
  }
  if (control.type === 'select-multiple') {
    return [...control.options].map((option) => [option, 'selected', texts.includes(option.value)]);
  }
  return [[control, 'value', texts[i] ?? '']];
}

/** Past a setter of the page's: React's would keep the change from it. */
function set(node, property, value) {
  const { set: setNative } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(node), property) ?? {};
  if (setNative) setNative.call(node, value);
  else node[property] = value;
}

/** As if somebody had typed it. */
export function tellChanged(controls) {
  for (const control of controls) {
    for (const type of ['input', 'change']) control.dispatchEvent(new Event(type, { bubbles: true }));
  }
}

/** Fields whose values nobody writes as a text. */
export const wholeFields = (form) =>
  [...controlsOf(form)].filter(([, [{ type }]]) => !TEXTS.has(type)).map(([name]) => name);

/** What the page calls a field; "" for what nobody sees. */
export function labelIn(form, name) {
  const [control] = controlsOf(form).get(name) ?? [];
  if (!control || control.type === 'hidden') return '';
  const group = control.type === 'radio' && control.closest('fieldset')?.querySelector('legend');
  const label = group || control.labels?.[0];
  return textOf(label) || control.getAttribute('aria-label') || name;
}

/** Without the controls inside it. */
function textOf(label) {
  if (!label) return '';
  const copy = label.cloneNode(true);
  for (const control of copy.querySelectorAll('input, select, textarea, button')) control.remove();
  return copy.textContent.trim().replace(/\s+/g, ' ');
}

/** A value as the form shows it: an option's text, or a radio button's label. */
export function shownIn(form, name, value) {
  const controls = controlsOf(form).get(name) ?? [];
  const textFor = (part) => {
    for (const control of controls) {
      const option = [...(control.options ?? [])].find((one) => one.value === String(part));
      if (option) return option.text;
      if (control.type === 'radio' && control.value === String(part)) return textOf(control.labels?.[0]) || part;
    }
    return part;
  };
  return Array.isArray(value) ? value.map(textFor) : textFor(value);
}

export const firstControl = (form, name) => controlsOf(form).get(name)?.[0];
