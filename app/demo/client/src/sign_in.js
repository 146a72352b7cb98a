import { initPage } from './chrome.js';

initPage();
