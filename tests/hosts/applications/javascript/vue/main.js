import { createApp } from 'vue';
import OrderEditor from './OrderEditor.vue';

const id = new URLSearchParams(location.search).get('id');
createApp(OrderEditor, { id, saved: { title: 'Spring sale', note: 'Call first' } }).mount('#editor');
