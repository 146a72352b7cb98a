// A page for tests/e2e/test_changing_pages.py: `show({ later, mode, version })` changes it.
import { Activity, createElement as h, StrictMode, Suspense, use, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { PresenceAvatars, useRecordPresence } from '../../../app/static/presence/react.js';

const app = document.getElementById('app');
const { record, token } = app.dataset;

function Editor({ later, version }) {
  const [title, setTitle] = useState('Title');
  const unsaved = title === 'Title' ? [] : ['title'];
  const { state, claim } = useRecordPresence('flow', record, unsaved, { mode: 'edit', token });
  window.component = { claim };
  if (later) use(later);
  return h(
    'form',
    { id: 'editor' },
    h(PresenceAvatars, { state }),
    h('input', { name: 'title', value: title, onChange: ({ target }) => setTitle(target.value) }),
    h('p', { id: 'note' }, `Version ${version}`),
  );
}

function App() {
  const [{ later, mode, version }, setState] = useState({ mode: 'visible', version: 1 });
  window.show = (part) => setState((state) => ({ ...state, ...part }));
  return h(Activity, { mode }, h(Suspense, { fallback: 'Later' }, h(Editor, { later, version })));
}

createRoot(app).render(h(StrictMode, null, h(App)));
