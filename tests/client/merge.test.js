// @vitest-environment node
// Three versions made into one: what nobody disputes is done, and what anybody has typed is in the result or in a question.
import { differencesOf, isCollision, mergedValue, mergeLists, mergeRecords, mergeTexts } from 'presence/merge.js';
import { describe, expect, test } from 'vitest';

const CASES = 150;
const LONG_MS = 5000; // a tenth of that on a quiet machine

/** Numbers that look random and are the same in each run. */
function randomFrom(seed) {
  let state = seed * 7919 + 1;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

const pick = (random, list) => list[random(list.length)];
const ALPHABET = ['red', 'green', 'blue', 'the', 'the', '今日', 'é́', '👩‍💻', '', ' ', '\n', '\n\n', '\r\n', '\t'];

const anyText = (random) =>
  Array.from({ length: random(25) }, () => pick(random, ALPHABET)).join(pick(random, [' ', '']));

/** The text with some words taken out, put in or replaced; new ones carry the mark of who has typed them. */
function edited(random, text, mark) {
  const words = text.split(/(?<=\s)/);
  for (let changes = random(4); changes > 0; changes--) {
    const place = random(words.length + 1);
    const typed = random(3) ? [`${mark}${random(50)}${pick(random, [' ', '\n'])}`] : [];
    words.splice(place, random(3), ...typed);
  }
  return words.join('');
}

const threeTexts = (seed) => {
  const random = randomFrom(seed);
  const base = anyText(random);
  return [base, edited(random, base, 'mine'), edited(random, base, 'theirs')];
};

const withLineFeeds = (text) => text.replace(/\r\n?/g, '\n');
const whole = (parts, side) => parts.map((part) => part[side]).join('');
const merged = (base, mine, theirs, choice) => {
  const [field] = mergeRecords({ text: base }, { text: mine }, { text: theirs });
  return mergedValue(
    field,
    field.parts.filter(isCollision).map(() => choice),
  );
};
const questions = (parts) => parts.filter(isCollision).map(({ mine, theirs }) => [mine, theirs]);

describe('any three texts', () => {
  test('are each in the parts, letter by letter', () => {
    for (let seed = 0; seed < CASES; seed++) {
      const texts = threeTexts(seed);
      const parts = mergeTexts(...texts);
      const found = ['base', 'mine', 'theirs'].map((side) => whole(parts, side));
      expect(found).toEqual(texts.map((text) => `${withLineFeeds(text)}\n`));
    }
  });

  test('merge alike whichever side is called mine', () => {
    const swapped = { mine: 'theirs', theirs: 'mine' };
    for (let seed = 0; seed < CASES; seed++) {
      const [base, mine, theirs] = threeTexts(seed);
      const there = mergeTexts(base, mine, theirs);
      const back = mergeTexts(base, theirs, mine).map((part) => ({
        kind: swapped[part.kind] ?? part.kind,
        base: part.base,
        mine: part.theirs,
        theirs: part.mine,
      }));
      expect(back).toEqual(there);
    }
  });

  test('ask nothing where one side has changed nothing, or both have made the same of it', () => {
    for (let seed = 0; seed < CASES; seed++) {
      const [base, mine] = threeTexts(seed);
      for (const versions of [
        [base, mine, base],
        [base, base, mine],
        [base, mine, mine],
      ]) {
        expect(mergeTexts(...versions).some(isCollision)).toBe(false);
        expect(withLineFeeds(merged(...versions))).toBe(withLineFeeds(mine));
      }
    }
  });

  test('lose no word that anybody has typed: it is in the result, or in a question', () => {
    const typed = (text) => [...text.matchAll(/(mine|theirs)\d+/g)].map(([word]) => word);
    let asked = 0;
    let done = 0;
    for (let seed = 0; seed < CASES; seed++) {
      const [base, mine, theirs] = threeTexts(seed);
      const parts = mergeTexts(base, mine, theirs);
      asked += questions(parts).length;
      done += parts.filter(({ kind }) => kind === 'mine' || kind === 'theirs').length;
      const settled = parts.filter((part) => !isCollision(part));
      const onScreen = settled.map((part) => (part.kind === 'theirs' ? part.theirs : part.mine)).join('|');
      const inQuestions = questions(parts).flat().join('|');
      const seen = new Set(typed(`${onScreen}|${inQuestions}`));
      for (const word of typed(`${mine} ${theirs}`)) expect(seen, `${seed}: ${word}`).toContain(word);
      const all = new Set(typed(merged(base, mine, theirs, 'both')));
      for (const word of typed(`${mine} ${theirs}`)) expect(all, `${seed}, both: ${word}`).toContain(word);
    }
    expect(Math.min(asked, done)).toBeGreaterThan(30); // else this is about nothing
  });

  test('hold what was chosen, whatever the choices are', () => {
    for (let seed = 0; seed < CASES; seed++) {
      const [base, mine, theirs] = threeTexts(seed);
      const [field] = mergeRecords({ text: base }, { text: mine }, { text: theirs });
      const collisions = field.parts.filter(isCollision);
      const random = randomFrom(seed);
      const choices = collisions.map(() => pick(random, ['mine', 'theirs']));
      const result = mergedValue(field, choices);
      collisions.forEach((part, i) => {
        expect(withLineFeeds(result), `${seed}`).toContain(part[choices[i]].trim());
      });
    }
  });

  test('give mine for all choices of mine, where theirs has changed nothing else', () => {
    for (let seed = 0; seed < CASES; seed++) {
      const [base, mine, theirs] = threeTexts(seed);
      const parts = mergeTexts(base, mine, theirs);
      const chosen = { mine, theirs };
      for (const side of ['mine', 'theirs']) {
        if (parts.some(({ kind }) => kind !== side && kind !== 'collision' && kind !== 'same' && kind !== 'agreed'))
          continue;
        expect(withLineFeeds(merged(base, mine, theirs, side))).toBe(withLineFeeds(chosen[side]));
      }
    }
  });
});

describe('by line and by word', () => {
  test.each([
    ['lines that stand beside each other', 'one\ntwo', 'ONE\ntwo', 'one\nTWO', 'ONE\nTWO'],
    ['a line added after one that was changed', 'one\ntwo', 'one\ntwo\nthree', 'one\n2', 'one\n2\nthree'],
    [
      'words of one line',
      'the cat sat on the mat',
      'the dog sat on the mat',
      'the cat sat on the rug',
      'the dog sat on the rug',
    ],
    ['a word taken out here, one put in there', 'a b c d e', 'a c d e', 'a b c d new e', 'a c d new e'],
    ['a script without spaces', '今日は晴れです', '明日は晴れです', '今日は雨です', '明日は雨です'],
    [
      'line ends of a form and of a file',
      'one\r\ntwo\r\nthree',
      'ONE\ntwo\nthree',
      'one\r\ntwo\r\nTHREE',
      'ONE\ntwo\nTHREE',
    ],
    ['a blank line where the other side has more', 'one', 'one\n', 'one\ntwo', 'one\ntwo'],
    ['the same line added by both, and more by one', 'one', 'one\ntwo', 'one\ntwo', 'one\ntwo'],
  ])('%s', (_, base, mine, theirs, expected) => {
    expect(questions(mergeTexts(base, mine, theirs))).toEqual([]);
    expect(merged(base, mine, theirs)).toBe(expected);
  });

  test.each([
    ['one word, changed twice', 'the cat sat', 'the dog sat', 'the cow sat', [[' dog', ' cow']]],
    ['words beside each other', 'a big house', 'a large house', 'a big building', [[' large house', ' big building']]],
    ['a line added by each at the end', 'one', 'one\nmine', 'one\ntheirs', [['mine\n', 'theirs\n']]],
    ['changed here, taken out there', 'one\ntwo\nthree', 'one\nTWO\nthree', 'one\nthree', [['TWO\n', '']]],
    [
      'few words apart',
      'one two three four five',
      '1 two three 4 five',
      'I two three IV five',
      [['1 two three 4', 'I two three IV']],
    ],
    ['something where there was nothing', '', 'mine', 'theirs', [['mine', 'theirs']]],
  ])('is asked: %s', (_, base, mine, theirs, expected) => {
    expect(questions(mergeTexts(base, mine, theirs))).toEqual(expected);
  });

  test('both of a question stand in lines of their own, or with a space between', () => {
    expect(merged('one', 'one\nmine', 'one\ntheirs', 'both')).toBe('one\nmine\ntheirs');
    expect(merged('', 'mine', 'theirs', 'both')).toBe('mine theirs');
  });
});

describe('a record', () => {
  const fieldOf = (base, mine, theirs, options) => mergeRecords({ f: base }, { f: mine }, { f: theirs }, options)[0];

  test.each([
    ['numbers', 1, 2, 3],
    ['booleans against nothing', null, true, false],
    ['dates', new Date(0), new Date(1), new Date(2)],
    ['objects', { a: 1 }, { a: 2 }, { a: 3 }],
    ['a text and a number', 'a', 'b', 3],
    ['one that was emptied', 'a', null, 'b'],
  ])('is asked about %s as a whole', (_, base, mine, theirs) => {
    const field = fieldOf(base, mine, theirs);
    expect(field).toMatchObject({ kind: 'collision', type: 'value', parts: [{ base, mine, theirs }] });
    expect(mergedValue(field, ['theirs'])).toBe(theirs);
    expect(mergedValue(field, ['mine'])).toBe(mine);
  });

  test.each([
    ['an equal date', new Date(5), new Date(5), new Date(6), 'theirs'],
    ['an equal list', [1, 2], [1, 2], [1], 'theirs'],
    ['an equal object in another order', { a: 1, b: 2 }, { b: 2, a: 1 }, { a: 2, b: 2 }, 'theirs'],
    ['NaN', Number.NaN, Number.NaN, Number.NaN, 'same'],
    ['only mine', 1, 2, 1, 'mine'],
    ['both the same', 1, 2, 2, 'agreed'],
    ['a number and its text', 1, '1', 1, 'mine'],
  ])('is compared by content: %s', (_, base, mine, theirs, kind) => {
    expect(fieldOf(base, mine, theirs).kind).toBe(kind);
  });

  test('a field of choices is not merged as a text', () => {
    const field = fieldOf('a b c', 'A b c', 'a b C', { whole: ['f'] });
    expect(field).toMatchObject({ kind: 'collision', type: 'value' });
  });

  test('lists merge by item, and ask where both have added something', () => {
    expect(fieldOf(['a', 'b'], ['new', 'a', 'b'], ['a', 'b', 'c'])).toMatchObject({
      kind: 'merged',
      value: ['new', 'a', 'b', 'c'],
    });
    expect(fieldOf([1, 2, 3], [1, 3], [1, 2, 3, 4]).value).toEqual([1, 3, 4]);
    const field = fieldOf(['a'], ['a', 'm', 'x'], ['a', 't', 'x']);
    expect(mergedValue(field, ['both'])).toEqual(['a', 'm', 'x', 't']);
    expect(mergeLists([{ id: 1 }], [{ id: 1 }], []).at(0).kind).toBe('theirs');
  });

  test('a side that does not know a field has not changed it', () => {
    const merge = (base, mine, theirs) => mergeRecords(base, mine, theirs, { fields: ['f'] })[0];
    expect(merge({ f: 1 }, {}, { f: 2 }).value).toBe(2);
    expect(merge({ f: 1 }, { f: 2 }, {}).value).toBe(2);
    expect(merge({}, { f: 2 }, {}).value).toBe(2);
    expect(merge({}, {}, { f: 2 }).value).toBe(2);
    expect(merge({}, { f: 1 }, { f: 2 }).kind).toBe('collision');
    expect(merge({ f: 1 }, {}, {}).kind).toBe('same');
  });

  test.each(['__proto__', 'constructor', 'toString'])('a field called %s is a field', (name) => {
    const record = (value) => JSON.parse(`{"${name}": "${value}"}`);
    expect(mergeRecords(record('a'), record('a'), record('b'))).toMatchObject([{ name, value: 'b' }]);
    expect(mergeRecords({}, record('mine'), {})).toMatchObject([{ name, value: 'mine' }]);
    expect(merged('a b c', `${name} b c`, `a b ${name}`)).toBe(`${name} b ${name}`);
  });
});

describe('a text of 100 KB', () => {
  const random = randomFrom(1);
  const word = () => (random(3) ? `w${random(3000)}` : pick(random, ['the', 'of', 'and', 'to']));
  const lineOf = (length) => Array.from({ length }, word).join(' ');
  const editedLines = (lines, every) =>
    lines.map((line) =>
      line
        .split(' ')
        .map((one) => (random(every) ? one : `new${random(1e6)}`))
        .join(' '),
    );
  const ab = 'a\nb\n'.repeat(25_000);
  const WORST = {
    'one line': [[lineOf(20_000)], 100],
    'short lines': [Array.from({ length: 2500 }, () => lineOf(8)), 500],
    'all of it rewritten': [Array.from({ length: 2500 }, () => lineOf(8)), 2],
    'long paragraphs': [Array.from({ length: 60 }, () => lineOf(300)), 150],
  };

  test.each(Object.entries(WORST))('%s: in bounded time, and nothing of it is lost', (_, [lines, every]) => {
    const [base, mine, theirs] = [lines, editedLines(lines, every), editedLines(lines, every)].map((text) =>
      text.join('\n'),
    );
    const start = performance.now();
    const [field] = mergeRecords({ f: base }, { f: mine }, { f: theirs });
    expect(performance.now() - start).toBeLessThan(LONG_MS);
    expect(whole(field.parts, 'mine')).toBe(`${mine}\n`);
    expect(whole(field.parts, 'theirs')).toBe(`${theirs}\n`);
    expect(questions(field.parts).length).toBeLessThanOrEqual(20);
  });

  test.each([
    ['nothing but two lines', ab, `b\n${ab}`, `c\na\n${'b\na\n'.repeat(25_000)}`],
    ['nothing but two words', 'a b '.repeat(25_000), 'b a '.repeat(25_000), 'b b a '.repeat(17_000)],
    ['nothing but blank lines', '\n'.repeat(100_000), `x${'\n'.repeat(90_000)}x`, `y${'\n'.repeat(95_000)}`],
  ])('hostile: %s', (_, base, mine, theirs) => {
    const start = performance.now();
    const [field] = mergeRecords({ f: base }, { f: mine }, { f: theirs });
    differencesOf(mine, theirs);
    expect(performance.now() - start).toBeLessThan(LONG_MS);
    expect(whole(field.parts, 'mine')).toBe(`${mine}\n`);
  });
});

test('what differs between two texts is marked by word, and the rest is not', () => {
  const [one, other] = differencesOf('Call first, then write', 'Call them, then write');
  expect(one.filter(({ differs }) => differs).map(({ text }) => text)).toEqual(['first,']);
  expect(other.filter(({ differs }) => differs).map(({ text }) => text)).toEqual(['them,']);
  expect(one.map(({ text }) => text).join('')).toBe('Call first, then write');
});
