// What every page has: faces, the menu, times, and second windows.

import { colorOf, initialsOf } from '../../../static/presence/initials.js';

const UNITS = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['week', 604_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];
const AGO = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? [];
  return unit ? AGO.format(-Math.floor(seconds / size), unit) : 'just now';
}

/** A set of custom properties, for Alpine's and React's style: the policy allows no style attribute. */
export const colorsOf = (id) => ({ '--person': colorOf(id) });

function drawFaces() {
  for (const face of document.querySelectorAll('[data-face]')) {
    face.textContent = initialsOf(face.dataset.name);
    face.style.setProperty('--person', colorOf(Number(face.dataset.face)));
  }
}

function drawTimes() {
  for (const time of document.querySelectorAll('[data-ago]')) {
    time.title = new Date(time.dateTime).toLocaleString('en-GB', { dateStyle: 'full', timeStyle: 'short' });
    time.textContent = ago(time.dateTime);
  }
}

function closeMenus() {
  const menu = document.querySelector('[data-menu]');
  if (!menu) return;
  const close = () => (menu.open = false);
  document.addEventListener('click', ({ target }) => menu.contains(target) || close());
  menu.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    close();
    menu.querySelector('summary').focus();
  });
  menu.addEventListener('focusout', ({ relatedTarget }) => relatedTarget && !menu.contains(relatedTarget) && close());
}

/** Beside this one where there is room; else a tab, as the link says by itself. */
function openSecondWindowsBeside() {
  document.addEventListener('click', (event) => {
    const link = event.target.closest?.('[data-second-window]');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (matchMedia('(pointer: coarse)').matches || screen.availWidth < 1000) return;
    event.preventDefault();
    const width = Math.round(Math.min(screen.availWidth / 2, 760));
    const height = Math.round(Math.min(screen.availHeight, 900));
    const left = Math.max(screen.availLeft ?? 0, screen.availWidth - width);
    open(link.href, '_blank', `popup,noopener,width=${width},height=${height},left=${left},top=40`);
  });
}

export function initPage() {
  drawFaces();
  drawTimes();
  closeMenus();
  openSecondWindowsBeside();
}
