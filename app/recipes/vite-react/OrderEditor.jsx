import { useState } from 'react';
import { PresenceAvatars, useRecordPresence } from 'record-presence/react';
import 'record-presence/avatars.css';
import { service } from './presence.js';

export function OrderEditor({ id, saved }) {
  const [order, setOrder] = useState(saved);
  const unsaved = Object.keys(saved).filter((name) => order[name] !== saved[name]);
  const { state } = useRecordPresence('order', id, unsaved, { ...service, mode: 'edit' });
  const change = ({ target }) => setOrder({ ...order, [target.name]: target.value });
  return (
    <form>
      <PresenceAvatars state={state} />
      <input name="title" value={order.title} onChange={change} />
      <textarea name="note" value={order.note} onChange={change} />
    </form>
  );
}
