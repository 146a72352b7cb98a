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
