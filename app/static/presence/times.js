// Since when somebody is away, and times in words.

import { userKey } from './store.js';

const MINUTE_MS = 60_000;
const UNITS = [
  ['day', 1440],
  ['hour', 60],
  ['minute', 1],
];
const DAY = { day: 'numeric', month: 'short' };

const formatters = new Map(); // making one takes longer than using it
function formatter(kind, locale, options) {
  const key = JSON.stringify([kind, locale, options]);
  if (!formatters.has(key)) formatters.set(key, new Intl[kind](locale, options));
  return formatters.get(key);
}

/** "14:02", of another day with its date; '' where the time (ms since 1970) is none. */
export function clockText(time, locale) {
  if (!Number.isFinite(time)) return '';
  const isToday = new Date(time).toDateString() === new Date().toDateString();
  return formatter('DateTimeFormat', locale, { hour: 'numeric', minute: '2-digit', ...(!isToday && DAY) }).format(time);
}

/** "12 minutes", "3 hours": since then, rounded down; '' for less than a minute. */
export function durationText(time, locale) {
  const minutes = Math.floor((Date.now() - time) / MINUTE_MS);
  const [unit, size] = UNITS.find(([, each]) => minutes >= each) ?? [];
  if (!unit) return '';
  return formatter('NumberFormat', locale, { style: 'unit', unit, unitDisplay: 'long' }).format(
    Math.floor(minutes / size),
  );
}

/** See who.d.ts. The service doesn't tell; but whoever has watched without a gap has seen it. */
export function createAwayTimes() {
  let viewers = null;
  let times = new Map(); // key -> time, or null, of those who are away
  let wasFresh = false;

  return (state) => {
    if (state.viewers !== viewers) {
      const known = new Set(viewers?.map(userKey));
      const hasSeen = (key) => wasFresh && known.has(key);
      const away = (state.viewers ?? []).filter((viewer) => viewer.away).map(userKey);
      times = new Map(away.map((key) => [key, times.has(key) ? times.get(key) : hasSeen(key) ? Date.now() : null]));
      viewers = state.viewers;
    }
    wasFresh = state.fresh;
    return (viewer) => times.get(userKey(viewer)) ?? null;
  };
}
