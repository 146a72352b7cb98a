import { characters, colorOf, initialsOf, nameOf } from 'presence/initials.js';
import { describe, expect, test, vi } from 'vitest';

const FAMILY = '👩‍👩‍👧';

describe('initials', () => {
  test.each([
    ['Alice Smith', 'AS'],
    ['alice', 'A'],
    ['José María de la Cruz', 'JC'],
    ['Élodie Ångström', 'ÉÅ'],
    ['e\u0301lodie', 'E\u0301'],
    ['(Bob) "The Rock" Jones', 'BJ'],
    ["O'Neil", 'O'],
    ['王小明', '王'],
    ['Анна Каренина', 'АК'],
    ['नमस्ते दुनिया', 'नदु'],
    ['עמוס עוז', 'עע'],
    ['محمد علي', 'م\u200cع'],
    ['ანა ბერიძე', 'აბ'],
    ['ßeta', 'ß'],
    [`${FAMILY} Family`, FAMILY],
    ['🇩🇪', '🇩🇪'],
    ['Sam 🎉', 'S'],
    ['R2 D2', 'RD'],
    ['', '?'],
    ['— …', '?'],
  ])('%s', (name, initials) => {
    expect(initialsOf(name)).toBe(initials);
  });

  test('capitals follow the locale', () => {
    expect(initialsOf('ilhan', 'tr')).toBe('İ');
  });

  test('a name without end has two initials', () => {
    expect(characters(initialsOf('a '.repeat(10_000)))).toHaveLength(2);
  });

  test('without Intl.Segmenter accents, flags and families stay whole too', () => {
    vi.stubGlobal('Intl', { ...Intl, Segmenter: undefined });
    expect(characters(`e\u0301${FAMILY}🇩🇪👍🏽a`)).toEqual(['e\u0301', FAMILY, '🇩🇪', '👍🏽', 'a']);
    expect(initialsOf('Élodie Ångström')).toBe('ÉÅ');
    vi.unstubAllGlobals();
  });
});

describe('names', () => {
  test.each([
    [undefined, 'Someone'],
    ['  \u200e ', 'Someone'],
    ['Eve\u202Egnp.exe', 'Eve gnp.exe'],
    ['a\u0000b\nc', 'a b c'],
    [42, '42'],
  ])('%j is shown as %s', (name, shown) => {
    expect(nameOf({ name }, 'Someone')).toBe(shown);
  });
});

describe('colours', () => {
  const ids = [...Array.from({ length: 500 }, (_, i) => i), ...Array.from({ length: 500 }, (_, i) => `user-${i}`)];

  test('white text on any of them has a contrast of at least 4.5 : 1', () => {
    for (const id of ids) expect(contrastWithWhite(colorOf(id))).toBeGreaterThanOrEqual(4.5);
  });

  test('one user has one colour, and neighbours have unlike ones', () => {
    expect(colorOf(7)).toBe(colorOf(7));
    expect(new Set(ids.map(colorOf)).size).toBeGreaterThan(40);
    expect(new Set([1, 2, 3, 4, 5, 6, 7, 8].map((id) => Math.round(hueOf(id) / 20))).size).toBe(8);
    const alike = ids.slice(1, 500).filter((id) => colorOf(id) === colorOf(id - 1));
    expect(alike.length).toBeLessThan(30);
  });
});

const hueOf = (id) => Number(colorOf(id).match(/\d+/)[0]);

// The textbook way round: HSL to sRGB bytes, as a screen shows them, to WCAG luminance.
function contrastWithWhite(color) {
  const [h, s, l] = color.match(/[\d.]+/g).map(Number);
  const a = (s / 100) * Math.min(l / 100, 1 - l / 100);
  const rgb = [0, 8, 4].map((n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (l / 100 - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  });
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05);
}
