// The others' pointers over the form. A position is sent as a fraction of a field's size, so that it is the same in a
// window of another width. Only decoration: the same is said in words beside the fields.

import { colorsOf } from './chrome.js';

const LABEL_PX = 12; // the name's distance from the tip, as in the style sheet
const ARROW = 'M1 1v13.5l3.6-3.4 2.3 5.4 2.6-1.1-2.3-5.3h5z';

/**
 * `layer` covers the form and shows the pointers; `signal` is the presence's function. Gives `receive(signal)`, for
 * the presence's signals, and `stop()`.
 */
export function shareCursors(layer, signal) {
  const area = layer.parentElement;
  const drawn = new Map(); // tab id -> element

  const onMove = (event) => {
    // A finger hides what it points at, and is gone in between.
    if (event.pointerType !== 'touch') signal('cursor', placeOf(event, area));
  };
  const onLeave = () => signal('cursor', null);
  area.addEventListener('pointermove', onMove);
  area.addEventListener('pointerleave', onLeave);

  function receive({ kind, tab_id: tab, user, data }) {
    if (kind !== 'cursor') return;
    const point = data && pointOf(data, area, layer);
    if (!point) {
      drawn.get(tab)?.remove();
      drawn.delete(tab);
      return;
    }
    let cursor = drawn.get(tab);
    if (!cursor) {
      cursor = createCursor(user);
      drawn.set(tab, cursor);
      layer.append(cursor);
    }
    cursor.style.translate = `${point.x}px ${point.y}px`;
    // A name that would be cut at the edge stands on the other side.
    cursor.classList.toggle('is-flipped', point.x + cursor.lastChild.offsetWidth + LABEL_PX > layer.clientWidth);
  }

  function stop() {
    area.removeEventListener('pointermove', onMove);
    area.removeEventListener('pointerleave', onLeave);
    layer.replaceChildren();
    drawn.clear();
  }

  return { receive, stop };
}

function placeOf({ target, clientX, clientY }, area) {
  const control = target.closest('.field')?.querySelector('[name]');
  const box = boxOf(control?.name, area).getBoundingClientRect();
  const share = (part, whole) => Math.round((1000 * part) / whole) / 1000;
  return {
    field: control?.name,
    x: share(clientX - box.left, box.width),
    y: share(clientY - box.top, box.height),
  };
}

/** Where that is in this window; null for invalid data, since it comes from another browser. */
function pointOf({ field, x, y }, area, layer) {
  if (![x, y].every((share) => share >= 0 && share <= 1)) return null;
  const box = boxOf(field, area).getBoundingClientRect();
  const origin = layer.getBoundingClientRect();
  return {
    x: Math.round(box.left - origin.left + x * box.width),
    y: Math.round(box.top - origin.top + y * box.height),
  };
}

const boxOf = (field, area) =>
  [...area.querySelectorAll('.field [name]')].find(({ name }) => name === field)?.closest('.field') ?? area;

function createCursor({ id, name }) {
  const cursor = document.createElement('div');
  cursor.className = 'cursor';
  for (const [property, value] of Object.entries(colorsOf(id))) cursor.style.setProperty(property, value);
  const arrow = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  arrow.setAttribute('viewBox', '0 0 14 18');
  const shape = document.createElementNS(arrow.namespaceURI, 'path');
  shape.setAttribute('d', ARROW);
  arrow.append(shape);
  const label = document.createElement('bdi');
  label.textContent = name.trim() || 'Someone';
  cursor.append(arrow, label);
  return cursor;
}
