// What both of the demo's editors say of the others: names of fields and people as they come over the wire.
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';

let flow;
let conflict;
let handOver;

beforeAll(async () => {
  document.body.dataset.page = JSON.stringify({ me: { id: 9, name: 'Me' }, people: [], claim_idle_seconds: 120 }); // the demo's modules read it
  flow = await import('../../app/demo/client/src/flow.js');
  conflict = await import('../../app/demo/client/src/conflict.js');
  handOver = await import('../../app/demo/client/src/handOver.js');
});

const viewer = (id, more) => ({
  id,
  name: `Ann ${id}`,
  tabs: 1,
  mode: 'edit',
  has_dirty_tab: false,
  active_fields: [],
  dirty_fields: [],
  ...more,
});
const crowd = (size, more) => Array.from({ length: size }, (_, i) => viewer(i + 1, more));
const layla = viewer(6, { name: 'ليلى حداد' });

describe.each(['toString', 'constructor', '__proto__', 'hasOwnProperty'])('a field called %s', (name) => {
  test('is no field of the form', () => {
    expect(flow.labelOf(name)).toBe('');
    expect(flow.titleOf(name)).toBe(name);
    const [person] = flow.peopleHere([viewer(1, { active_fields: [name], dirty_fields: [name], has_dirty_tab: true })]);
    expect(person.text).toBe('Unsaved changes');
  });

  test('is claimed by nobody who has not said so', () => {
    expect(conflict.claimOf({}, name, 'mine').doing).toBe('claim');
    const claims = JSON.parse(`{"${name}": {"tab_id": "mine", "user": {"id": 9, "name": "Me"}}}`);
    expect(conflict.claimOf(claims, name, 'mine').doing).toBe('release');
    expect(conflict.takenClaims(claims, {}, 'mine')).toEqual([]);
  });
});

describe('many people', () => {
  test('in one field are two and a number, which tells the rest', () => {
    const people = flow.peopleIn(crowd(22, { active_fields: ['name'] }), [], 'name');
    expect(people.map(({ name }) => name)).toEqual(['Ann 1', 'Ann 2', '+20']);
    expect(people[2].label).toMatch(/^20 more: \u2068Ann 3\u2069 is here; .*\u2068Ann 22\u2069 is here$/);
    expect(flow.peopleIn(crowd(2, { active_fields: ['name'] }), [], 'name')).toHaveLength(2);
  });

  test('are eight until somebody asks for all', () => {
    expect(flow.firstOf(crowd(8), false)).toMatchObject({ more: '' });
    const few = flow.firstOf(crowd(9), false);
    expect([few.shown.length, few.more]).toEqual([8, 'Show all 9']);
    const all = flow.firstOf(crowd(9), true);
    expect([all.shown.length, all.more]).toEqual([9, 'Show fewer']);
  });
});

describe('what became of a save', () => {
  const mine = { name: 'Mine', status: 'active', owner: 'bob', description: 'D', steps: 'S' };
  const tell = (collisions, became, values) => {
    const outcome = { base: mine, theirs: mine, values: { ...mine, ...values }, collisions, became };
    return conflict.outcomeOf(outcome, { mine, unsaved: ['name', 'steps', 'description'] });
  };

  test('is told by what was chosen, and what was replaced can be given back', () => {
    const values = { name: 'Theirs', description: 'D and theirs' };
    const { text, undo } = tell(
      ['name', 'steps', 'description'],
      { name: 'theirs', steps: 'mine', description: 'both' },
      values,
    );
    expect(text).toBe(
      'Took over Name as saved over there. Put together Description as chosen. Your Steps stays. Save to replace what was saved over there.',
    );
    expect(undo).toEqual({ name: 'Mine', description: 'D' });
    expect(tell(['name'], { name: 'mine' }).undo).toBeFalsy();
  });
});

describe('a name in a sentence', () => {
  const save = { lock_version: 2, own: false, user: layla, fields: ['name'], saved_at: '2026-11-24T16:00:00Z' };
  const base = { name: 'A', status: 'active', owner: 'bob', description: '', steps: '', lock_version: 1 };
  const theirs = { ...base, name: 'C', lock_version: 2, saved_by: layla.name };
  const name = '\u2068ليلى حداد\u2069';

  test('alone has a direction of its own', () => {
    const claim = { tab_id: 'hers', user: layla };
    expect(conflict.claimOf({ name: claim }, 'name', 'mine').who).toBe(`${name} is on it`);
    const taken = conflict.takenClaims({ name: { tab_id: 'mine' } }, { name: claim }, 'mine');
    expect(taken[0].text).toBe(`${name} took over Name from you.`);
    expect(conflict.contestOf({ contested: { name: [layla] } }, 'name')).toBe(`${name} also has unsaved changes here.`);
    const own = { contested: { name: [layla] }, own_contested: ['name'] };
    const andMine = 'You also have unsaved changes here, in another tab.';
    expect(conflict.contestOf(own, 'name')).toBe(`${name} also has unsaved changes here. ${andMine}`);
    expect(conflict.contestOf({ ...own, contested: {} }, 'name')).toBe(andMine);
    const forecast = { saves: [save] };
    const notes = conflict.notesOf(['name'], { forecast, theirs });
    expect(notes.name).toEqual({ text: `${name} saved, in version 2:`, theirs: 'C' });
    const outcome = { base, theirs, values: theirs, collisions: [], became: { name: 'theirs' } };
    const { text } = conflict.outcomeOf(outcome, { forecast, mine: base, unsaved: [] });
    expect(text).toBe(`${name} saved version 2 (Name). You see it now.`);
  });

  test('cannot turn what stands around it', () => {
    expect(flow.isolated({ name: '\u2069\u202eecila' })).toBe('\u2068ecila\u2069');
    expect(flow.isolated({ name: ' \u202e ' })).toBe('\u2068Someone\u2069');
  });
});

describe('a field that somebody waits for', () => {
  const ann = { id: 1, name: 'Ann' };
  const bob = { id: 2, name: 'Bob' };
  const row = (user, tab) => ({ user, tab_id: tab, since: 't' });
  const claimOf = (user, tab, ...waiting) => ({ user, tab_id: tab, since: 's', ...(waiting.length && { waiting }) });
  const itemsOf = (claims, more) =>
    handOver.handOversOf({ claims, viewers: [], tabId: 'mine', unsaved: [], ...more }, () => '');
  const plain = (text) => text.replace(/[\u2068\u2069]/g, '');
  afterEach(() => vi.useRealTimers());

  test('is told to who has it, who may save first where there is something to save', () => {
    const claims = { name: claimOf(ann, 'mine', row(bob, 'b'), row(bob, 'b2'), row({ id: 3, name: 'Eve' }, 'e')) };
    const [item] = itemsOf(claims);
    expect(plain(item.text)).toContain('Bob and Eve ask for Name.');
    expect(item.actions.map(({ doing }) => doing)).toEqual(['release', 'decline']);
    expect(itemsOf(claims, { unsaved: ['steps'] })[0].actions[0].doing).toBe('saveAndRelease');
    expect(plain(conflict.claimOf(claims, 'name', 'mine').who)).toBe('Bob and Eve ask for it');
  });

  test('is told to who waits, with their place', () => {
    const claims = {
      name: claimOf(bob, 'b', row({ id: 3, name: 'Eve' }, 'e'), row(ann, 'mine')),
      steps: claimOf(bob, 'b'),
    };
    expect(itemsOf(claims).map(({ text }) => plain(text))).toEqual(['You asked Bob for Name. 1 before you.']);
    expect(handOver.isWaiting(claims, 'mine')).toBe(true);
    expect(conflict.claimOf(claims, 'name', 'mine')).toMatchObject({ doing: 'release', pressed: true });
    expect(conflict.claimOf(claims, 'steps', 'mine')).toMatchObject({ doing: 'wait', pressed: false });
  });

  test('is declined only where its holder keeps it, and the user has not given up', () => {
    const before = { name: claimOf(bob, 'b', row(ann, 'mine')) };
    const after = { name: claimOf(bob, 'b') };
    const told = (now, ...stopped) => handOver.declinedClaims(before, now, 'mine', new Set(stopped)).length;
    expect([told(after), told(after, 'name'), told(before), told({}), told(null)]).toEqual([1, 0, 0, 0, 0]);
    expect(told({ name: claimOf(ann, 'mine') })).toBe(0);
  });

  test('that was passed on is not taken over, and what was typed is said to be there', () => {
    const passed = { ...claimOf(bob, 'b'), passed_from: ann };
    expect(conflict.takenClaims({ name: claimOf(ann, 'mine') }, { name: passed }, 'mine')).toEqual([]);
    const textOf = (unsaved) => plain(handOver.passedText({ field: 'name', claim: passed, isMine: false }, unsaved));
    expect(textOf(['name'])).toBe('Bob has Name now. What you wrote there is still here, unsaved.');
    expect(textOf(['steps'])).toBe('Bob has Name now.');
  });

  test('counts down to the moment that the service names, also by a clock that is wrong', () => {
    vi.useFakeTimers();
    const onTick = vi.fn();
    const timeLeft = handOver.createPassing(onTick);
    const inSeconds = (seconds) => ({ passes_at: new Date(Date.now() + seconds * 1000).toISOString() });
    expect(timeLeft(claimOf(bob, 'b'), 'in')).toBe('');
    const [claim, anHourAhead, anHourBehind] = [90, 3690, -3510].map(inSeconds);
    const left = () => [claim, anHourAhead, anHourBehind].map((each) => timeLeft(each, 'in'));
    expect(left()).toEqual(['in 1:30.', 'in 2:00.', 'in 2:00.']);
    vi.advanceTimersByTime(61_000);
    expect(onTick).toHaveBeenCalledTimes(1);
    expect(left()).toEqual(['in 0:29.', 'in 0:59.', 'in 0:59.']);
    vi.advanceTimersByTime(120_000);
    expect(left()).toEqual(['in 0:00.', 'in 0:00.', 'in 0:00.']);
  });
});
