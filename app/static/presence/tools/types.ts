// Compiled by `npm run types`, never run: the declarations as a host meets them.
import { createPresence, type PresenceState } from '../presence.js';
import { renderAvatars } from '../avatars.js';
import { trackDirty } from '../dirty.js';
import '../element.js';
import { PresenceAvatars, useRecordPresence } from '../react.js';
import { watch } from '../stream.js';
import { whoIsIn, whoIsTyping } from '../who.js';
import alpine from '../alpine.js';

const presence = createPresence({ type: 'flow', id: 12, token: async () => 'jwt', browser: { fetch } });
presence.subscribe((state: PresenceState) => renderAvatars(document.body, state, { max: 5 }));
presence.on('change', ({ joined }) => joined[0]?.name.toUpperCase());
presence.on('unauthorized', (error) => error.status === 401 && presence.resume());
document.querySelector('record-presence')?.presence?.setMode('view');
trackDirty(document.forms[0]!, { loaded: { title: 'Old', tags: ['a'] }, isFilled: ({ id }) => id === 'title' }).stop();
trackDirty(document.forms[0]!, { onChange: ({ dirty }) => presence.setDirty(dirty) }).rebase();
const { viewers, tabId, state } = useRecordPresence('flow', 'a-b', true, { mode: 'edit' });
PresenceAvatars({ state, max: 3 });
alpine({});
presence.stop().then(() => tabId?.length);

presence.on('signal', ({ kind, data, user }) => kind === 'cursor' && data?.x > 0.5 && user.name.length);
presence.signal('typing', { field: 'title' });
whoIsIn(viewers, 'title').map(({ name }) => name);
whoIsTyping(state.typing, 'title').map(({ name }) => name);
watch({ records: ['flow:1'], onList: (record, { total }) => record.length + total }).close();

presence.setDirty(['title']);
presence.setBaseVersion(7);
presence.claim('title', { takeOver: true }).then(({ claimed, claim }) => claimed || claim?.user.name);
presence.announceSaved(8, ['title']).then(() => presence.release('title'));
const { forecast, claims, saved } = useRecordPresence('flow', 12, ['title'], { baseVersion: 7 });
forecast?.saves.map(({ own, user, touches }) => own || user.name + touches.join());
saved?.at(-1)?.lock_version.toFixed();
claims?.title?.taken_from?.name;

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
