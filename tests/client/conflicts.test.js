import { describe, expect, test } from 'vitest';
import 'presence/afterAnswer.js'; // so that the late imports are there at once
import 'presence/presenceStream.js';
import { alice, bob, failure, page, pass, settle } from './fakes.js';
import { openPresence, service, streams, useService } from './harness.js';

useService();

async function start(options) {
  const presence = openPresence({ baseVersion: 7, ...options, browser: { locks: undefined } });
  await pass(1000);
  return presence;
}

/** With a stream; `told` is what its snapshot has besides the viewers. */
async function startLive(options, ...viewers) {
  service.streams = streams;
  service.show(...viewers);
  const presence = await start(options);
  await streams.last.write('retry: 1000\n\n');
  await streams.last.snapshot('flow:12', '1', ...viewers);
  await pass(1000);
  return presence;
}

let version = 1;
const stream = (kind, more) => streams.last.send(kind, 'flow:12', { version: `${++version}`, ...more });
const tellSaved = (...save) => stream('saved', service.tell(...save));
const sendList = (kind, version, claims) =>
  stream(kind, { version, claims, ...(kind === 'snapshot' && { viewers: [bob], total: 1, saved: [] }) });
const bobsClaim = { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: '' };
const see = (presence) => presence.getSnapshot();

describe('a forecast', () => {
  test('comes with the first answer, which is all that an idle tab asks', async () => {
    service.tell(8, ['title']);
    const presence = await start({ dirty: ['title', 'steps'] });
    expect(service.last.body).toMatchObject({
      dirty: true,
      dirty_fields: ['title', 'steps'],
      base_version: 7,
      version: null,
    });
    expect(see(presence).forecast).toMatchObject({ collisions: ['title'], saves: [{ lock_version: 8, own: false }] });
    await pass(25_000);
    expect(service.beats).toHaveLength(1);
  });

  test('is none where no version is named, and known to be empty where one is', async () => {
    expect(see(await start({ baseVersion: undefined })).forecast).toBeNull();
    expect(see(await start()).forecast).toMatchObject({ saves: [], collisions: [], contested: {} });
  });

  test('is asked for once when another tab saved', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    const { length } = service.beats;
    await tellSaved(8, ['title', 'steps']);
    await pass(600);
    expect(see(presence).forecast.collisions).toEqual(['title']);
    expect(service.last.body.version).toBeNull();
    await pass(20_000);
    expect(service.beats).toHaveLength(length + 1);
    await pass(15_000);
    expect(service.last.body).not.toHaveProperty('version');
  });

  test('is asked for once when someone else gets unsaved changes in my field, and when they are gone', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    const { length } = service.beats;
    const holding = { ...bob, has_dirty_tab: true, dirty_fields: ['steps', 'title'] };
    service.show(holding);
    await stream('update', { viewer: holding, total: 1 });
    await pass(1000);
    expect(see(presence).forecast.contested).toEqual({ title: [{ id: 2, name: 'Bob' }] });
    service.show(bob);
    await stream('update', { viewer: bob, total: 1 });
    await pass(1000);
    expect(see(presence).forecast.contested).toEqual({});
    expect(service.beats).toHaveLength(length + 2);
  });

  test('is not asked for by what does not concern me', async () => {
    await startLive({ dirty: ['title'] }, bob);
    const { length } = service.beats;
    await stream('update', { viewer: { ...bob, has_dirty_tab: true, dirty_fields: ['steps'] }, total: 1 });
    await stream('join', { viewer: alice, total: 2 });
    await stream('claims', { claims: {} });
    await pass(5000);
    expect(service.beats).toHaveLength(length);
  });

  test('is asked for with the beat that tells of a new unsaved field, where others have it', async () => {
    const holding = { ...bob, has_dirty_tab: true, dirty_fields: ['title'] };
    const presence = await startLive({}, holding);
    const { length } = service.beats;
    presence.setDirty(['title']);
    await pass(1000);
    expect(service.last.body).toMatchObject({ dirty_fields: ['title'], version: null });
    expect(see(presence).forecast.contested).toHaveProperty('title');
    presence.setDirty(['title', 'steps']);
    await pass(1000);
    expect(service.last.body).not.toHaveProperty('version');
    expect(service.beats).toHaveLength(length + 2);
  });

  test('is asked for with each beat that tells of other unsaved fields, while I have another tab here', async () => {
    service.ownTabs = 1;
    const presence = await startLive({}, bob);
    const { length } = service.beats;
    presence.setDirty(['title']);
    await pass(1000);
    expect(service.last.body).toMatchObject({ dirty_fields: ['title'], version: null });
    await pass(20_000);
    expect(service.beats).toHaveLength(length + 1);
  });

  test('of ten saves at once is one beat', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    const { length } = service.beats;
    for (let i = 8; i < 18; i++) await tellSaved(i, ['title']);
    await pass(5000);
    expect(service.beats.length).toBeLessThanOrEqual(length + 2);
    expect(see(presence).forecast.saves).toHaveLength(10);
  });

  test('that could not be had is asked for again', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    service.failing = ({ url }) => url.endsWith('/heartbeat') && failure(503);
    await tellSaved(8, ['title']);
    await pass(600);
    expect(see(presence).forecast.collisions).toEqual([]);
    service.failing = null;
    await pass(5000);
    expect(see(presence).forecast.collisions).toEqual(['title']);
  });

  test('that says something else than the stream is asked for once, not for ever', async () => {
    await startLive({ dirty: ['title'] }, bob);
    const { length } = service.beats;
    await stream('saved', { lock_version: 8, fields: ['title'], user: bob, tab_id: 'b', saved_at: '' }); // the service knows of none
    await pass(20_000);
    expect(service.beats).toHaveLength(length + 1);
  });

  test('of an older version is not known any more', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    await tellSaved(8, ['title']);
    await pass(600);
    const release = service.hold();
    presence.setBaseVersion(8);
    expect(see(presence).forecast).toBeNull();
    await release();
    await pass(1000);
    expect(see(presence).forecast).toMatchObject({ base_version: 8, saves: [], collisions: [] });
  });

  test('comes by polling as well', async () => {
    const presence = await start({ stream: false, dirty: ['title'] });
    service.tell(8, ['title']);
    await pass(35_000);
    expect(see(presence).forecast.collisions).toEqual(['title']);
    expect(see(presence).saved).toMatchObject([{ lock_version: 8 }]);
    expect(service.beats.length).toBeLessThanOrEqual(3);
  });

  test('stays the same object while it says the same', async () => {
    const presence = await start({ stream: false });
    const { forecast, saved, claims } = see(presence);
    service.show(alice);
    await pass(35_000);
    expect(see(presence).viewers).toEqual([alice]);
    expect(see(presence).forecast).toBe(forecast);
    expect(see(presence)).toMatchObject({ saved, claims });
    expect(Object.isFrozen(forecast.contested)).toBe(true);
  });
});

describe('saves', () => {
  test('are not known before the first answer, and then perhaps none', async () => {
    const release = service.hold();
    const presence = await start();
    expect(see(presence)).toMatchObject({ saved: null, claims: null, forecast: null });
    await release();
    expect(see(presence)).toMatchObject({ saved: [], claims: {} });
  });

  test('of this tab are nobody else’s, also after the back/forward cache', async () => {
    const presence = await startLive({}, bob);
    const { length } = service.beats;
    await tellSaved(8, ['title'], { tab_id: see(presence).tabId });
    await pass(2000);
    expect(see(presence).saved).toEqual([]);
    expect(service.beats).toHaveLength(length);
    page.leave(true);
    page.comeBack();
    await pass(2000);
    expect(see(presence).saved).toEqual([]);
  });

  test('of another tab of the same person are marked as one’s own', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    await tellSaved(8, ['title'], { user: { id: 9, name: 'Me' }, tab_id: 'mine-too' });
    await pass(1000);
    expect(see(presence).forecast.saves).toMatchObject([{ own: true, touches: ['title'] }]);
  });

  test('are announced, and are what is loaded from then on', async () => {
    const presence = await startLive({ dirty: ['title'] }, bob);
    await presence.announceSaved(8, ['title']);
    const call = service.calls.findLast(({ url }) => url.endsWith('/saved'));
    expect(call).toMatchObject({
      method: 'POST',
      body: { tab_id: see(presence).tabId, lock_version: 8, fields: ['title'] },
    });
    await pass(1000);
    expect(service.last.body.base_version).toBe(8);
  });

  test('that can’t be announced reject', async () => {
    const presence = await start();
    service.failing = () => failure(503);
    await expect(presence.announceSaved(8, ['title'])).rejects.toMatchObject({ kind: 'unavailable' });
  });

  test('that could not be announced are when a beat is answered again, as they were, and once', async () => {
    const presence = await startLive({}, bob);
    const { tabId } = see(presence);
    const told = () => service.calls.filter(({ url }) => url.endsWith('/saved'));
    service.failing = () => failure(503);
    presence.announceSaved(8, ['title']).catch(() => {});
    await pass(40_000);
    presence.announceSaved(9, ['steps']).catch(() => {});
    await settle();
    expect(told()).toHaveLength(2);

    service.failing = ({ url, body }) =>
      url.endsWith('/saved') && body.lock_version === 8 && told().length === 3 ? failure(503) : null;
    await pass(31_000);
    service.failing = null;
    await pass(120_000);
    const save = (lockVersion, fields) => ({ tab_id: tabId, lock_version: lockVersion, fields });
    const [first, second] = [save(8, ['title']), save(9, ['steps'])];
    expect(told().map(({ body }) => body)).toEqual([first, second, first, second, first]);
  });

  test.each([[422], [409]])('that are refused with %d are not told again', async (status) => {
    const presence = await startLive({}, bob);
    service.failing = ({ url }) => (url.endsWith('/saved') ? failure(status) : null);
    presence.announceSaved(8, ['title']).catch(() => {});
    await pass(120_000);
    expect(service.calls.filter(({ url }) => url.endsWith('/saved'))).toHaveLength(1);
  });
});

describe('a claim', () => {
  test('is known at once to who made it', async () => {
    const presence = await startLive({}, bob);
    const answer = presence.claim('title');
    await settle();
    expect(await answer).toMatchObject({ claimed: true });
    expect(see(presence).claims.title.tab_id).toBe(see(presence).tabId);
    await presence.release('title');
    expect(see(presence).claims).toEqual({});
    expect(service.claims).toEqual({});
  });

  test('on a field that is called like what every object has is no claim before it is made', async () => {
    const presence = await startLive({}, bob);
    await presence.release('constructor');
    expect(see(presence).claims).toEqual({});
    await presence.claim('__proto__');
    expect(Object.keys(see(presence).claims)).toEqual(['__proto__']);
  });

  test('of another tab is told, and only taken on purpose', async () => {
    service.claims.title = { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: '' };
    const presence = await start({ stream: false });
    expect(see(presence).claims.title.user.name).toBe('Bob');
    expect(await presence.claim('title')).toMatchObject({ claimed: false, claim: { tab_id: 'b' } });
    expect(await presence.claim('title', { takeOver: true })).toMatchObject({ claimed: true });
    expect(see(presence).claims.title.tab_id).toBe(see(presence).tabId);
  });

  test('that was taken over before its answer came is not mine again', async () => {
    const presence = await startLive({}, bob);
    const release = service.hold();
    const answer = presence.claim('title');
    const taken = { title: { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: '' } };
    await stream('claims', { claims: taken });
    await release();
    await answer;
    expect(see(presence).claims).toEqual(taken);
  });

  test.each(['snapshot', 'claims'])('is shown at once though a %s of before it comes meanwhile', async (kind) => {
    const presence = await startLive({}, bob);
    service.claimsVersion = '1000000-mine';
    const release = service.hold();
    const answer = presence.claim('title');
    await sendList(kind, '999000-before', { body: bobsClaim });
    await release();
    await answer;
    expect(see(presence).claims.title.tab_id).toBe(see(presence).tabId);
    expect(see(presence).claims.body).toEqual(bobsClaim);
  });

  test.each(['snapshot', 'claims'])('stays though a %s of before it comes late', async (kind) => {
    const presence = await startLive({}, bob);
    service.claimsVersion = '1000000-mine';
    const shown = [];
    presence.subscribe(({ claims }) => shown.push(JSON.stringify(claims)));
    await presence.claim('title');
    const { claims } = see(presence);
    const bobs = { body: bobsClaim };
    await sendList(kind, '999000-before', {});
    expect(see(presence).claims).toBe(claims);
    await sendList(kind, '999900-before', bobs);
    expect(see(presence).claims).toEqual({ ...bobs, ...claims });
    await sendList(kind, '1000000-mine', { ...bobs, ...claims });
    expect(shown.filter((text) => !text.includes('title'))).toEqual([]);
    await sendList(kind, '1000001-lost', bobs);
    expect(see(presence).claims).toEqual(bobs);
  });

  test('that was released does not come back by a list of before', async () => {
    const presence = await startLive({}, bob);
    service.claimsVersion = '1000000-mine';
    await presence.claim('title');
    const { claims } = see(presence);
    await stream('claims', { claims, version: '1000000-mine' });
    service.claimsVersion = '1000100-nobodys';
    await presence.release('title');
    await stream('claims', { claims, version: '1000000-mine' });
    expect(see(presence).claims).toEqual({});
  });

  test('that a failover has lost is not shown for ever, though the record is an older one', async () => {
    const presence = await startLive({}, bob);
    service.claimsVersion = '1000000-mine';
    await presence.claim('title');
    await pass(11_000);
    await stream('claims', { claims: {}, version: '999000-replica' });
    expect(see(presence).claims).toEqual({});
  });

  test('that the stream tells of replaces all that was known', async () => {
    const presence = await startLive({}, bob);
    await presence.claim('title');
    const taken = {
      title: { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: '', taken_from: { id: 9, name: 'Me' } },
    };
    await stream('claims', { claims: taken });
    expect(see(presence).claims).toEqual(taken);
    await stream('claims', { claims: {} });
    expect(see(presence).claims).toEqual({});
  });

  test('in the stream’s snapshot is known too', async () => {
    service.streams = streams;
    const presence = await start();
    await streams.last.write('retry: 1000\n\n');
    const claims = { title: { user: { id: 2, name: 'Bob' }, tab_id: 'b', since: '' } };
    await streams.last.send('snapshot', 'flow:12', { viewers: [], total: 0, version: '1', claims, saved: [] });
    expect(see(presence).claims).toEqual(claims);
  });
});

describe('a field that somebody waits for', () => {
  const me = { id: 9, name: 'Me' };
  const bobs = { id: 2, name: 'Bob' };
  const claimOf = (user, tab, more) => ({ user, tab_id: tab, since: 's', ...more });
  const waitingBob = { user: bobs, tab_id: 'b', since: 't' };

  /** With what the events told since. */
  async function startTold() {
    const presence = await startLive({ mode: 'edit' }, bob);
    const told = [];
    presence.on('asked', ({ field, waiting }) => told.push(['asked', field, waiting.user.name]));
    presence.on('passed', ({ field, claim, isMine }) => told.push(['passed', field, claim.user.name, isMine]));
    return { presence, told, tab: see(presence).tabId };
  }

  test('is told once to who has it, and not to others', async () => {
    const { told, tab } = await startTold();
    const title = claimOf(me, tab, { waiting: [waitingBob] });
    await stream('claims', {
      claims: { title, body: claimOf(bobs, 'b', { waiting: [{ ...waitingBob, tab_id: 'c' }] }) },
    });
    expect(told).toEqual([['asked', 'title', 'Bob']]);
    await stream('claims', { claims: { title } });
    await stream('claims', { claims: { title: { ...title, waiting: [waitingBob, { ...waitingBob, tab_id: 'b2' }] } } });
    expect(told).toHaveLength(2);
  });

  test('is passed on to this tab, which is told, also of who waits next', async () => {
    const { told, tab } = await startTold();
    const mine = { user: me, tab_id: tab, since: 't' };
    await stream('claims', {
      claims: { title: claimOf(bobs, 'b', { waiting: [mine, { ...waitingBob, tab_id: 'b2' }] }) },
    });
    const passed = claimOf(me, tab, { passed_from: bobs, waiting: [{ ...waitingBob, tab_id: 'b2' }] });
    await stream('claims', { claims: { title: passed } });
    await stream('claims', { claims: { title: passed, body: claimOf(bobs, 'b') } });
    expect(told).toEqual([
      ['passed', 'title', 'Me', true],
      ['asked', 'title', 'Bob'],
    ]);
  });

  test.each(['before', 'after'])('is passed on by a release, answered %s the list', async (order) => {
    const { presence, told, tab } = await startTold();
    await stream('claims', { claims: { title: claimOf(me, tab, { waiting: [waitingBob] }) } });
    const open = order === 'after' && service.hold();
    const answer = presence.release('title');
    if (order === 'before') await answer;
    const claims = { title: claimOf(bobs, 'b', { since: 'u', passed_from: me }) };
    await stream('claims', { claims });
    if (open) await open();
    await answer;
    expect(told.slice(1)).toEqual([['passed', 'title', 'Bob', false]]);
    expect(see(presence).claims).toEqual(claims);
    await stream('claims', { claims: { title: claimOf(bobs, 'c', { since: 'v', passed_from: bobs }) } });
    expect(told).toHaveLength(2);
  });

  test('and that was part of the whole record is told too', async () => {
    const { told, tab } = await startTold();
    await stream('claims', { claims: { '*': claimOf(me, tab) } });
    await stream('claims', {
      claims: { title: claimOf(bobs, 'b', { passed_from: me }), body: claimOf(bobs, 'c', { passed_from: me }) },
    });
    expect(told).toEqual([
      ['passed', 'title', 'Bob', false],
      ['passed', 'body', 'Bob', false],
    ]);
  });

  test('and is taken over, or passed between others, is no hand-over of mine', async () => {
    const { told, tab } = await startTold();
    await stream('claims', { claims: { title: claimOf(me, tab), body: claimOf(bobs, 'b') } });
    const passed = claimOf({ id: 3, name: 'Carol' }, 'c', { passed_from: bobs });
    await stream('claims', { claims: { title: claimOf(bobs, 'b', { taken_from: me }), body: passed } });
    expect(told).toEqual([]);
  });

  test('is waited for, and no longer; what was known of the queue stays', async () => {
    const { presence, tab } = await startTold();
    const passes_at = '2026-11-28T14:02:11.000+00:00';
    service.claims.title = claimOf(bobs, 'b', { waiting: [waitingBob], passes_at });
    await stream('claims', { claims: service.claims });
    delete service.claims.title.passes_at; // an answer has none
    service.claimsVersion = '1000000-asked';
    expect(await presence.claim('title', { wait: true })).toMatchObject({ claimed: false, place: 1 });
    expect(service.calls.at(-1).body).toMatchObject({ field: 'title', wait: true });
    expect(see(presence).claims.title).toMatchObject({ waiting: [waitingBob], passes_at });
    const waiting = [waitingBob, { user: me, tab_id: tab, since: 't' }];
    const asked = { title: claimOf(bobs, 'b', { waiting, passes_at }) };
    await stream('claims', { claims: asked, version: '1000000-asked' });
    service.claimsVersion = '1000001-not';
    await presence.release('title');
    expect(see(presence).claims).toEqual({ title: claimOf(bobs, 'b', { waiting: [waitingBob], passes_at }) });
  });

  test('is kept by who has it: those who wait are sent away', async () => {
    const { presence, tab } = await startTold();
    await stream('claims', { claims: { title: claimOf(me, tab, { waiting: [waitingBob], passes_at: 't' }) } });
    service.claimsVersion = '1000000-not-yet';
    expect(await presence.decline('title')).toBe(1);
    expect(see(presence).claims).toEqual({ title: claimOf(me, tab) });
  });

  test('is asked for without a stream: the list follows at once', async () => {
    service.claims.title = claimOf(bobs, 'b');
    const presence = await start({ stream: false, mode: 'edit' });
    const { tabId } = see(presence);
    const answer = presence.claim('title', { wait: true });
    service.claims.title = claimOf(bobs, 'b', { waiting: [{ user: me, tab_id: tabId, since: 't' }] });
    service.show(bob);
    await answer;
    await pass(600);
    expect(see(presence).claims.title.waiting[0].tab_id).toBe(tabId);
  });
});

test('a claim that is in the way is shown on its own field', async () => {
  const presence = await startLive({}, bob);
  service.claims.title = { ...bobsClaim, field: '*' };
  await presence.claim('title');
  expect(see(presence).claims).toEqual({ '*': bobsClaim });
});

test('names that the service does not take are left out, and a hundred are enough', async () => {
  const presence = await start({ dirty: ['a\u0000b'] });
  expect(service.last.body).toMatchObject({ dirty: true, dirty_fields: [] });
  presence.setDirty(Array.from({ length: 150 }, (_, i) => `field ${i}`));
  await pass(1000);
  expect(service.last.body.dirty_fields).toHaveLength(100);
  presence.setDirty(false);
  await pass(1000);
  expect(service.last.body.dirty).toBe(false);
  expect(service.last.body.dirty_fields ?? []).toEqual([]);
});
