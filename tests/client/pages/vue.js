// A page for tests/e2e/test_changing_pages.py: `show({ mode, version })` changes it.
import { createApp, h, KeepAlive, reactive, ref } from 'vue';
import { PresenceAvatars, useRecordPresence } from '../../../app/static/presence/vue.js';

const app = document.getElementById('app');
const { record, token } = app.dataset;
const shown = reactive({ mode: 'visible', version: 1 });
window.show = (part) => Object.assign(shown, part);

const Editor = {
  setup() {
    const title = ref('Title');
    const unsaved = () => (title.value === 'Title' ? [] : ['title']);
    const { state, claim } = useRecordPresence('flow', record, unsaved, { mode: 'edit', token });
    window.component = { claim };
    const onInput = ({ target }) => {
      title.value = target.value;
    };
    return () =>
      h('form', { id: 'editor' }, [
        h(PresenceAvatars, { state: state.value, class: `of-version-${shown.version}` }),
        h('input', { name: 'title', value: title.value, onInput }),
        h('p', { id: 'note' }, `Version ${shown.version}`),
      ]);
  },
};

createApp(() => h(KeepAlive, () => (shown.mode === 'visible' ? h(Editor) : h('p')))).mount(app);
