// The nodes of the row of avatars, touched only where something differs. Text goes in as text only, and colours through
// the CSSOM, so that hostile names are just names and a strict Content Security Policy holds.

const EDGE_PX = 8;

export function make(doc, tag, className, attributes = {}) {
  const node = doc.createElement(tag);
  node.className = className;
  setAttributes(node, attributes);
  return node;
}

/** null and false: without it; true: with an empty value. */
export function setAttributes(node, attributes) {
  for (const [name, given] of Object.entries(attributes)) {
    const value = given === true ? '' : given;
    if (value == null || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setChildren(parent, nodes) {
  const { activeElement } = parent.ownerDocument;
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => {
    if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null);
  });
  // Moving a node takes the focus from it.
  if (parent.contains(activeElement)) activeElement.focus({ preventScroll: true });
}

export function createFace(doc, { isAgent, extraClass = '' }) {
  const item = make(doc, 'li', `presence-person ${isAgent ? 'presence-agent ' : ''}${extraClass}`.trim());
  const face = make(doc, 'span', 'presence-face', { role: 'img', tabindex: '0' });
  const initials = make(doc, 'span', 'presence-initials', { 'aria-hidden': 'true' });
  const tip = make(doc, 'span', 'presence-tip', { 'aria-hidden': 'true' }); // the label says it already
  if (isAgent) face.append(drawing(doc, 'presence-robot', '-20 -20 140 140', ROBOT));
  face.append(initials, drawing(doc, 'presence-mark', ICON, DOING), drawing(doc, 'presence-moon', ICON, AWAY));
  item.append(face, tip);
  return { item, face, initials, tip };
}

const ICON = '0 0 16 16';
// Both shapes; the style sheet shows the one for what the person does.
const DOING = [
  ['pencil', 'M3 13l.8-3.2L10.6 3 13 5.4l-6.8 6.8z'],
  ['dot', 'M8 3.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9z'],
];
const AWAY = [['crescent', 'M6.6 2.6a5.6 5.6 0 106.9 6.9 4.6 4.6 0 01-6.9-6.9z']];
// In hundredths of the face, which is its head.
const ROBOT = [
  ['antenna', 'M46 0v-6a7.5 7.5 0 118 0v6z'],
  ['ears', 'M-3 30h-4a6 6 0 00-6 6v28a6 6 0 006 6h4zM103 30h4a6 6 0 016 6v28a6 6 0 01-6 6h-4z'],
];

function drawing(doc, className, viewBox, shapes) {
  const svg = doc.createElementNS('http://www.w3.org/2000/svg', 'svg');
  setAttributes(svg, { class: className, viewBox, 'aria-hidden': 'true' });
  for (const [name, d] of shapes) {
    const path = doc.createElementNS('http://www.w3.org/2000/svg', 'path');
    setAttributes(path, { class: `presence-${name}`, d });
    svg.append(path);
  }
  return svg;
}

/** Over the initials, which stay where it can't be loaded, or the page's policy forbids it. */
export function setPicture(person, url) {
  if (person.url === url) return;
  person.url = url;
  person.picture?.remove();
  person.face.removeAttribute('data-pictured');
  if (!url) return;
  const picture = make(person.face.ownerDocument, 'img', 'presence-picture', {
    alt: '',
    loading: 'lazy',
    decoding: 'async',
    referrerpolicy: 'no-referrer', // the host of the picture need not know which record this is
    draggable: 'false',
  });
  picture.addEventListener('load', () => person.picture === picture && person.face.setAttribute('data-pictured', ''));
  picture.addEventListener('error', () => picture.remove());
  person.picture = picture;
  person.initials.after(picture);
  picture.src = url; // last, since it starts what the others say how to do
}

export function setLines(tip, lines) {
  const doc = tip.ownerDocument;
  while (tip.children.length > lines.length) tip.lastElementChild.remove();
  lines.forEach(({ name, activity }, i) => {
    let line = tip.children[i];
    if (!line) {
      line = make(doc, 'span', 'presence-tip-line');
      const parts = ['presence-tip-doing', 'presence-tip-details'].map((part) => make(doc, 'span', part));
      line.append(make(doc, 'bdi', 'presence-tip-name'), ...parts);
      tip.append(line);
    }
    setText(line.children[0], name);
    setText(line.children[1], activity);
  });
}

/** The last line of a tooltip about one person. */
export const setDetails = (tip, text) => setText(tip.lastElementChild.lastElementChild, text);

/**
 * Tooltips open by style alone. This keeps the open one on the screen, and lets Escape hide it until the
 * pointer or the focus comes again (WCAG 1.4.13). Nothing is measured but when one opens; `onOpen(item)` is called
 * before that.
 */
export function manageTips(element, onOpen) {
  const doc = element.ownerDocument;
  let last = null;

  const onKey = ({ key }) => key === 'Escape' && element.setAttribute('data-quiet', '');

  function onEnter({ target }) {
    const item = target.closest('.presence-person');
    if (!item || item === last) return;
    last = item;
    element.removeAttribute('data-quiet');
    doc.addEventListener('keydown', onKey); // only while one can be open
    onOpen(item);
    const tip = item.lastElementChild;
    tip.style.setProperty('--presence-shift', '0px');
    const { left, right } = tip.getBoundingClientRect();
    const shift = Math.max(EDGE_PX - left, Math.min(0, doc.documentElement.clientWidth - EDGE_PX - right));
    tip.style.setProperty('--presence-shift', `${shift}px`);
  }

  function onLeave({ relatedTarget }) {
    if (element.contains(relatedTarget)) return;
    last = null;
    if (element.contains(doc.activeElement) && doc.activeElement !== relatedTarget) return;
    doc.removeEventListener('keydown', onKey);
  }

  const events = [
    ['pointerover', onEnter],
    ['focusin', onEnter],
    ['pointerout', onLeave],
    ['focusout', onLeave],
  ];
  for (const [name, run] of events) element.addEventListener(name, run);
  return {
    stop() {
      for (const [name, run] of events) element.removeEventListener(name, run);
      doc.removeEventListener('keydown', onKey);
    },
  };
}
