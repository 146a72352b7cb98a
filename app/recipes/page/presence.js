// For a page with <div id="presence" data-type="order" data-id="7" data-form="order_form"></div>
import { renderAvatars } from 'https://presence.example.com/static/presence/avatars.js';
import { trackDirty } from 'https://presence.example.com/static/presence/dirty.js';
import { createPresence } from 'https://presence.example.com/static/presence/presence.js';

const who = document.getElementById('presence');
const { type, id, form } = who.dataset;

async function token() {
  const response = await fetch('/presence-token');
  if (response.status >= 500) throw new Error(`/presence-token: ${response.status}`); // asked again soon
  return response.text(); // a sign-in page is no token, and counts as signed out
}

const base = 'https://presence.example.com/api/v1/presence';
const presence = createPresence({ base, token, type, id, mode: 'edit' });
presence.subscribe(() => renderAvatars(who, presence.getSnapshot()));
trackDirty(document.getElementById(form), {
  onChange: ({ fields }) => presence.setDirty(fields),
  onFocus: presence.setActiveField,
});
