import { dressPage } from './chrome.js';

dressPage();
