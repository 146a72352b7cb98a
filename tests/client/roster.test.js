import { applyEvent } from 'presence/roster.js';
import { whoIsIn, whoIsTyping } from 'presence/who.js';
import { expect, test } from 'vitest';
import { alice, bob, viewer } from './fakes.js';

const roster = { viewers: [alice, bob], total: 2, version: '1' };
const carol = viewer(3, 'Carol');

test('a snapshot replaces whatever was there', () => {
  expect(applyEvent(roster, 'snapshot', { viewers: [carol], total: 1, version: '2' })).toEqual({
    viewers: [carol],
    total: 1,
    saved: [],
    claims: {},
    version: '2',
  });
});

test('what is unconfirmed stays so until the next snapshot', () => {
  const lost = applyEvent(roster, 'snapshot', { viewers: [alice], total: 1, version: '0', unconfirmed: true });
  const joined = applyEvent(lost, 'join', { viewer: carol, total: 2, version: '2' });
  expect(joined).toEqual({ viewers: [alice, carol], total: 2, version: '2', saved: [], claims: {}, unconfirmed: true });
  const confirmed = applyEvent(joined, 'snapshot', { viewers: [carol], total: 1, version: '2' });
  expect(confirmed).toEqual({ viewers: [carol], total: 1, version: '2', saved: [], claims: {} });
});

test('before the snapshot nothing can be applied', () => {
  expect(applyEvent(undefined, 'join', { viewer: carol, total: 1, version: '2' })).toBe(null);
});

test('who joins comes last, once', () => {
  const joined = applyEvent(roster, 'join', { viewer: carol, total: 3, version: '2' });
  expect(joined.viewers).toEqual([alice, bob, carol]);
  expect(applyEvent(joined, 'join', { viewer: carol, total: 3, version: '2' }).viewers).toEqual([alice, bob, carol]);
});

test('who joins beyond the limit of the list only counts', () => {
  const cut = { viewers: [alice, bob], total: 5, version: '1' };
  expect(applyEvent(cut, 'join', { viewer: carol, total: 6, version: '2' })).toEqual({
    ...cut,
    total: 6,
    version: '2',
  });
});

test('an update keeps the place, and of somebody beyond the limit changes nothing', () => {
  const edits = { ...alice, mode: 'edit' };
  expect(applyEvent(roster, 'update', { viewer: edits, total: 2, version: '2' }).viewers).toEqual([edits, bob]);
  expect(applyEvent(roster, 'update', { viewer: carol, total: 2, version: '2' }).viewers).toEqual([alice, bob]);
});

test('who leaves is gone; who was not listed only counts', () => {
  expect(applyEvent(roster, 'leave', { viewer: alice, total: 1, version: '2' }).viewers).toEqual([bob]);
  expect(applyEvent(roster, 'leave', { viewer: carol, total: 2, version: '2' }).viewers).toEqual([alice, bob]);
});

test('42 and "42" are two people', () => {
  const other = viewer('1', 'Other');
  const joined = applyEvent(roster, 'join', { viewer: other, total: 3, version: '2' });
  expect(applyEvent(joined, 'leave', { viewer: other, total: 2, version: '3' }).viewers).toEqual([alice, bob]);
});

test('an agent is another viewer for each user it works for, and none of them is a user with its id', () => {
  const agentOf = (id) => viewer(1, 'Summariser', { agent: { for: { id, name: 'Somebody' } } });
  const all = [alice, agentOf(1), agentOf('1')];
  const here = { viewers: all, total: 3, version: '1' };
  for (const [i, gone] of all.entries()) {
    const { viewers } = applyEvent(here, 'leave', { viewer: gone, total: 2, version: '2' });
    expect(viewers).toEqual(all.filter((_, place) => place !== i));
  }
});

test('whoIsIn names those in a field, nobody where nothing is known', () => {
  const here = { ...bob, active_fields: ['title'] };
  expect(whoIsIn([alice, here], 'title')).toEqual([here]);
  expect(whoIsIn(null, 'title')).toEqual([]);
});

test('whoIsTyping names each person once', () => {
  const user = { id: 2, name: 'Bob' };
  const typing = [
    { user, tab_id: 'a', kind: 'typing', data: { field: 'title' } },
    { user, tab_id: 'b', kind: 'typing', data: { field: 'title' } },
  ];
  expect(whoIsTyping(typing, 'title')).toEqual([user]);
  expect(whoIsTyping(typing)).toEqual([user]);
  expect(whoIsTyping(typing, 'description')).toEqual([]);
});

test('saves are remembered in order, the last fifty, and claims are what was told last', () => {
  let now = applyEvent(null, 'snapshot', { viewers: [], total: 0, version: '1', claims: { title: 'of Bob' } });
  for (let i = 1; i <= 60; i++) {
    now = applyEvent(now, 'saved', {
      record: 'flow:12',
      lock_version: i,
      fields: ['title'],
      user: bob,
      tab_id: 'b',
      saved_at: '',
      version: `v${i}`,
    });
  }
  expect(now.saved).toHaveLength(50);
  expect(now.saved.at(-1)).toEqual({ lock_version: 60, fields: ['title'], user: bob, tab_id: 'b', saved_at: '' });
  expect(now).toMatchObject({ version: 'v60', claims: { title: 'of Bob' }, viewers: [] });
  expect(applyEvent(now, 'claims', { claims: {}, version: 'v61' })).toMatchObject({ claims: {}, version: 'v61' });
});
