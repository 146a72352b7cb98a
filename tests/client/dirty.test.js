import { trackDirty } from 'presence/dirty.js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { PATIENTLY } from './patience.js';

let form;
let tracker;
let seen;
let focused;

beforeEach(() => {
  document.body.innerHTML = `
    <form id="flow">
      <input name="title" value="Old">
      <textarea name="text">Text</textarea>
      <input type="checkbox" name="active" value="1" checked>
      <input type="radio" name="size" value="s" checked><input type="radio" name="size" value="l">
      <select name="tags" multiple><option selected>a</option><option>b</option></select>
      <select name="state"><option>open</option><option>done</option></select>
      <input type="file" name="file">
      <input name="token" value="t">
      <input value="no name"><button name="go" value="1">Go</button>
    </form>
    <input name="outside" value="x" form="flow">
    <input name="stranger" value="x">`;
  form = document.forms[0];
  seen = [];
  focused = [];
  tracker = trackDirty(form, {
    ignore: ['token'],
    onChange: ({ dirty, fields }) => seen.push([dirty, ...fields]),
    onFocus: (name) => focused.push(name),
  });
});
afterEach(() => tracker.stop());

const control = (name, i = 0) => document.querySelectorAll(`[name=${name}]`)[i];

function type(name, value) {
  control(name).value = value;
  control(name).dispatchEvent(new Event('input', { bubbles: true }));
}

function change(element, changes) {
  Object.assign(element, changes);
  element.dispatchEvent(new Event('change', { bubbles: true }));
}

test('a loaded form is clean', () => {
  expect(tracker.isDirty()).toBe(false);
  expect(tracker.dirtyFields()).toEqual([]);
  expect(seen).toEqual([]);
});

test('a change is dirty and changing back is clean', () => {
  type('title', 'New');
  type('title', 'Newer');
  expect(tracker.dirtyFields()).toEqual(['title']);
  type('title', 'Old');
  expect(tracker.isDirty()).toBe(false);
  expect(seen).toEqual([[true, 'title'], [false]]);
});

test.each([
  ['active', () => change(control('active'), { checked: false }), () => change(control('active'), { checked: true })],
  ['size', () => change(control('size', 1), { checked: true }), () => change(control('size', 0), { checked: true })],
  [
    'tags',
    () => change(control('tags').options[1], { selected: true }),
    () => change(control('tags').options[1], { selected: false }),
  ],
  ['state', () => change(control('state'), { value: 'done' }), () => change(control('state'), { value: 'open' })],
  ['text', () => type('text', 'x'), () => type('text', 'Text')],
  ['outside', () => type('outside', 'y'), () => type('outside', 'x')],
])('%s', (name, there, back) => {
  there();
  tracker.refresh(); // events of an <option> have no form
  expect(tracker.dirtyFields()).toEqual([name]);
  back();
  tracker.refresh();
  expect(tracker.dirtyFields()).toEqual([]);
});

test('a chosen file', () => {
  const file = new File(['abc'], 'a.txt', { lastModified: 1 });
  Object.defineProperty(control('file'), 'files', { value: [file], configurable: true });
  control('file').dispatchEvent(new Event('change', { bubbles: true }));
  expect(tracker.dirtyFields()).toEqual(['file']);
});

test('what is ignored, unnamed, a button or of another form does not count', () => {
  type('token', 'u');
  type('stranger', 'u');
  tracker.refresh();
  expect(tracker.isDirty()).toBe(false);
});

test('reset is clean again', async () => {
  type('title', 'New');
  form.reset();
  await vi.waitFor(() => expect(tracker.isDirty()).toBe(false), PATIENTLY);
  expect(seen.at(-1)).toEqual([false]);
});

test('a script’s change shows at refresh', () => {
  control('title').value = 'By script';
  expect(tracker.isDirty()).toBe(false);
  tracker.refresh();
  expect(tracker.isDirty()).toBe(true);
});

describe('what stood in the form before it was watched', () => {
  const FORM = `
    <form>
      <input name="title" value="Old"><textarea name="text">
Text</textarea>
      <input type="checkbox" name="active" value="1" checked>
      <input type="radio" name="size" value="s" checked><input type="radio" name="size" value="l">
      <select name="tags" multiple><option selected>a</option><option>b</option></select>
      <select name="state"><option>open</option><option>done</option></select>
      <input type="range" name="volume"><input type="color" name="color"><input type="number" name="rate" value="many">
      <input type="hidden" name="token"><input name="step" value="1"><input name="step" value="2">
    </form>
    <input form="elsewhere" name="stranger" value="x">`;
  const typeIn = {
    title: () => (control('title').value = 'Typed'),
    text: () => (control('text').value = ''),
    active: () => (control('active').checked = false),
    size: () => (control('size', 1).checked = true),
    tags: () => (control('tags').options[1].selected = true),
    state: () => (control('state').value = 'done'),
    volume: () => (control('volume').value = 7),
    step: () => (control('step', 1).value = 'Typed'),
  };

  const watch = (options) => {
    tracker.stop();
    tracker = trackDirty(document.forms[0], {
      onChange: ({ dirty, fields }) => seen.push([dirty, ...fields]),
      onFocus: (name) => focused.push(name),
      ...options,
    });
  };
  beforeEach(() => {
    document.body.innerHTML = FORM;
  });

  test('nothing: clean, whatever a type makes of its value', () => {
    watch();
    expect(seen).toEqual([]);
    expect(tracker.dirtyFields()).toEqual([]);
  });

  test.each(Object.keys(typeIn))('%s, typed or restored by the browser, is told as unsaved at once', (name) => {
    typeIn[name]();
    watch();
    expect(seen).toEqual([[true, name]]);
    document.forms[0].reset();
    tracker.refresh();
    expect(tracker.isDirty()).toBe(false);
  });

  test('the field that has the focus is told at once', () => {
    control('text').focus();
    watch();
    expect(focused).toEqual(['text']);
  });

  test('what a browser puts there only after the scripts is seen', () => {
    watch();
    typeIn.title();
    window.dispatchEvent(new Event('pageshow'));
    expect(tracker.dirtyFields()).toEqual(['title']);
  });

  test('what a host says was loaded wins over the HTML, and may be the whole record', () => {
    const record = {
      ...{ id: 7, title: 'From the host', text: 'two\r\nlines', active: false, size: 'l', tags: ['b'], state: 'done' },
      ...{ rate: 3, volume: 8, color: '#FF0000', token: 't', step: ['3', '4'] },
    };
    watch({ loaded: record });
    expect(seen).toEqual([
      [true, 'title', 'text', 'active', 'size', 'tags', 'state', 'volume', 'color', 'rate', 'token', 'step'],
    ]);

    for (const [name, value] of Object.entries(record)) {
      const [first, second] = document.querySelectorAll(`[name=${name}]`);
      if (name === 'active') first.checked = value;
      else if (name === 'size') second.checked = true;
      else if (name === 'tags') first.value = 'b';
      else if (name === 'step') [first.value, second.value] = value;
      else if (first) first.value = value;
    }
    tracker.refresh();
    expect(tracker.dirtyFields()).toEqual([]);
  });

  test.each([
    ['active', true, []],
    ['active', 1, []],
    ['active', '', ['active']],
    ['active', ['1', '2'], []],
    ['title', null, ['title']],
    ['step', '1', ['step']],
  ])('%s loaded as %j', (name, value, fields) => {
    watch({ loaded: { [name]: value } });
    expect(tracker.dirtyFields()).toEqual(fields);
  });

  test('a control that a script has filled counts as it stands', () => {
    typeIn.title();
    typeIn.text();
    watch({ isFilled: ({ name }) => name === 'title' });
    expect(tracker.dirtyFields()).toEqual(['text']);
  });
});

describe('after a save', () => {
  test('what the form holds is what is loaded', () => {
    type('title', 'New');
    tracker.rebase();
    expect(tracker.isDirty()).toBe(false);
    type('title', 'Old');
    expect(tracker.dirtyFields()).toEqual(['title']);
  });

  test('what was typed while it was under way stays unsaved', () => {
    type('title', 'New');
    const sent = tracker.take();
    type('text', 'Typed meanwhile');
    tracker.rebase(sent);
    expect(tracker.dirtyFields()).toEqual(['text']);
  });
});

describe('fields that come and go', () => {
  const add = (name, value) => {
    const input = Object.assign(document.createElement('input'), { name, value });
    form.append(input);
    return input;
  };
  const observed = () => new Promise((resolve) => setTimeout(resolve));

  test('an added field is a difference until it is gone', async () => {
    const input = add('step_2', 'x');
    await observed();
    expect(tracker.dirtyFields()).toEqual(['step_2']);
    input.remove();
    await observed();
    expect(tracker.isDirty()).toBe(false);
  });

  test('a removed field is a difference until it is back', async () => {
    const input = control('title');
    input.remove();
    await observed();
    expect(tracker.dirtyFields()).toEqual(['title']);
    form.append(input);
    await observed();
    expect(tracker.isDirty()).toBe(false);
  });

  test('a panel that was loaded later is adopted', async () => {
    add('late', 'x');
    tracker.adopt(['late']);
    await observed();
    expect(tracker.isDirty()).toBe(false);
    type('late', 'y');
    expect(tracker.dirtyFields()).toEqual(['late']);
  });
});

describe('when the page changes the HTML of the form', () => {
  const settled = () => Promise.resolve();

  test('what it says now is what is loaded', async () => {
    type('title', 'Typed');
    control('title').setAttribute('value', 'New');
    control('text').textContent = 'New text';
    control('active').removeAttribute('checked');
    document.querySelectorAll('[name=tags] option')[1].setAttribute('selected', '');
    await settled();
    expect(tracker.dirtyFields()).toEqual(['title']); // it still says "Typed"
    type('title', 'New');
    expect(tracker.dirtyFields()).toEqual([]);
    expect(control('tags').selectedOptions).toHaveLength(2);
  });

  test('a hidden field that a script fills is unsaved, and one that changes with others is loaded', async () => {
    tracker.stop();
    form.insertAdjacentHTML('beforeend', '<input type="hidden" name="lock" value="7">');
    tracker = trackDirty(form, { ignore: ['token'] });
    control('lock').value = '8';
    await settled();
    tracker.refresh();
    expect(tracker.dirtyFields()).toEqual(['lock']);
    control('title').setAttribute('value', 'New');
    await settled();
    expect(tracker.dirtyFields()).toEqual([]);
  });

  test('what the host says was loaded, and what a script has filled, stays', async () => {
    tracker.stop();
    tracker = trackDirty(form, {
      ignore: ['token'],
      loaded: { title: 'Old' },
      isFilled: (element) => element.name === 'text',
    });
    control('title').setAttribute('value', 'New');
    control('text').textContent = 'New text';
    await settled();
    expect(tracker.dirtyFields()).toEqual(['title', 'text']);
  });

  test('another content of the form is loaded anew, one field that is replaced is compared with what was', async () => {
    control('title').outerHTML = '<input name="title" value="As typed, and invalid">';
    await settled();
    expect(tracker.dirtyFields()).toEqual(['title']);
    for (const element of document.querySelectorAll('#flow ~ [form]')) element.remove();
    form.innerHTML = '<input name="title" value="New"><input name="added" value="x">';
    await settled();
    expect(tracker.dirtyFields()).not.toContain('title');
    expect(tracker.dirtyFields()).not.toContain('added');
  });

  test('the form with its id that takes its place is watched', async () => {
    type('title', 'Typed');
    control('title').focus();
    form.outerHTML = '<form id="flow"><input name="title" value="New"></form>';
    await settled();
    expect(tracker.form()).toBe(document.forms[0]);
    expect(tracker.dirtyFields()).toEqual([]);
    type('title', 'Typed');
    expect(tracker.dirtyFields()).toContain('title');
  });

  test('by its id it may come later, and go', async () => {
    tracker.stop();
    form.remove();
    const forms = [];
    tracker = trackDirty('flow', { onForm: (found) => forms.push(found), onChange: ({ fields }) => seen.push(fields) });
    expect(tracker.form()).toBe(null);
    document.body.append(form);
    await settled();
    type('title', 'Typed');
    form.remove();
    await settled();
    expect(forms).toEqual([form, null]);
    expect(seen).toEqual([['title'], []]);
  });
});

test('the field that has the focus, straight to the next', () => {
  control('title').focus();
  control('text').focus();
  document.querySelector('button').focus();
  control('outside').focus();
  control('stranger').focus();
  expect(focused).toEqual(['title', 'text', null, 'outside', null]);
});

test('a window that loses the focus keeps its field: the cursor is still there', () => {
  control('title').focus();
  // What browsers do then: the element is told, and stays the active one.
  control('title').dispatchEvent(new FocusEvent('focusout', { bubbles: true }));
  expect(document.activeElement).toBe(control('title'));
  expect(focused).toEqual(['title']);
  control('title').blur();
  expect(focused).toEqual(['title', null]);
});

test('stopped, it hears nothing', async () => {
  tracker.stop();
  type('title', 'New');
  control('title').focus();
  form.append(document.createElement('input'));
  await new Promise((resolve) => setTimeout(resolve));
  expect(seen).toEqual([]);
  expect(focused).toEqual([]);
});
