// The demo's replay: who was there in which state, and which saves ran into somebody's unsaved changes.
import { beforeAll, expect, test } from 'vitest';
import { userKey } from '../../app/static/presence/store.js';

const keyOf = (id) => userKey({ id });

let replay;
let spansOf;
let stateText;

beforeAll(async () => {
  document.body.dataset.page = '{}'; // the demo's modules read it
  ({ replay, spansOf, stateText } = await import('../../app/demo/client/src/replay.js'));
});

const alice = { id: 1, name: 'Alice' };
const bob = { id: 2, name: 'Bob' };
const START = Date.parse('2026-11-24T16:00:00Z');
const shown = (more) => ({ tabs: 1, mode: 'view', has_dirty_tab: false, active_fields: [], dirty_fields: [], ...more });
const editing = (...fields) =>
  shown({ mode: 'edit', has_dirty_tab: true, active_fields: fields.slice(0, 1), dirty_fields: fields });
const at = (seconds, kind, user, more) => ({
  id: `${seconds}-0`,
  at: new Date(START + seconds * 1000).toISOString(),
  kind,
  ...(user && { user }),
  ...more,
});

const QUARREL = [
  at(0, 'join', alice, shown()),
  at(1, 'join', bob, shown()),
  at(2, 'update', alice, editing('name', 'steps')),
  at(3, 'update', bob, editing('name')),
  at(4, 'saved', bob, { lock_version: 8, fields: ['name'], tab_id: 'b' }),
  at(5, 'update', bob, shown()),
  at(6, 'leave', bob, { reason: 'expired' }),
  at(7, 'saved', alice, { lock_version: 9, fields: ['name', 'steps'], tab_id: 'a' }),
];

test('after each entry it is known who was there, and in what', () => {
  const { moments, lanes } = replay(QUARREL);
  expect(lanes.map(({ user }) => user.name)).toEqual(['Alice', 'Bob']);
  expect(moments.map(({ people }) => people.size)).toEqual([1, 2, 2, 2, 2, 2, 1, 1]);
  expect(stateText(moments[3].people.get(keyOf(1)))).toBe('editing Name, unsaved changes in Name and Steps');
});

test('a save over somebody else’s unsaved field is a conflict, and no other is', () => {
  const { moments } = replay(QUARREL);
  const conflicts = moments.filter((moment) => moment.conflicts.length);
  expect(conflicts.map(({ entry }) => entry.lock_version)).toEqual([8]);
  expect(conflicts[0].text).toBe('saves version 8: Name, while \u2068Alice\u2069 had unsaved changes in Name');
});

test('a lane shows when somebody was there, looked, and had something unsaved', () => {
  const { moments } = replay(QUARREL);
  const spans = spansOf(moments, keyOf(2), 0, 10);
  expect(spans.map(({ from, to, state }) => [from, to, state.isDirty])).toEqual([
    [1, 3, false],
    [3, 5, true],
    [5, 6, false],
  ]);
  expect(spansOf(moments, keyOf(2), 4, 5.5)).toMatchObject([
    { from: 4, to: 5 },
    { from: 5, to: 5.5 },
  ]);
});

test('quiet stretches are drawn shorter, and no two entries at one place', () => {
  const { moments } = replay([
    at(0, 'join', alice, shown()),
    at(0, 'join', bob, shown()),
    at(36_000, 'leave', bob, { reason: 'left' }),
  ]);
  const [first, second, third] = moments.map(({ place }) => place);
  expect(second).toBeGreaterThan(first);
  expect(third - second).toBeLessThan(200);
});

test('everybody who was counted anew joins again', () => {
  const { moments } = replay([at(0, 'join', alice, shown()), at(1, 'reset'), at(1, 'join', bob, shown())]);
  expect([...moments.at(-1).people.keys()]).toEqual([keyOf(2)]);
});

test('somebody whose arrival is forgotten is there from their first entry on', () => {
  const { moments } = replay([
    at(0, 'update', alice, editing('name')),
    at(1, 'claimed', alice, { field: 'name', tab_id: 'a', taken_from: bob }),
  ]);
  expect(moments[0].people.size).toBe(1);
  expect(moments[1].text).toBe('takes over Name from \u2068Bob\u2069');
});
