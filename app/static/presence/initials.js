// What an avatar shows of a person: initials in any script, and a colour.

// Controls, and the marks that turn the direction of the text around them.
const INVISIBLE = /[\p{Cc}\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff]/gu;
const LETTER = /^[\p{L}\p{N}]/u;
const SYMBOL = /^(?:\p{Extended_Pictographic}|\p{RI})/u;

export const nameOf = (viewer, unknown) =>
  String(viewer.name ?? '')
    .replace(INVISIBLE, ' ')
    .replace(/\s+/g, ' ')
    .trim() || unknown;

/** Up to two initials; one in scripts without words, an emoji as it is, "?" for a name without any. */
export function initialsOf(name, locale) {
  const words = name
    .split(/\s+/)
    .map((word) => characters(word).find((part) => LETTER.test(part) || SYMBOL.test(part)))
    .filter(Boolean);
  const first = words[0];
  if (!first) return '?';
  const letters = words.filter((part) => LETTER.test(part));
  if (SYMBOL.test(first) || letters.length < 2) return upper(first, locale);
  const last = letters.at(-1);
  // Letters of a cursive script would join into one word.
  const joiner = /\p{Script=Arabic}|\p{Script=Syriac}|\p{Script=Mongolian}/u.test(first + last) ? '\u200c' : '';
  return upper(letters[0], locale) + joiner + upper(last, locale);
}

// Georgian capitals are missing in most fonts, and "ß" would become two letters.
function upper(character, locale) {
  if (/\p{Script=Georgian}/u.test(character)) return character;
  const capital = character.toLocaleUpperCase(locale);
  return characters(capital).length === 1 ? capital : character;
}

let segmenter;

/** What a reader takes for one character: accents, flags and families of emoji stay whole. */
export function characters(text) {
  if (typeof Intl === 'object' && Intl.Segmenter) {
    segmenter ??= new Intl.Segmenter();
    return Array.from(segmenter.segment(text), ({ segment }) => segment);
  }
  return text.match(/\p{RI}\p{RI}|[\s\S](?:[\p{M}\p{EMod}]|\u200d\P{M})*/gu) ?? [];
}

/** A colour per user id on which white text has a contrast of at least 4.5 : 1. */
export function colorOf(id) {
  // The golden angle: neighbouring ids get unlike colours, however many there are.
  const seed = Number.isSafeInteger(id) ? Math.abs(id) : hashOf(String(id));
  const hue = Math.round((seed * 137.508) % 360);
  const saturation = seed % 3 ? 70 : 45;
  let lightness = 48;
  while (1.05 / (luminance(hue, saturation / 100, lightness / 100) + 0.05) < 4.6) lightness--;
  return `hsl(${hue} ${saturation}% ${lightness}%)`;
}

// FNV-1a, 24 bits of it.
function hashOf(text) {
  let hash = 2166136261;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  return (hash ^ (hash >>> 24)) & 0xffffff;
}

function luminance(hue, saturation, lightness) {
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    const c = lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * channel(0) + 0.7152 * channel(8) + 0.0722 * channel(4);
}
