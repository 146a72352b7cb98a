// The panel that shows mine and theirs side by side, field by field.

import { shownAs } from './conflict.js';
import { FIELDS, icon, titleOf } from './flow.js';

const MAX_CELLS = 250_000; // beyond, two texts are just two texts

/**
 * Asks which side of each field shall stay. Resolves with the names of the fields that stay mine; null when the
 * person went away without a choice. The focus is kept inside and given back by the browser.
 */
export function compare({ fields, mine, theirs, theirName }) {
  const dialog = make('dialog', 'compare', { 'aria-labelledby': 'compare-title' });
  const form = make('form', 'compare-form', { method: 'dialog' });
  const head = make('header', 'compare-head');
  const title = make('h2', '', { id: 'compare-title' }, 'Compare field by field');
  const close = make('button', 'button compare-close', { type: 'button', 'aria-label': 'Close' }, '×');
  head.append(title, close);

  const intro = make('p', 'hint', {}, 'Choose what shall stay. What differs is marked; nothing is saved yet.');
  const body = make('div', 'compare-body');
  body.append(
    intro,
    ...FIELDS.filter((name) => fields.includes(name)).map((name) => question(name, mine, theirs, theirName)),
  );

  const foot = make('footer', 'compare-foot');
  const cancel = make('button', 'button', { type: 'button' }, 'Cancel');
  foot.append(cancel, make('button', 'button button-main', { value: 'use' }, 'Use these'));
  form.append(head, body, foot);
  dialog.append(form);
  document.body.append(dialog);

  return new Promise((resolve) => {
    for (const button of [close, cancel]) button.addEventListener('click', () => dialog.close(''));
    dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close(''));
    dialog.addEventListener('close', () => {
      const chosen = new FormData(form);
      dialog.remove();
      resolve(dialog.returnValue === 'use' ? fields.filter((name) => chosen.get(name) === 'mine') : null);
    });
    dialog.showModal();
    form.querySelector('input').focus();
  });
}

function question(name, mine, theirs, theirName) {
  const set = make('fieldset', 'compare-field');
  const sides = make('div', 'compare-sides');
  const texts = [mine[name], theirs[name]].map((value) => shownAs(name, value));
  const [own, other] = marked(...texts);
  sides.append(
    side(name, 'mine', 'Yours, unsaved', own, true),
    side(name, 'theirs', `${theirName}, saved`, other, false),
  );
  set.append(make('legend', '', {}, titleOf(name)), sides);
  return set;
}

function side(name, value, title, parts, isChecked) {
  const label = make('label', 'compare-side');
  const head = make('span', 'compare-side-head');
  const radio = make('input', '', { type: 'radio', name, value });
  radio.checked = isChecked;
  const heading = make('span', '', {}, title);
  head.append(radio, heading, check());
  const text = make('span', 'compare-text');
  text.append(...parts);
  if (!text.textContent) text.append(make('em', '', {}, 'empty'));
  label.append(head, text);
  return label;
}

function check() {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(svg.namespaceURI, 'use');
  use.setAttribute('href', icon('check'));
  svg.append(use);
  return svg;
}

function make(tag, className, attributes = {}, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// --- what differs ---

const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

/** Both texts as nodes; the words that the other one doesn't have stand in <mark>. */
function marked(one, other) {
  const [mine, theirs] = [words(one), words(other)];
  if (mine.length * theirs.length > MAX_CELLS) return [[one], [other]];
  const common = commonOf(mine, theirs);
  return [
    nodesOf(
      mine,
      common.map(([i]) => i),
    ),
    nodesOf(
      theirs,
      common.map(([, j]) => j),
    ),
  ];
}

/** The longest common sequence, as pairs of places. */
function commonOf(one, other) {
  const width = other.length + 1;
  const lengths = new Uint32Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i--) {
    for (let j = other.length - 1; j >= 0; j--) {
      lengths[i * width + j] =
        one[i] === other[j]
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < one.length && j < other.length; ) {
    if (one[i] === other[j]) pairs.push([i++, j++]);
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return pairs;
}

function nodesOf(parts, common) {
  const shared = new Set(common);
  const nodes = [];
  let run = '';
  let isMarked = false;
  const flush = () => run && nodes.push(isMarked ? make('mark', '', {}, run) : run);
  parts.forEach((part, i) => {
    // Space between two marked words belongs to them.
    const isGap = i > 0 && i < parts.length - 1 && !part.trim() && !shared.has(i - 1) && !shared.has(i + 1);
    const isNew = isGap || !shared.has(i);
    if (isNew !== isMarked) {
      flush();
      run = '';
      isMarked = isNew;
    }
    run += part;
  });
  flush();
  return nodes;
}
