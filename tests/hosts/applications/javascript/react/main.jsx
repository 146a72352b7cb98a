import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { OrderEditor } from './OrderEditor.jsx';

const id = new URLSearchParams(location.search).get('id');
createRoot(document.getElementById('editor')).render(
  <StrictMode>
    <OrderEditor id={id} saved={{ title: 'Spring sale', note: 'Call first' }} />
  </StrictMode>,
);
