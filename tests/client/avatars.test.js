import { clearAvatars, renderAvatars } from 'presence/avatars.js';
import { NOTHING_KNOWN } from 'presence/store.js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { alice, bob, pass, viewer } from './fakes.js';
import { useFakePage } from './harness.js';

const cleo = viewer(3, 'Cleo');
const dan = viewer(4, 'Dan');
const eve = viewer(5, 'Eve', { mode: 'edit', has_dirty_tab: true, active_fields: ['title'] });

let row;

useFakePage();
beforeEach(() => {
  row = document.createElement('div');
  document.body.replaceChildren(row);
});
afterEach(() => {
  clearAvatars(row);
});

const live = (...viewers) => ({ ...NOTHING_KNOWN, status: 'live', fresh: true, viewers, total: viewers.length });
const show = (state, options) => renderAvatars(row, state, options);
const faces = () => [...row.querySelectorAll('.presence-face')];
const labels = () => faces().map((face) => face.getAttribute('aria-label'));
const initials = () => [...row.querySelectorAll('.presence-initials')].map((node) => node.textContent);
const announced = () => row.querySelector('[role=status]').textContent;
const note = () => row.querySelector('.presence-note').textContent;

describe('who is drawn', () => {
  test('up to three, and how many more', () => {
    show(live(alice, bob, cleo));
    expect(initials()).toEqual(['A', 'B', 'C']);
    show(live(alice, bob, cleo, dan, eve));
    expect(initials()).toEqual(['A', 'B', 'C', '+2']);
    expect(labels()[3]).toBe('2 more: Dan, viewing; Eve, editing title, unsaved changes');
    show(live(alice), { graceMs: 0 });
    expect(initials()).toEqual(['A']);
  });

  test('the total counts those that the list does not name', () => {
    show({ ...live(alice, bob, cleo, dan), total: 250 });
    expect(initials()[3]).toBe('+247');
    expect(labels()[3]).toBe('247 more: Dan, viewing; 246 others');
  });

  test('a crowd’s tooltip stays short', () => {
    show(live(...Array.from({ length: 100 }, (_, i) => viewer(i, `P${i}`))));
    expect(row.querySelectorAll('.presence-more .presence-tip-line')).toHaveLength(10);
    expect(labels()[3]).toMatch(/88 others$/);
  });

  test('what they do is told by words and by shape, not by colour alone', () => {
    show(live(alice, { ...bob, mode: 'edit' }, eve), { fieldLabel: () => 'Title' });
    expect(labels()).toEqual(['Alice, viewing', 'Bob, editing', 'Eve, editing Title, unsaved changes']);
    const doing = [...row.querySelectorAll('li')].map((item) => item.getAttribute('data-doing'));
    expect(doing).toEqual(['viewing', 'editing', 'unsaved']);
    expect(row.querySelectorAll('li:last-child .presence-mark path')).toHaveLength(2);
  });

  test('somebody unsaved among the "+N" marks it', () => {
    show(live(alice, bob, cleo, dan, eve));
    expect(row.querySelector('.presence-more').getAttribute('data-doing')).toBe('unsaved');
  });

  test('full names are in a tooltip that the keyboard reaches', () => {
    show(live(alice, bob, cleo, dan));
    expect(faces().every((face) => face.tabIndex === 0)).toBe(true);
    expect(row.querySelector('.presence-tip-name').textContent).toBe('Alice');
    expect(row.querySelector('.presence-more .presence-tip-name').textContent).toBe('Dan');
  });

  test('Escape closes the tooltip until the next visit', () => {
    show(live(alice, bob));
    faces()[0].focus();
    document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }));
    expect(row.hasAttribute('data-quiet')).toBe(true);
    faces()[1].focus();
    expect(row.hasAttribute('data-quiet')).toBe(false);
  });

  test.each([
    [-30, 200, '38px'],
    [900, 1100, '-84px'],
    [100, 300, '0px'],
  ])('a tooltip from %d to %d is kept on the screen, and measured only when it opens', (left, right, shift) => {
    vi.spyOn(document.documentElement, 'clientWidth', 'get').mockReturnValue(1024);
    const measure = vi.spyOn(Element.prototype, 'getBoundingClientRect').mockReturnValue({ left, right });
    show(live(alice, bob));
    expect(measure).not.toHaveBeenCalled();
    faces()[0].focus();
    faces()[0].dispatchEvent(new Event('pointerover', { bubbles: true }));
    expect(measure).toHaveBeenCalledTimes(1);
    expect(row.querySelector('.presence-tip').style.getPropertyValue('--presence-shift')).toBe(shift);
  });

  test('a hostile name is a text', () => {
    const evil = '<img src=x onerror=alert(1)>"\'<script>';
    show(live(viewer(6, evil), bob, cleo, viewer(7, evil)), { labels: { group: '<b>' } });
    expect(row.querySelector('img, script, b')).toBeNull();
    expect(labels()[0]).toBe(`${evil}, viewing`);
    expect(row.querySelector('.presence-tip-name').textContent).toBe(evil);
  });

  test('a colour is set as a property, and no style comes as an attribute in markup', () => {
    const setAttribute = vi.spyOn(Element.prototype, 'setAttribute');
    show(live(alice));
    expect(faces()[0].style.getPropertyValue('--presence-color')).toMatch(/^hsl/);
    expect(setAttribute.mock.calls.map(([name]) => name)).not.toContain('style');
  });
});

describe('what is not known', () => {
  test('no answer yet is not "nobody"', () => {
    show({ ...NOTHING_KNOWN, status: 'connecting' });
    expect(note()).toMatch(/Looking/);
    show({ ...NOTHING_KNOWN, status: 'retrying' });
    expect(note()).toMatch(/Can’t see/);
    show(live());
    expect(note()).toBe('');
    expect(initials()).toEqual([]);
  });

  test('an old list stays, and says from when it is', () => {
    show(live(alice));
    const staleSince = new Date(2026, 0, 1, 10, 42).getTime();
    vi.setSystemTime(staleSince + 60_000);
    show({ ...live(alice), fresh: false, status: 'retrying', staleSince }, { locale: 'en-GB' });
    expect(initials()).toEqual(['A']);
    expect(row.hasAttribute('data-stale')).toBe(true);
    expect(note()).toBe('As of 10:42');
    show({ ...live(alice), unseen: true });
    expect(note()).toBe('Others can’t see you');
    show(live(alice));
    expect(row.hasAttribute('data-stale')).toBe(false);
  });
});

describe('no flicker', () => {
  function watchChanges() {
    const observer = new MutationObserver(() => {});
    observer.observe(row, { childList: true, subtree: true, attributes: true, characterData: true });
    return () => observer.takeRecords();
  }

  test('drawing the same again touches nothing', () => {
    show(live(alice, bob, cleo, dan, eve));
    const changes = watchChanges();
    show(live(alice, bob, cleo, dan, eve));
    show(live({ ...alice }, bob, cleo, dan, eve));
    expect(changes()).toEqual([]);
  });

  test('one person’s change touches that person only', () => {
    show(live(alice, bob));
    const changes = watchChanges();
    show(live(alice, { ...bob, mode: 'edit' }));
    const touched = changes().map(({ target }) => target.closest?.('li') ?? target.parentElement.closest('li'));
    expect(new Set(touched)).toEqual(new Set([row.querySelectorAll('li')[1]]));
  });

  test('the focus stays when somebody comes before or goes', async () => {
    show(live(alice, bob));
    faces()[1].focus();
    show(live(cleo, alice, bob));
    expect(document.activeElement.getAttribute('aria-label')).toBe('Bob, viewing');
    show(live(bob));
    await pass(3500);
    expect(document.activeElement.getAttribute('aria-label')).toBe('Bob, viewing');
    expect(initials()).toEqual(['B']);
  });

  test('the focus stays with somebody who moves', () => {
    show(live(alice, bob));
    faces()[1].focus();
    show(live(bob, alice));
    expect(initials()).toEqual(['B', 'A']);
    expect(document.activeElement).toBe(faces()[0]);
  });

  test('who leaves stands where they stood', async () => {
    show(live(alice, bob, cleo));
    show(live(cleo));
    expect(initials()).toEqual(['A', 'B', 'C']);
    await pass(700);
    show(live(dan, cleo));
    expect(initials()).toEqual(['A', 'B', 'D', '+1']);
    await pass(2500);
    expect(initials()).toEqual(['D', 'C']);
  });

  test('a reload leaves and comes back without a trace', async () => {
    show(live(alice, bob));
    const [face] = faces();
    show(live(bob));
    expect(initials()).toEqual(['A', 'B']);
    await pass(800);
    show(live(alice, bob));
    await pass(5000);
    expect(faces()[0]).toBe(face);
    expect(row.querySelector('[data-leaving]')).toBeNull();
    expect(announced()).toBe('');
  });

  test('who stays away is gone after the grace', async () => {
    show(live(alice, bob));
    show(live(bob));
    await pass(2900);
    expect(initials()).toEqual(['A', 'B']);
    expect(row.querySelector('li').hasAttribute('data-leaving')).toBe(true);
    await pass(200);
    expect(initials()).toEqual(['B']);
  });

  test('a grace of none shows the truth at once', () => {
    show(live(alice, bob), { graceMs: 0 });
    show(live(bob), { graceMs: 0 });
    expect(initials()).toEqual(['B']);
  });

  test('another record starts with nobody of the one before', () => {
    show(live(alice, bob));
    show({ ...NOTHING_KNOWN, status: 'connecting' });
    expect(initials()).toEqual([]);
    show(live(cleo));
    expect(initials()).toEqual(['C']);
  });
});

describe('announcements', () => {
  test('the first list is not announced', async () => {
    show(live(alice, bob));
    await pass(60_000);
    expect(announced()).toBe('');
  });

  test('who arrives is announced politely, together', async () => {
    show(live(alice), { locale: 'en' });
    show(live(alice, bob), { locale: 'en' });
    await pass(500);
    show(live(alice, bob, cleo), { locale: 'en' });
    expect(announced()).toBe('');
    await pass(600);
    expect(announced()).toBe('Bob and Cleo are here now');
    expect(row.querySelector('[role=status]').getAttribute('aria-live')).toBe('polite');
  });

  test('a crowd is a number, and there are ten seconds between two sentences', async () => {
    show(live());
    const said = [];
    const observer = new MutationObserver(() => announced() && said.push([Date.now(), announced()]));
    observer.observe(row.querySelector('[role=status]'), { childList: true });
    const crowd = [];
    for (let i = 0; i < 60; i++) {
      crowd.push(viewer(100 + i, `P${i}`));
      show(live(...crowd), { locale: 'en' });
      await pass(500);
    }
    observer.disconnect();
    expect(said.length).toBeGreaterThan(1);
    expect(said.length).toBeLessThanOrEqual(4);
    expect(said[1][0] - said[0][0]).toBeGreaterThanOrEqual(10_000);
    expect(said[1][1]).toMatch(/^P\d+, P\d+, and \d+ others are here now$/);
  });

  test('who was here within the minute is not announced again', async () => {
    show(live(alice, bob));
    for (let i = 0; i < 5; i++) {
      show(live(alice));
      await pass(10_000);
      show(live(alice, bob));
      await pass(10_000);
      expect(announced()).toBe('');
    }
    show(live(alice));
    await pass(70_000);
    show(live(alice, bob));
    await pass(1100);
    expect(announced()).toBe('Bob is here now');
  });

  test('who left before the sentence is not in it', async () => {
    show(live(alice));
    show(live(alice, bob));
    await pass(500);
    show(live(alice));
    await pass(1000);
    expect(announced()).toBe('');
    await pass(1000);
    show(live(alice, bob));
    await pass(1100);
    expect(announced()).toBe('Bob is here now');
  });

  test('changes and departures are not announced', async () => {
    show(live(alice, bob));
    show(live({ ...alice, mode: 'edit' }));
    await pass(5000);
    expect(announced()).toBe('');
  });

  test('can be turned off', async () => {
    show(live(alice), { announce: false });
    show(live(alice, bob), { announce: false });
    await pass(5000);
    expect(announced()).toBe('');
  });
});

describe('away, and since when', () => {
  const NOON = new Date(2026, 10, 27, 12, 0).getTime();
  const away = { ...bob, away: true };
  const inBritain = { locale: 'en-GB' };
  const items = () => [...row.querySelectorAll('li')];

  beforeEach(() => {
    vi.setSystemTime(NOON);
  });

  test('is told in words and drawn with a shape, and the time where it was seen', async () => {
    show(live(alice, bob), inBritain);
    await pass(120_000);
    show(live(alice, away), inBritain);
    expect(labels()[1]).toBe('Bob, viewing, away since 12:02');
    expect(items().map((item) => item.hasAttribute('data-away'))).toEqual([false, true]);
    expect(items()[1].querySelector('.presence-moon path')).not.toBeNull();
    await pass(300_000);
    show(live(alice, { ...away, has_dirty_tab: true }), inBritain);
    expect(labels()[1]).toBe('Bob, viewing, unsaved changes, away since 12:02');
    show(live(alice, bob), inBritain);
    expect(labels()[1]).toBe('Bob, viewing');
    expect(items()[1].hasAttribute('data-away')).toBe(false);
    await pass(86_400_000);
    show(live(alice, away), inBritain);
    await pass(86_400_000);
    show(live(away), { ...inBritain, graceMs: 0 });
    expect(labels()).toEqual(['Bob, viewing, away since 28 Nov, 12:07']);
  });

  test('says no time that nobody here has seen', async () => {
    show(live(away));
    expect(labels()).toEqual(['Bob, viewing, away']);
    show(live(bob));
    show({ ...live(bob), fresh: false, status: 'retrying', staleSince: Date.now() });
    await pass(600_000);
    show(live(away));
    expect(labels()).toEqual(['Bob, viewing, away']);
  });

  test('the tooltip says for how long somebody has been here, and what is known about them', async () => {
    const since = new Date(NOON - 12.5 * 60_000).toISOString();
    show(live({ ...alice, since, about: { title: 'Head of Sales', team: '<b>EMEA' } }), inBritain);
    await pass(60_000);
    faces()[0].focus();
    expect(row.querySelector('.presence-tip-details').textContent).toBe(
      'Head of Sales · <b>EMEA · here for 13 minutes',
    );
    // What is read aloud may be read at any time.
    expect(faces()[0].getAttribute('aria-description')).toBe('Head of Sales · <b>EMEA · here since 11:47');
    faces()[0].blur();
    await pass(3_600_000);
    faces()[0].focus();
    expect(row.querySelector('.presence-tip-details').textContent).toMatch(/here for 1 hour$/);
    show(live({ ...alice, since: new Date(NOON - 30 * 86_400_000).toISOString() }), inBritain);
    expect(faces()[0].getAttribute('aria-description')).toBe('here since 28 Oct, 12:00');
  });
});

describe('pictures', () => {
  const picture = 'https://pictures.example/alice.png';
  const image = () => row.querySelector('img');

  test('are loaded lazily and say nothing of this page; the initials stay until one is there', () => {
    show(live({ ...alice, picture }, bob));
    const attributes = Object.fromEntries([...image().attributes].map(({ name, value }) => [name, value]));
    expect(attributes).toMatchObject({ src: picture, alt: '', loading: 'lazy', referrerpolicy: 'no-referrer' });
    expect(initials()).toEqual(['A', 'B']);
    expect(faces()[0].hasAttribute('data-pictured')).toBe(false);
    image().dispatchEvent(new Event('load'));
    expect(faces()[0].hasAttribute('data-pictured')).toBe(true);
    expect(labels()[0]).toBe('Alice, viewing');
  });

  test('one that can’t be loaded leaves the initials, and is not asked for again', () => {
    show(live({ ...alice, picture }));
    image().dispatchEvent(new Event('error'));
    show(live({ ...alice, picture, mode: 'edit' }));
    expect(image()).toBeNull();
    show(live({ ...alice, picture: `${picture}?2` }));
    expect(image().getAttribute('src')).toBe(`${picture}?2`);
    show(live(alice));
    expect(image()).toBeNull();
  });

  test('can be turned off', () => {
    show(live({ ...alice, picture }), { pictures: false });
    expect(image()).toBeNull();
  });
});

describe('agents', () => {
  const agent = (id, name, more) =>
    viewer(id, name, { agent: { for: { id: 1, name: 'Alice' } }, mode: 'edit', ...more });
  const summariser = agent('summariser', 'Summariser');
  const translator = agent('translator', 'Translator', { away: true });
  const checker = agent('checker', 'Checker');

  test('stand apart, in another shape, and are named with whom they work for', () => {
    show(live(summariser, alice, bob, cleo, dan));
    expect(labels()).toEqual([
      'Alice, viewing',
      'Bob, viewing',
      'Cleo, viewing',
      '1 more: Dan, viewing',
      'Summariser, for Alice, editing',
    ]);
    const shapes = [...row.querySelectorAll('li')].map((item) => item.matches('.presence-agent'));
    expect(shapes).toEqual([false, false, false, false, true]);
    expect(row.querySelectorAll('.presence-robot')).toHaveLength(1);
  });

  test('are counted apart', () => {
    show({ ...live(alice, summariser, translator, checker, bob, cleo, dan), total: 17 });
    expect(initials()).toEqual(['A', 'B', 'C', '+11', 'S', 'T', '+1']);
    expect(labels()[3]).toBe('11 more: Dan, viewing; 10 others');
    expect(labels().at(-1)).toBe('1 more agent: Checker, for Alice, editing');
    show(live(alice, summariser, translator, checker), { maxAgents: 5, graceMs: 0 });
    expect(initials()).toEqual(['A', 'S', 'T', 'C']);
  });

  test('with one name for two users are two, and none of them is a user of that name', () => {
    const other = { ...summariser, agent: { for: { id: 2, name: 'Bob' } } };
    show(live(summariser, other, viewer('summariser', 'Summariser')));
    expect(labels()).toEqual(['Summariser, viewing', 'Summariser, for Alice, editing', 'Summariser, for Bob, editing']);
  });

  test('are announced apart from people', async () => {
    const options = { locale: 'en' };
    show(live(), options);
    show(live(alice, bob, summariser, cleo, dan), options);
    await pass(1100);
    expect(announced()).toBe('Alice, Bob, and 2 others are here now. Summariser, for Alice is here now');
  });
});

describe('who was here', () => {
  const options = { wasHere: true, locale: 'en-GB', graceMs: 3000 };
  const gone = () =>
    [...row.querySelectorAll('[data-gone] .presence-face')].map(
      (face) => face.ariaLabel ?? face.getAttribute('aria-label'),
    );

  beforeEach(() => {
    vi.setSystemTime(new Date(2026, 10, 27, 12, 0));
  });

  test('is drawn for five minutes, behind those who are, and not counted', async () => {
    show(live(alice, bob, cleo), options);
    show(live(bob, cleo), options);
    expect(gone()).toEqual([]);
    await pass(3100);
    expect(labels()).toEqual(['Bob, viewing', 'Cleo, viewing', 'Alice, was here until 12:00']);
    show(live(bob, cleo, dan), options); // who is here comes first
    expect(gone()).toEqual([]);
    show(live(bob, cleo), { ...options, graceMs: 0 });
    expect(gone()).toEqual(['Dan, was here until 12:00']);
    await pass(290_000);
    expect(gone()).toEqual(['Dan, was here until 12:00']);
    await pass(10_000);
    expect(gone()).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('is here again when they are back', async () => {
    show(live(alice), options);
    show(live(), options);
    await pass(10_000);
    expect(gone()).toHaveLength(1);
    show(live(alice), options);
    expect(labels()).toEqual(['Alice, viewing']);
    expect(gone()).toEqual([]);
  });

  test('is not told unless it is asked for, nor where it may be longer ago', async () => {
    show(live(alice), { graceMs: 0 });
    show(live(), { graceMs: 0 });
    expect(labels()).toEqual([]);
    show(live(alice, bob), options);
    const staleSince = Date.now();
    show({ ...live(alice, bob), fresh: false, staleSince }, options);
    await pass(240_000);
    show(live(bob), { ...options, graceMs: 0 });
    expect(gone()).toEqual(['Alice, was here']); // until when, nobody here has seen
    await pass(61_000);
    expect(gone()).toEqual([]);
    show({ ...live(bob), fresh: false, staleSince: Date.now() }, options);
    await pass(301_000);
    show(live(), { ...options, graceMs: 0 });
    expect(gone()).toEqual([]);
  });

  test('is forgotten when the user leaves: the next one to sign in need not know', async () => {
    show(live(alice, bob), options);
    show(live(bob), options);
    await pass(5000);
    expect(gone()).toHaveLength(1);
    show({ ...live(bob), status: 'stopped', fresh: false, staleSince: Date.now() }, options);
    expect(gone()).toEqual([]);
    show({ ...live(bob), status: 'connecting', fresh: false, staleSince: Date.now() }, options);
    show(live(cleo), options);
    await pass(5000);
    expect(labels()).toEqual(['Cleo, viewing']);
    show(live(), options);
    await pass(5000);
    expect(gone()).toEqual(['Cleo, was here until 12:00']);
  });
});

test('an idle row has no timer', async () => {
  show(live(alice));
  show(live(alice, bob));
  show(live(bob));
  await pass(60_000);
  expect(vi.getTimerCount()).toBe(0);
});

test('clearing takes everything out', () => {
  show(live(alice));
  show(live(bob));
  clearAvatars(row);
  expect(row.outerHTML).toBe('<div class=""></div>');
  expect(vi.getTimerCount()).toBe(0);
});
