// Compiled by `npm run types`, never run: the declarations as a host meets them.

import { renderAvatars } from '../../../app/static/presence/avatars.js';
import { theBrowser } from '../../../app/static/presence/browser.js';
import { trackDirty } from '../../../app/static/presence/dirty.js';
import { createPresence, type PresenceState } from '../../../app/static/presence/presence.js';
import '../../../app/static/presence/element.js';
import '../../../app/static/presence/record-conflict.js';
import alpine from '../../../app/static/presence/alpine.js';
import { mergedValue, mergeRecords } from '../../../app/static/presence/merge.js';
import { PresenceAvatars, RecordConflict, useRecordPresence } from '../../../app/static/presence/react.js';
import { watch } from '../../../app/static/presence/stream.js';
import { createFakeService, until } from '../../../app/static/presence/testing.js';
import * as vue from '../../../app/static/presence/vue.js';
import { createAwayTimes, whoIsIn, whoIsTyping } from '../../../app/static/presence/who.js';

const presence = createPresence({ type: 'flow', id: 12, token: async () => 'jwt', browser: { fetch } });
presence.subscribe((state: PresenceState) => renderAvatars(document.body, state, { max: 5 }));
presence.on('change', ({ joined }) => joined[0]?.name.toUpperCase());
presence.on('unauthorized', (error) => error.status === 401 && presence.resume());
const element = document.querySelector('record-presence');
element?.presence?.setMode('view');
if (element) element.getToken = async () => 'jwt';
const form = document.createElement('form');
trackDirty(form, { loaded: { title: 'Old', tags: ['a'] }, isFilled: ({ id }) => id === 'title' }).stop();
trackDirty(form, { onChange: ({ dirty }) => presence.setDirty(dirty) }).rebase();
const { viewers, tabId, state } = useRecordPresence('flow', 'a-b', true, { mode: 'edit' });
PresenceAvatars({ state, max: 3 });
alpine({});
presence.stop().then(() => tabId?.length);

presence.on('signal', ({ kind, data, user }) => kind === 'cursor' && data?.x > 0.5 && user.name.length);
presence.signal('typing', { field: 'title' });
whoIsIn(viewers, 'title').map(({ name }) => name);
whoIsTyping(state.typing, 'title').map(({ name }) => name);
watch({ records: ['flow:1'], onList: (record, { total }) => record.length + total }).close();

createPresence({ type: 'flow', id: 12, token: { current: null } })
  .getSnapshot()
  .unseen.valueOf();
useRecordPresence('flow', 12, false, { token: null });
useRecordPresence('flow', 12, false, { token: { url: '/presence-token' } });
createPresence({ type: 'flow', id: 12, token: { url: '/presence-token' } });
const lists = watch({
  records: ['flow:1'],
  onList() {},
  onRefused: ({ records }) => records?.length,
  onUnsupported() {},
});
lists.resume();

presence.setDirty(['title']);
presence.setBaseVersion(7);
presence.claim('title', { takeOver: true }).then(({ claimed, claim }) => claimed || claim?.user.name);
presence.claim('*', { wait: true }).then(({ place, claim }) => place?.toFixed() ?? claim?.field);
presence.decline('title').then((count) => count.toFixed());
presence.on('asked', ({ field, waiting, claim }) => waiting.user.name + field + claim.waiting?.length);
presence.on('passed', ({ isMine, claim }) => isMine || claim.passed_from?.name);
presence.announceSaved(8, ['title']).then(() => presence.release('title'));
const { forecast, claims, saved } = useRecordPresence('flow', 12, ['title'], { baseVersion: 7 });
forecast?.saves.map(({ own, user, touches }) => own || user.name + touches.join());
saved?.at(-1)?.lock_version.toFixed();
claims?.title?.taken_from?.name;

// With exactOptionalPropertyTypes: an option that a host hasn't set is as good as one that it leaves out.
declare const notSet: undefined;
createPresence({
  type: 'flow',
  id: 12,
  base: notSet,
  mode: notSet,
  dirty: notSet,
  baseVersion: notSet,
  activeField: notSet,
  token: notSet,
  csrfToken: notSet,
  credentials: notSet,
  autoStart: notSet,
  stream: notSet,
  share: notSet,
  shareKey: notSet,
  browser: notSet,
  transport: notSet,
  awayAfterMs: notSet,
});
const unsetHandlers = { onChange: notSet, onUnauthorized: notSet, onError: notSet, onSignal: notSet, onAsked: notSet };
useRecordPresence('flow', null, notSet, { token: notSet, baseVersion: notSet, ...unsetHandlers });
vue.useRecordPresence('flow', null, notSet, { token: notSet, baseVersion: notSet, ...unsetHandlers });
const unsetMore = { maxAgents: notSet, wasHere: notSet, pictures: notSet };
const unsetAvatars = {
  ...unsetMore,
  max: notSet,
  graceMs: notSet,
  announce: notSet,
  locale: notSet,
  fieldLabel: notSet,
};
renderAvatars(document.body, state, { ...unsetAvatars, labels: notSet });
PresenceAvatars({ state, ...unsetAvatars });
trackDirty('editor', {
  onChange: notSet,
  onFocus: notSet,
  onForm: notSet,
  ignore: notSet,
  loaded: notSet,
  isFilled: notSet,
  root: notSet,
}).form()?.elements;
watch({ records: [], onList() {}, onLost: notSet, onRefused: notSet, token: notSet, share: notSet, browser: notSet });
createPresence({ type: 'flow', id: 12, browser: { ...theBrowser(), locks: notSet, openChannel: notSet } });
createFakeService({ base: notSet, me: notSet, streams: notSet });

document.addEventListener('presence:asked', ({ detail }) => detail.waiting.field);
document.addEventListener('presence:unauthorized', ({ detail }) => detail.status === 401);
document.querySelector('record-presence')?.addEventListener('presence:state', ({ detail }) => detail.viewers?.length);
const inVue = vue.useRecordPresence(
  () => 'flow',
  12,
  ['title'],
  () => ({ mode: 'edit' as const, token: null }),
);
inVue.viewers.value?.map(({ name }) => name);
inVue.claim('title').then(({ claimed }) => claimed || inVue.state.value.fresh);
const service = createFakeService({ me: { id: 1, name: 'Me' } });
const bob = service.join('flow:12', { id: 2, name: 'Bob' }, { mode: 'edit' });
bob.edit('title', 'steps');
service
  .join('flow:12', { id: 's', name: 'S', agent: { for: { id: 1, name: 'Me' } }, about: { title: 'Agent' } })
  .look(false);
viewers?.map(createAwayTimes()(state)).map((since) => since?.toFixed());
renderAvatars(document.body, state, {
  pictures: false,
  wasHere: true,
  labels: { away: (time) => time ?? 'weg', agent: (name, user) => name + user },
});
until(createPresence({ type: 'flow', id: 12, browser: service.browser }), ({ viewers: seen }) => !!seen?.length).then(
  ({ total }) => total?.toFixed(),
);
service.tabs('flow:12')[0]?.dirty_fields.join();
service.install()();

const conflict = document.querySelector('record-conflict');
conflict?.show({ base: { a: 1 }, theirs: { a: 2 }, lockVersion: 8, saves: forecast?.saves, labels: { you: 'Du' } });
document.addEventListener('conflict:resolved', ({ detail }) => detail.became.title === 'mixed' && detail.values.a);
document.addEventListener('conflict:collisions', ({ detail }) => detail.fields.join());
RecordConflict({
  base: {},
  mine: {},
  theirs: null,
  saves: notSet,
  onResolve: ({ values }) => values.a,
  fields: notSet,
});
vue.RecordConflict.name?.length;
mergeRecords({ a: 1 }, { a: 2 }, { a: 3 }, { whole: ['a'] }).map((field) => mergedValue(field, ['both']));

// @ts-expect-error: a conflict has another version
conflict?.show({ base: {} });
// @ts-expect-error: not known is not nothing
forecast.collisions;
// @ts-expect-error: no such kind
presence.signal('singing');
// @ts-expect-error: not known is not nobody
viewers.length;
// @ts-expect-error: a record has a type
createPresence({ id: 12 });
// @ts-expect-error: no such mode
presence.setMode('admire');
// @ts-expect-error: no such event
presence.on('arrival', () => {});
