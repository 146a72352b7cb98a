import { PresenceAvatars } from 'record-presence/react';
import { OrderEditor } from './OrderEditor.jsx';

const nothingKnown = { viewers: null, unseen: false };

/** Rendered on the server, which may import the client's components as well. */
export default async function Page({ params }) {
  const { id } = await params;
  return (
    <>
      <PresenceAvatars state={nothingKnown} />
      <OrderEditor id={id} saved={{ title: 'Spring sale', note: 'Call first' }} />
    </>
  );
}
