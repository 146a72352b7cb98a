// What is shown while two versions of a record collide: a banner, and the dialog that asks. Loaded with the first
// conflict. Text goes in as text only, and nothing needs inline styles.

import { nameOf } from './initials.js';
import { chosen, differencesOf, isCollision, keyOf, mergedValue, mergeRecords } from './merge.js';

const CONTEXT = 60; // characters of what stands around a choice
const MAX_CONTEXT_PARTS = 10;
const MAX_MARKED = 20_000; // characters; in longer texts, what differs is not marked
const UNKNOWN = Symbol('a side that does not know the field');

export const LABELS = {
  unknown: 'Someone', // has no name
  you: 'You',
  saved: ({ who, isOwn, from, to, time }) =>
    `${who} saved${versions(from, to)}${isOwn ? ' in another tab' : ''}${time && ` at ${time}`}`,
  savedMeanwhile: 'Somebody else saved meanwhile',
  refused: (saved, isOwn) => `Not saved: ${isOwn ? saved[0].toLowerCase() + saved.slice(1) : saved} first`,
  collides: (fields, count, total) =>
    total === 1
      ? `It changed the field that you have unsaved changes in: ${fields}.`
      : `${count} of your ${total} unsaved fields changed: ${fields}.`,
  kept: 'Your changes are still here.',
  compare: 'Compare field by field',
  keepMine: 'Keep mine',
  takeTheirs: 'Take theirs',
  takeOwn: 'Take the other tab’s',
  intro: 'Choose what shall stay. What differs is marked; nothing is saved yet.',
  again: (saved) => `${saved} just now. What that changed is marked as new.`,
  isNew: 'new',
  part: (field, number, count) => `${field}, ${number} of ${count}`,
  mine: 'Yours, unsaved',
  theirs: (who) => `${who}, saved`,
  theirName: (who) => `${who}’s`,
  theirOwn: 'Your other tab’s',
  theirNobody: 'Theirs',
  both: 'Both, yours first',
  empty: 'empty',
  removed: 'removed',
  yes: 'yes',
  no: 'no',
  settled: (count) => `Nothing to decide in ${count === 1 ? '1 field' : `${count} fields`}`,
  fromThem: 'only they changed it',
  fromMe: 'only you changed it',
  merged: 'both changes, put together',
  agreed: 'both changed it alike',
  close: 'Close',
  cancel: 'Cancel',
  use: 'Use these',
};

const versions = (from, to) =>
  from === undefined ? '' : from === to ? ` version ${to}` : ` versions ${from} to ${to}`;

/**
 * Shows conflicts in an element, which it then owns. `onResolve(outcome)`: what the form shall hold now; also at once,
 * where nothing collides. `onCollisions(names)`: which fields collide, when that changes.
 */
export function createConflictView(host, { onResolve, onCollisions = () => {} }) {
  const doc = host.ownerDocument;
  const choices = new Map(); // question -> 'mine', 'theirs', 'both'; kept while the dialog is closed
  const unseen = new Set(); // questions that came while the dialog was open
  const known = new Map(); // field -> the three versions and their merge
  let input = null;
  let words = LABELS;
  let fields = []; // merged
  let questions = [];
  let colliding = '[]';
  let banner = null;
  let dialog = null; // while it is open
  let news = ''; // in the dialog
  // A library that morphs the page takes away what it doesn't know.
  new MutationObserver(keep).observe(host, { childList: true, attributes: true, attributeFilter: ['class'] });

  // --- what there is to ask ---

  /** Also with a newer version of theirs, or with more of mine, while it asks: choices that still apply are kept. */
  function show(next) {
    const before = input;
    input = { saves: [], fieldLabel: (name) => name, ...given(next) };
    words = { ...LABELS, ...given(next.labels ?? {}) };
    const isNews = !before || (before.theirs !== input.theirs && keyOf(before.theirs) !== keyOf(input.theirs));
    compute();
    if (questions.length === 0) return resolve();
    forgetAnswers(isNews && dialog);
    drawBanner(isNews);
    if (isNews && dialog) news = words.again(saved());
    dialog?.draw();
    tellCollisions();
  }

  function compute() {
    const { base, theirs, whole } = input;
    const mine = typeof input.mine === 'function' ? input.mine() : input.mine;
    fields = (input.fields ?? Object.keys(mine)).map((name) => {
      const sides = [base, mine, theirs].map((record) => (Object.hasOwn(record, name) ? record[name] : UNKNOWN));
      const last = known.get(name);
      if (last && sides.every((value, i) => isUnchanged(value, last.sides[i]))) return last.field;
      const [field] = mergeRecords(base, mine, theirs, { fields: [name], whole });
      known.set(name, { sides, field });
      return field;
    });
    questions = fields.filter(isCollision).flatMap((field) => {
      const collisions = field.parts.filter(isCollision);
      const seen = new Map(); // two of the same words
      return collisions.map((part, i) => {
        const text = keyOf([field.name, part.mine, part.theirs]);
        seen.set(text, (seen.get(text) ?? 0) + 1);
        return { key: `${seen.get(text)} ${text}`, field, part, number: i + 1, count: collisions.length };
      });
    });
  }

  /** Those to questions that are gone. New ones begin with mine; with no answer, where somebody is answering just now. */
  function forgetAnswers(isAsking) {
    const keys = new Set(questions.map(({ key }) => key));
    if (!isAsking && !dialog) unseen.clear();
    for (const key of choices.keys()) if (!keys.has(key)) choices.delete(key);
    for (const key of keys) {
      if (choices.get(key)) continue;
      if (isAsking) unseen.add(key);
      choices.set(key, isAsking ? null : dialog ? choices.get(key) : 'mine');
    }
  }

  function tellCollisions() {
    const names = fields.filter(isCollision).map(({ name }) => name);
    if (JSON.stringify(names) === colliding) return;
    colliding = JSON.stringify(names);
    onCollisions(names);
  }

  /** `side`: the answer to all questions, or else the choices. */
  function resolve(side) {
    const answers = (field) =>
      questions.filter((one) => one.field === field).map(({ key }) => side ?? choices.get(key));
    const outcome = {
      base: input.base,
      theirs: input.theirs,
      isRefused: !!input.isRefused,
      collisions: fields.filter(isCollision).map(({ name }) => name),
      values: Object.fromEntries(fields.map((field) => [field.name, mergedValue(field, answers(field))])),
      became: Object.fromEntries(fields.map((field) => [field.name, becameOf(field, answers(field))])),
    };
    clear();
    onResolve(outcome);
  }

  function clear() {
    dialog?.close();
    banner?.section.remove();
    banner = dialog = input = null;
    questions = [];
    fields = [];
    for (const kept of [choices, unseen, known]) kept.clear();
    host.classList.remove('record-conflict');
    tellCollisions();
  }

  // --- words ---

  const isOwn = () => input.saves.length > 0 && input.saves.every(({ own }) => own);
  const isolated = (user) => `\u2068${nameOf(user ?? { name: '' }, words.unknown)}\u2069`;
  const whoOf = (save) => (save.own ? words.you : isolated(save.user));
  const list = (names) => new Intl.ListFormat(input.locale).format(names);

  function saved(withTime = false) {
    const { saves, locale } = input;
    if (!saves.length) return words.savedMeanwhile;
    const clock = new Intl.DateTimeFormat(locale, { hour: 'numeric', minute: '2-digit' });
    const at = Date.parse(saves.at(-1).saved_at);
    return words.saved({
      who: list([...new Set(saves.map(whoOf))]),
      isOwn: isOwn(),
      from: saves[0].lock_version,
      to: saves.at(-1).lock_version,
      time: withTime && at ? clock.format(at) : '',
    });
  }

  function theirName() {
    const names = new Set(input.saves.map(whoOf));
    return isOwn() ? words.theirOwn : names.size === 1 ? words.theirName([...names][0]) : words.theirNobody;
  }

  const labelOf = (name) => input.fieldLabel(name) || name;

  function textOf(name, value) {
    const text = input.format?.(name, value) ?? value;
    if (text === null || text === undefined) return '';
    if (typeof text === 'boolean') return text ? words.yes : words.no;
    if (text instanceof Date) return text.toLocaleString(input.locale);
    if (Array.isArray(text)) return text.map((item) => textOf(name, item)).join('\n');
    return typeof text === 'object' ? JSON.stringify(text) : String(text);
  }

  // --- the banner ---

  function drawBanner(isNews) {
    const unsaved = fields.filter(
      ({ name, kind }) => !['same', 'theirs'].includes(kind) && input.fieldLabel(name),
    ).length;
    const names = [...new Set(questions.map(({ field }) => field.name))];
    const title = input.isRefused ? words.refused(saved(), isOwn()) : saved(true);
    const text = `${words.collides(list(names.map(labelOf)), names.length, unsaved)} ${words.kept}`;
    banner ??= createBanner();
    banner.write(title, text, isOwn() ? words.takeOwn : words.takeTheirs);
    keep();
    if (isNews && input.isRefused && !dialog) banner.section.focus();
  }

  function keep() {
    if (!banner) return;
    if (!host.classList.contains('record-conflict')) host.classList.add('record-conflict'); // to add it tells of a change
    if (banner.section.parentNode !== host) host.prepend(banner.section);
    dialog?.keep();
  }

  function createBanner() {
    const section = make('section', 'record-conflict-banner', { role: 'alert', tabindex: '-1' });
    const title = make('h2', 'record-conflict-title', { id: unique('title') });
    const text = make('p', 'record-conflict-text');
    section.setAttribute('aria-labelledby', title.id);
    const button = (className, run) => {
      const node = make('button', `record-conflict-button ${className}`, { type: 'button' });
      node.addEventListener('click', run);
      return node;
    };
    const compare = button('record-conflict-main', open);
    const keep = button('', () => resolve('mine'));
    const take = button('', () => resolve('theirs'));
    const actions = make('div', 'record-conflict-actions');
    actions.append(compare, keep, take);
    section.append(title, text, actions);
    return {
      section,
      write(titleText, bodyText, takeText) {
        setText(title, titleText);
        setText(text, bodyText);
        setText(compare, words.compare);
        setText(keep, words.keepMine);
        setText(take, takeText);
      },
    };
  }

  // --- the dialog ---

  /** With what the form holds now. */
  function open() {
    if (!input) return;
    compute();
    if (questions.length === 0) return resolve();
    forgetAnswers(false);
    drawBanner(false);
    tellCollisions();
    news = '';
    dialog ??= createDialog();
    dialog.draw();
    dialog.focus();
  }

  function createDialog() {
    const node = make('dialog', 'record-conflict-dialog');
    const form = make('form', 'record-conflict-form', { method: 'dialog' });
    const title = make('h2', 'record-conflict-title', { id: unique('dialog') }, words.compare);
    const close = make('button', 'record-conflict-button record-conflict-close', { type: 'button' }, '×');
    const intro = make('p', 'record-conflict-intro', { id: unique('intro') }, words.intro);
    const told = make('p', 'record-conflict-news', { role: 'status' });
    const asked = make('div', 'record-conflict-questions');
    const settled = make('details', 'record-conflict-settled');
    const cancel = make('button', 'record-conflict-button', { type: 'button' }, words.cancel);
    const use = make('button', 'record-conflict-button record-conflict-main', {}, words.use);
    close.setAttribute('aria-label', words.close);
    node.setAttribute('aria-labelledby', title.id);
    node.setAttribute('aria-describedby', intro.id);
    const [head, body, foot] = ['head', 'body', 'foot'].map((part) => make('div', `record-conflict-${part}`));
    head.append(title, close);
    body.append(intro, told, asked, settled);
    foot.append(cancel, use);
    form.append(head, body, foot);
    node.append(form);

    for (const button of [close, cancel]) button.addEventListener('click', () => node.close());
    node.addEventListener('click', ({ target }) => target === node && node.close());
    node.addEventListener('close', () => {
      node.remove();
      if (dialog?.node === node) dialog = null;
    });
    form.addEventListener('change', ({ target: { name, value } }) => {
      const question = questions.find(({ key }) => drawn.get(key)?.dataset.question === name);
      if (question) choices.set(question.key, value);
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      node.close();
      resolve();
    });
    // The element may stand in a form of the host's, or in a panel that closes on Escape.
    for (const type of ['input', 'change', 'submit']) node.addEventListener(type, (event) => event.stopPropagation());
    node.addEventListener('keydown', (event) => event.key === 'Escape' && event.stopPropagation());

    let drawn = new Map(); // question -> fieldset

    function draw() {
      const next = new Map();
      for (const question of questions) {
        const fieldset = drawn.get(question.key) ?? drawQuestion(question);
        fieldset.firstChild.replaceChildren(...legendOf(question));
        next.set(question.key, fieldset);
      }
      for (const [key, fieldset] of drawn) if (!next.has(key)) fieldset.remove();
      [...next.values()].forEach((fieldset, i) => {
        if (asked.children[i] !== fieldset) asked.insertBefore(fieldset, asked.children[i] ?? null);
      });
      drawn = next;
      setText(told, news);
      drawSettled(settled);
      if (node.open && !node.contains(doc.activeElement)) focus(); // what had the focus is gone
    }

    function focus() {
      const open = [...asked.children].find((fieldset) => !fieldset.querySelector(':checked'));
      (open ?? asked).querySelector('input').focus();
    }

    function keepOpen() {
      if (node.parentNode === host) return;
      node.open = false; // it was taken out of the page, and with it from above the others
      host.append(node);
      node.showModal();
    }

    keepOpen();
    return { node, draw, focus, keep: keepOpen, close: () => node.close() };
  }

  function legendOf({ key, field, number, count }) {
    const label = labelOf(field.name);
    const text = count === 1 ? label : words.part(label, number, count);
    return unseen.has(key) ? [text, ' ', make('span', 'record-conflict-new', {}, words.isNew)] : [text];
  }

  function drawQuestion({ key, field, part }) {
    const set = make('fieldset', 'record-conflict-question');
    const name = unique('choice');
    set.dataset.question = name;
    const option = (value, heading, content) => {
      const label = make('label', `record-conflict-option record-conflict-${value}`);
      const radio = make('input', '', { type: 'radio', name, value, required: '' });
      radio.checked = choices.get(key) === value;
      const head = make('span', 'record-conflict-heading');
      const title = make('span', '', { id: unique('side') }, heading);
      radio.setAttribute('aria-labelledby', title.id);
      head.append(radio, title);
      label.append(head);
      if (content) {
        content.id = unique('value');
        radio.setAttribute('aria-describedby', content.id);
        label.append(content);
      }
      return label;
    };
    const sides = make('div', 'record-conflict-sides');
    const [mine, theirs] = marked(field, part);
    sides.append(option('mine', words.mine, mine), option('theirs', words.theirs(theirName()), theirs));
    if (field.type !== 'value' && hasContent(part.mine) && hasContent(part.theirs)) {
      sides.append(option('both', words.both));
    }
    set.append(make('legend', 'record-conflict-legend'), sides);
    return set;
  }

  /** Both sides of a question as nodes, with what stands around them. */
  function marked(field, part) {
    const texts = [part.mine, part.theirs].map((value) => withoutLastBreak(textOf(field.name, value)));
    const isTooLong = texts[0].length + texts[1].length > MAX_MARKED;
    const runs = isTooLong ? texts.map((text) => [{ text, differs: false }]) : differencesOf(...texts);
    const [before, after] = contextOf(field, part);
    return runs.map((found, i) => {
      const node = makeValue('span', texts[i]);
      if (before) node.append(make('span', 'record-conflict-context', {}, before));
      for (const { text, differs } of found) node.append(differs ? make('mark', '', {}, text) : text);
      if (!texts[i].trim())
        node.append(make('em', '', {}, hasContent(part.base) && (before || after) ? words.removed : words.empty));
      if (after) node.append(make('span', 'record-conflict-context', {}, after));
      return node;
    });
  }

  /** What stands before and after a part in its line; where it is the whole line, the line before. */
  function contextOf({ type, parts }, part) {
    if (type !== 'text') return ['', ''];
    const place = parts.indexOf(part);
    const sure = (others) =>
      others.map((other) => (isCollision(other) ? '…' : chosen(type, other, other.kind))).join('');
    const above = sure(parts.slice(Math.max(0, place - MAX_CONTEXT_PARTS), place));
    const below = sure(parts.slice(place + 1, place + 1 + MAX_CONTEXT_PARTS));
    const before = above.slice(above.lastIndexOf('\n', above.length - 2) + 1);
    const isLine = part.mine.endsWith('\n') || part.theirs.endsWith('\n');
    const after = isLine ? '' : below.split('\n')[0];
    return [
      before.length > CONTEXT ? `…${before.slice(-CONTEXT).replace(/^\S*\s/, '')}` : before,
      after.length > CONTEXT ? `${after.slice(0, CONTEXT).replace(/\s\S*$/, '')}…` : after,
    ];
  }

  /** What needs no choice, for those who want to see it. */
  function drawSettled(details) {
    const said = { theirs: words.fromThem, mine: words.fromMe, merged: words.merged, agreed: words.agreed };
    const shown = fields.filter(({ kind, name }) => Object.hasOwn(said, kind) && input.fieldLabel(name));
    details.hidden = shown.length === 0;
    const values = make('dl', 'record-conflict-list');
    for (const { name, kind, value } of shown) {
      const text = textOf(name, value);
      const data = makeValue('dd', text);
      data.textContent = text;
      if (!text.trim()) data.append(make('em', '', {}, words.empty));
      const term = make('dt', '', {}, labelOf(name));
      term.append(' ', make('span', 'record-conflict-context', {}, said[kind]));
      values.append(term, data);
    }
    details.replaceChildren(make('summary', '', {}, words.settled(shown.length)), values);
  }

  /** One that is long scrolls, with the keyboard too. */
  const makeValue = (tag, text) =>
    make(tag, 'record-conflict-value', { dir: 'auto', ...(isLong(text) && { tabindex: '0' }) });

  // --- nodes ---

  function make(tag, className, attributes = {}, text) {
    const node = doc.createElement(tag);
    if (className) node.className = className;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  return { show, open, clear, isShown: () => input !== null };
}

let last = 0;
const unique = (name) => `record-conflict-${name}-${++last}`;

/** Without what is undefined: that is the default. */
const given = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const isLong = (text) => text.length > 300 || text.split('\n').length > 8;

/** A list may have other items by now. */
const isUnchanged = (value, before) => Object.is(value, before) && (typeof value !== 'object' || value === null);

const withoutLastBreak = (text) => text.replace(/\n$/, '');
const hasContent = (value) => (typeof value === 'string' ? value.trim() !== '' : (value?.length ?? 0) > 0);

/** One word for what became of a field. */
function becameOf(field, answers) {
  if (!isCollision(field)) return field.kind;
  const isOne = answers.every((answer) => answer === answers[0]);
  const isAll = field.parts.every((part) => isCollision(part) || part.kind === 'same');
  return isOne && isAll ? answers[0] : 'mixed';
}
