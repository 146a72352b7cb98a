// The editor in Alpine. Its build for a Content Security Policy takes no scripts in attributes, only
// names and calls, so the logic stands here.

import Alpine from '@alpinejs/csp';

import recordPresence from '../../presence/alpine.js';
import { trackDirty } from '../../presence/dirty.js';
import { dressPage } from './chrome.js';
import { shareCursors } from './cursors.js';
import * as flowWork from './flow.js';
import { createLinger } from './linger.js';
import { page, presenceOptions, regainIdentity } from './session.js';

const { avatarOptions, hereText, peopleIn, saveStateOf, stepsOf, valuesOf } = flowWork;
const form = document.getElementById('flow');

Alpine.data('flowEditor', () => ({
  flow: page.flow, // as it was loaded or saved last
  title: page.flow.name,
  steps: stepsOf(page.flow.steps),
  unsaved: [],
  isFocused: false,
  isSaving: false,
  errors: {},
  notice: null,

  presenceOptions,
  avatarOptions,
  hereText,
  peopleIn,
  cursors: null,
  departures: 0,
  linger: null,

  init() {
    this.linger = createLinger(() => this.departures++);
    document.addEventListener('keydown', (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === 's') {
        event.preventDefault();
        this.save();
      }
    });
  },

  get isDirty() {
    return this.unsaved.length > 0;
  },
  get canSave() {
    return this.isDirty && !this.isSaving;
  },
  get mode() {
    return this.isFocused || this.isDirty ? 'edit' : 'view';
  },
  get saveState() {
    const { isSaving, unsaved, flow } = this; // by name: inside another component there is nothing to spread
    return saveStateOf({ isSaving, unsaved, version: flow.lock_version });
  },
  isUnsaved(name) {
    return this.unsaved.includes(name);
  },
  fieldClass(name) {
    return { 'is-unsaved': this.isUnsaved(name) };
  },
  shareCursors(layer, signal) {
    this.cursors = shareCursors(layer, signal);
  },
  showSignal(signal) {
    this.cursors.receive(signal);
  },
  /** With who left a moment ago; looked at again when that moment is over. */
  lasting(viewers) {
    return this.departures >= 0 && this.linger(viewers);
  },
  peopleHere(viewers) {
    return flowWork.peopleHere(this.lasting(viewers));
  },
  isOld: (viewers, fresh) => viewers !== null && !fresh,

  setUnsaved(_isDirty, fields) {
    this.unsaved = [...fields];
  },
  focusIn() {
    this.isFocused = true;
  },
  focusOut({ target }) {
    // A window that loses the focus keeps its cursor.
    if (document.activeElement !== target) this.isFocused = false;
  },
  refresh() {
    const { name, steps } = this.values();
    this.title = name;
    this.steps = stepsOf(steps);
  },

  values() {
    return Object.fromEntries(new FormData(form));
  },
  fill(values) {
    for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
    form.dispatchEvent(new Event('input', { bubbles: true }));
  },
  discard() {
    this.fill(valuesOf(this.flow));
    this.errors = {};
    this.notice = null;
  },

  async save() {
    if (!this.canSave) return;
    const taken = take();
    this.isSaving = true;
    this.errors = {};
    this.notice = null;
    try {
      this.flow = await flowWork.saveFlow(this.flow.lock_version, this.values());
      this.setLoaded(taken);
    } catch (error) {
      if (error.status === 409) await this.offerChoice(error);
      else this.report(error);
    } finally {
      this.isSaving = false;
    }
  },
  setLoaded(values) {
    form.dispatchEvent(new CustomEvent('presence:saved', { detail: { values } }));
  },
  report(error) {
    const { text, errors } = flowWork.explain(error);
    this.errors = errors;
    this.notice = { text, actions: [] };
    form.elements[Object.keys(errors)[0]]?.focus();
  },

  async offerChoice(conflict) {
    try {
      const theirs = await flowWork.readFlow();
      this.notice = {
        text: `${conflict.message} Your changes are still here.`,
        actions: [
          { label: 'Keep mine', main: true, run: () => this.takeOver(theirs, this.unsaved) },
          { label: 'Take theirs', run: () => this.takeOver(theirs, []) },
        ],
      };
    } catch (error) {
      this.report(error);
    }
  },
  /** Their version is what is loaded now; `kept` are the fields that stay as they stand here. */
  takeOver(theirs, kept) {
    const mine = this.values();
    this.flow = theirs;
    this.fill(valuesOf(theirs));
    this.setLoaded(take());
    this.fill(Object.fromEntries(kept.map((name) => [name, mine[name]])));
  },
  act(action) {
    this.notice = null;
    action.run();
  },

  async regain(resume) {
    if (await regainIdentity()) return resume();
    this.notice = {
      text: 'This browser was signed in as somebody else, or signed out, in another window.',
      actions: [{ label: 'Reload', main: true, run: () => location.reload() }],
    };
  },
}));

/** The form's values, as the tracker inside x-presence-form wants them after a save. */
function take() {
  const tracker = trackDirty(form);
  const values = tracker.take();
  tracker.stop();
  return values;
}

dressPage();
Alpine.plugin(recordPresence);
Alpine.start();
