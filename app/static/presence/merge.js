// Three versions of a record made into one: as it was loaded, as one side has it, as the other has it. Pure: no page, no
// clock, and fair: it is the same whichever side is called mine. node-diff3 finds what two versions differ in.

import { diffIndices } from './vendor/node-diff3.js';

// What the differences of one text or list may cost, in comparisons. Beyond, all that stands between the first and the
// last change of a side counts as changed.
const MAX_WORK = 200_000_000;
const LONG = 4000; // characters of lines that both have changed; beyond, they are merged one by one if they can be
const MAX_QUESTIONS = 20; // about one text or list; beyond, it is one question
const MAX_FRAGMENTS = 100; // collisions of one text, before those that are one question are put together
const MAX_WORDS_BETWEEN = 3; // two collisions in a line with no more words between them are one question

// In scripts that put no spaces between words, each character counts as one.
const SPACELESS = '\\p{sc=Han}\\p{sc=Hira}\\p{sc=Kana}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmr}\\p{sc=Mymr}';
const WORDS = new RegExp(`\\n|[^\\S\\n]+|[${SPACELESS}]\\p{M}*|[^\\s${SPACELESS}]+`, 'gu');
const LINES = /[^\n]*\n/g;

/** Each field: what became of it, its value, and the parts that somebody has to choose. See merge.d.ts. */
export function mergeRecords(base, mine, theirs, { fields = Object.keys(mine), whole = [] } = {}) {
  return fields.map((name) => {
    const [one, other, another] = [base, mine, theirs].map((record) => Object.hasOwn(record, name) && [record[name]]);
    // A side that doesn't know a field has not changed it.
    const [loaded] = one || [];
    const [own] = other || one || another || [];
    const [saved] = another || one || other || [];
    return mergeField({ name, base: loaded, mine: own, theirs: saved }, whole.includes(name));
  });
}

function mergeField(field, isWhole) {
  const { base, mine, theirs } = field;
  if (isSame(mine, theirs)) return settled(field, isSame(base, mine) ? 'same' : 'agreed', theirs);
  if (isSame(base, mine)) return settled(field, 'theirs', theirs);
  if (isSame(base, theirs)) return settled(field, 'mine', mine);
  const type = isWhole ? 'value' : typeOf(base, mine, theirs);
  const parts = MERGES[type](base, mine, theirs);
  if (parts.some(isCollision)) return { ...field, kind: 'collision', type, parts };
  return { ...field, kind: 'merged', type, parts, value: joined(type, parts) };
}

const settled = (field, kind, value) => ({ ...field, kind, type: 'value', parts: [], value });

/** The value of a field once the choices are made: 'mine', 'theirs' or 'both' for each of its collisions, in order. */
export const mergedValue = (field, choices) =>
  field.kind === 'collision' ? joined(field.type, field.parts, choices) : field.value;

export const isCollision = ({ kind }) => kind === 'collision';

/** What a collision becomes by a choice. */
export function chosen(type, { mine, theirs }, choice) {
  if (choice === 'theirs') return theirs;
  if (choice !== 'both' || type === 'value') return mine;
  if (type === 'list') return [...mine, ...theirs.filter((item) => !mine.some((other) => isSame(item, other)))];
  const isApart = !mine || !theirs || /\s$/.test(mine) || /^\s/.test(theirs);
  return mine + (isApart ? '' : (mine + theirs).includes('\n') ? '\n' : ' ') + theirs;
}

function joined(type, parts, choices = []) {
  const left = [...choices];
  const values = parts.map((part) => chosen(type, part, isCollision(part) ? left.shift() : part.kind));
  if (type === 'text') return values.join('').replace(/\n$/, ''); // which mergeTexts has added
  return type === 'list' ? values.flat() : values[0];
}

// --- values ---

const MERGES = {
  text: (base, mine, theirs) => mergeTexts(base ?? '', mine, theirs),
  list: (base, mine, theirs) => mergeLists(base ?? [], mine, theirs),
  value: (base, mine, theirs) => [{ kind: 'collision', base, mine, theirs }],
};

/** Only what both sides have can be merged; that there was nothing before is no hindrance. */
function typeOf(base, ...sides) {
  const known = [...sides, base ?? sides[0]];
  if (known.every((value) => typeof value === 'string')) return 'text';
  return known.every(Array.isArray) ? 'list' : 'value';
}

/** Whether two values have the same content. Line ends of any kind are one: forms change them. */
export const isSame = (one, other) => Object.is(one, other) || keyOf(one) === keyOf(other);

/** Text that is the same for values of the same content. */
export const keyOf = (value) =>
  typeof value === 'string' ? `"${withLineFeeds(value)}` : String(JSON.stringify(value, plain));

/** For JSON: with what it has no word for, and with the parts of an object in one order. */
function plain(_, value) {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'number') return Number.isFinite(value) ? value : `${value}`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)));
}

const withLineFeeds = (text) => text.replace(/\r\n?/g, '\n');

// --- texts and lists ---

/**
 * By line, and by word within the lines that both have changed. Put together, the parts are each of the three texts
 * with a line feed at its end: so what is added after the last line is a line of its own.
 */
export function mergeTexts(...texts) {
  const budget = { left: MAX_WORK };
  const [base, mine, theirs] = texts.map((text) => `${withLineFeeds(text)}\n`);
  const lines = [base, mine, theirs].map((text) => text.match(LINES));
  const parts = [];
  let count = 0;
  for (const stretch of mergePieces(lines, blanksWithNext(lines), areNearLines, budget).flatMap(byLine)) {
    const found = isCollision(stretch) ? mergeWords(stretch, budget) : [stretch];
    for (const part of found) parts.push(part);
    count += found.filter(isCollision).length;
    if (count > MAX_FRAGMENTS) return [{ kind: 'collision', base, mine, theirs }];
  }
  return asQuestions(withoutFragments(parts).map(withoutBlanks), { base, mine, theirs });
}

/** Nobody is asked about a blank line or a space: who has changed no more than these gives way. */
function withoutBlanks(part) {
  if (!isCollision(part)) return part;
  const [base, mine, theirs] = [part.base, part.mine, part.theirs].map((text) => text.trim().replace(/\s+/g, ' '));
  if (mine === base && theirs !== base) return { ...part, kind: 'theirs' };
  return theirs === base && mine !== base ? { ...part, kind: 'mine' } : part;
}

/** A stretch of lines as text: in one piece, or if it is long and has as many lines in each version, one by one. */
function byLine({ kind, base, mine, theirs }) {
  const whole = { kind, ...eachOf({ base, mine, theirs }, (lines) => lines.join('')) };
  const isAligned = base.length === mine.length && base.length === theirs.length;
  if (!isCollision(whole) || whole.base.length < LONG || !isAligned) return [whole];
  return base.map((line, i) => ({ kind, base: line, mine: mine[i], theirs: theirs[i] }));
}

/** Nobody answers a hundred questions about one text. */
const asQuestions = (parts, whole) =>
  parts.filter(isCollision).length > MAX_QUESTIONS ? [{ kind: 'collision', ...whole }] : parts;

function mergeWords({ base, mine, theirs }, budget) {
  if (mine === theirs) return [{ kind: 'agreed', base, mine, theirs }];
  const words = [base, mine, theirs].map((text) => text.match(WORDS) ?? []);
  return mergePieces(words, blanksWithNext(words), areNearWords, budget).map((part) => {
    const whole = { kind: part.kind, ...eachOf(part, (pieces) => pieces.join('')) };
    return isCollision(whole) && whole.mine === whole.theirs ? { ...whole, kind: 'agreed' } : whole;
  });
}

/** Two texts as runs, `{ text, differs }`: what the other one doesn't have differs, and so do blanks within it. */
export function differencesOf(...texts) {
  const [one, other] = texts.map((text) => text.match(WORDS) ?? []);
  const { start, before, after } = middleOf(one, other);
  const isFine = workFor({ before, after }) <= MAX_WORK;
  const hunks = isFine ? diffIndices(before, after) : [{ buffer1: [0, before.length], buffer2: [0, after.length] }];
  return [
    runsOf(
      one,
      start,
      hunks.map(({ buffer1 }) => buffer1),
    ),
    runsOf(
      other,
      start,
      hunks.map(({ buffer2 }) => buffer2),
    ),
  ];
}

function runsOf(words, start, hunks) {
  const runs = [];
  let place = 0;
  const add = (to, differs) => {
    const text = words.slice(place, to).join('');
    place = to;
    const last = runs.at(-1);
    if (last?.differs === differs) last.text += text;
    else if (text) runs.push({ text, differs });
  };
  for (const [from, length] of hunks) {
    const isBlank =
      runs.length > 0 &&
      length > 0 &&
      !words
        .slice(place, start + from)
        .join('')
        .trim();
    add(start + from, isBlank);
    add(start + from + length, true);
  }
  add(words.length, false);
  return runs;
}

/** By item, as a text by line. */
export function mergeLists(...lists) {
  const keys = lists.map((list) => list.map(keyOf));
  const parts = mergePieces(lists, keys, areNearLines, { left: MAX_WORK }).map((part) =>
    isCollision(part) && isSame(part.mine, part.theirs) ? { ...part, kind: 'agreed' } : part,
  );
  const [base, mine, theirs] = lists;
  return asQuestions(parts, { base, mine, theirs });
}

const eachOf = ({ base, mine, theirs }, change) => ({ base: change(base), mine: change(mine), theirs: change(theirs) });

/** What pieces are compared by. Those that are blank are many and all alike, so each goes with what follows it. */
const blanksWithNext = (versions) =>
  versions.map((pieces) => {
    const keys = [...pieces];
    let next = '';
    for (let i = pieces.length - 1; i >= 0; i--) {
      if (pieces[i].trim()) next = pieces[i];
      else keys[i] = `${pieces[i]}\0${next}`;
    }
    return keys;
  });

/** What was changed in a line with hardly a word between it and a collision belongs to that: half of it is a riddle. */
function withoutFragments(parts) {
  const found = [];
  for (const part of parts) {
    found.push(part);
    while (isOneQuestion(...found.slice(-3))) {
      const [before, between, after] = found.splice(-3);
      const texts = ['base', 'mine', 'theirs'].map((side) => [side, before[side] + between[side] + after[side]]);
      found.push({ kind: 'collision', ...Object.fromEntries(texts) });
    }
  }
  return found;
}

const isOneQuestion = (before, between, after) =>
  between?.kind === 'same' &&
  before.kind !== 'same' &&
  after !== undefined &&
  after.kind !== 'same' &&
  (isCollision(before) || isCollision(after)) &&
  isInLine(before, between);

function isInLine({ base, mine, theirs }, { base: between }) {
  const isBroken = between.includes('\n') || [base, mine, theirs].some((text) => text.endsWith('\n'));
  return !isBroken && wordsIn(between.match(WORDS) ?? []) <= MAX_WORDS_BETWEEN;
}
const wordsIn = (pieces) => pieces.filter((piece) => piece.trim()).length;

// --- pieces: lines, words, items ---

/**
 * Parts in order: `same`, `mine` or `theirs` where one side has changed something, `collision` where both have. Each
 * has the pieces of the three versions. `areNear(between, region, hunk)` says which changes collide that don't overlap.
 */
function mergePieces([base, mine, theirs], keys, areNear, budget) {
  const parts = [];
  let place = 0;
  const shift = { mine: 0, theirs: 0 };
  const take = (kind, from, to, starts) =>
    parts.push({
      kind,
      base: base.slice(from, to),
      mine: mine.slice(starts.mine, to + shift.mine),
      theirs: theirs.slice(starts.theirs, to + shift.theirs),
    });
  const startsAt = (from) => ({ mine: from + shift.mine, theirs: from + shift.theirs });
  const takeSame = (to) => to > place && take('same', place, to, startsAt(place));

  for (const { from, to, hunks } of regionsOf(keys, areNear, base, budget)) {
    takeSame(from);
    const starts = startsAt(from);
    for (const { side, growth } of hunks) shift[side] += growth;
    take(sideOf(hunks) ?? 'collision', from, to, starts);
    place = to;
  }
  takeSame(base.length);
  return parts;
}

/** Stretches of the base that were changed, in order, each with the hunks in it. */
function regionsOf(keys, areNear, pieces, budget) {
  const regions = [];
  for (const hunk of hunksOf(keys, budget)) {
    const last = regions.at(-1);
    const isNear =
      last && sideOf([...last.hunks, hunk]) === null && areNear(pieces.slice(last.to, hunk.from), last, hunk);
    if (last && (hunk.from < last.to || isNear)) {
      last.hunks.push(hunk);
      last.to = Math.max(last.to, hunk.to);
    } else {
      regions.push({ from: hunk.from, to: hunk.to, hunks: [hunk] });
    }
  }
  return regions;
}

/** Whose they all are; null where they are of both. */
const sideOf = ([{ side }, ...others]) => (others.every((other) => other.side === side) ? side : null);

/** Lines beside each other are apart, unless both sides have added some there: nobody knows whose come first. */
function areNearLines(between, region, hunk) {
  if (between.length) return false;
  const hasGrown = region.hunks.some(({ side, to, growth }) => side !== hunk.side && to === region.to && growth > 0);
  return hasGrown && hunk.growth > 0;
}

/** In a line, a word that neither has changed must stand between what they have changed. */
const areNearWords = (between) => !between.includes('\n') && !wordsIn(between);

/** What each side has changed, by the place in the base: `from`, `to`, and how many pieces more there are now. */
function hunksOf([base, ...sides], budget) {
  const middles = sides.map((side) => middleOf(base, side));
  // For both or for neither, so that it is fair.
  budget.left -= workFor(middles[0]) + workFor(middles[1]);
  const isFine = budget.left >= 0;
  return ['mine', 'theirs']
    .flatMap((side, i) => {
      const { start, before, after } = middles[i];
      const found = isFine ? diffIndices(before, after) : [{ buffer1: [0, before.length], buffer2: [0, after.length] }];
      return found.map(({ buffer1: [from, length], buffer2: [, newLength] }) => ({
        side,
        from: start + from,
        to: start + from + length,
        growth: newLength - length,
      }));
    })
    .filter(({ from, to, growth }) => to > from || growth > 0)
    .sort((one, other) => one.from - other.from || one.to - other.to);
}

/** What stands between what two versions begin and end with. */
function middleOf(one, other) {
  const shorter = Math.min(one.length, other.length);
  let start = 0;
  while (start < shorter && one[start] === other[start]) start++;
  let end = 0;
  while (end < shorter - start && one[one.length - 1 - end] === other[other.length - 1 - end]) end++;
  return { start, before: one.slice(start, one.length - end), after: other.slice(start, other.length - end) };
}

/** An upper bound for the comparisons of node-diff3: the pairs of equal pieces, and what each is looked up in. */
function workFor({ before, after }) {
  const counts = new Map();
  for (const key of before) counts.set(key, (counts.get(key) ?? 0) + 1);
  let pairs = 0;
  for (const key of after) pairs += counts.get(key) ?? 0;
  return pairs * Math.min(before.length, after.length);
}
