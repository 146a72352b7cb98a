// The editor in Alpine. Its build for a Content Security Policy takes no scripts in attributes, only names and calls,
// so the logic is here.

import Alpine from '@alpinejs/csp';

import recordPresence from '../../../static/presence/alpine.js';
import { trackDirty } from '../../../static/presence/dirty.js';
import '../../../static/presence/record-conflict.js';
import { initPage } from './chrome.js';
import * as conflict from './conflict.js';
import { shareCursors } from './cursors.js';
import * as flowWork from './flow.js';
import * as handOver from './handOver.js';
import { createLeaveGrace } from './leaveGrace.js';
import { askBeforeLeaving } from './leaving.js';
import { page, presenceOptions, regainIdentity } from './session.js';

const { withNews } = conflict;
const { avatarOptions, firstOf, hereText, peopleIn, saveStateOf, stepsOf, valuesOf } = flowWork;
const form = document.getElementById('flow');
const conflictElement = document.getElementById('conflict');

Alpine.data('flowEditor', () => ({
  flow: page.flow, // as it was loaded or saved last
  title: page.flow.name,
  steps: stepsOf(page.flow.steps),
  unsaved: [],
  isFocused: false,
  isSaving: false,
  errors: {},
  notice: null, // something went wrong
  news: [], // something happened: the last of each kind

  theirs: null, // a newer version, until it is taken over
  colliding: [], // fields
  isRefused: false, // a save ran into it
  isChecking: false,
  checkedAt: Date.parse(page.loaded_at),
  presenceState: {}, // the last that was seen; the names of its parts are those of the component inside this one

  presenceOptions: { ...presenceOptions, baseVersion: page.flow.lock_version },
  avatarOptions,
  hereText,
  peopleIn,
  cursors: null,
  departures: 0,
  showsAll: false, // of a long list of people
  withLeaving: null,
  ticks: 0, // of what passes on in a while
  timeLeft: null,
  stopped: new Set(), // fields that this user waits for no longer
  afterSave: null,

  init() {
    this.withLeaving = createLeaveGrace(() => this.departures++);
    this.timeLeft = handOver.createPassing(() => this.ticks++);
    this.refresh(); // what was typed before this ran
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
    const { claims, tabId } = this.presenceState;
    return this.isFocused || this.isDirty || handOver.isWaiting(claims, tabId) ? 'edit' : 'view';
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
  /** With those who left a moment ago; evaluated again when that moment is over. */
  withDepartures(viewers) {
    return this.departures >= 0 && this.withLeaving(viewers);
  },
  peopleHere(viewers, fresh) {
    return firstOf(flowWork.peopleHere(this.withDepartures(viewers), fresh), this.showsAll);
  },
  toggleAll() {
    this.showsAll = !this.showsAll;
  },
  isOld: (viewers, fresh) => viewers !== null && !fresh,

  setUnsaved(_isDirty, fields) {
    this.unsaved = [...fields];
    askBeforeLeaving(this.isDirty);
  },
  focusIn() {
    this.isFocused = true;
  },
  focusOut({ target }) {
    // A window that loses the focus keeps its cursor.
    if (document.activeElement !== target) this.isFocused = false;
  },
  refresh() {
    const values = this.values();
    this.title = values.name;
    this.steps = stepsOf(values.steps);
    this.showConflict();
  },

  values() {
    return Object.fromEntries(new FormData(form));
  },
  fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const control = form.elements[name];
      if (control.value !== value) control.value = value; // the cursor of another one stays where it is
    }
    form.elements.name.dispatchEvent(new Event('input', { bubbles: true })); // the tracker hears of controls
  },
  discard() {
    this.fill(valuesOf(this.flow));
    this.errors = {};
    this.notice = null;
  },

  // --- saving, and what others saved ---

  async save(news = '') {
    if (!this.canSave) return;
    const values = this.values();
    this.isSaving = true;
    this.errors = {};
    this.notice = null;
    this.setNews('saves', news);
    try {
      this.flow = await flowWork.saveFlow(this.flow.lock_version, values, this.presenceState.tabId);
      this.forgetTheirs();
      this.setLoaded(values);
      this.afterSave?.();
      this.afterSave = null;
    } catch (error) {
      if (error.status !== 409) this.report(error);
      else this.receiveTheirs(error.data.current, true);
    } finally {
      this.isSaving = false;
    }
    this.showConflict();
    this.checkRecord();
  },
  /** `values` are what is loaded now. */
  setLoaded(values) {
    const detail = { values: takeOf(values), lockVersion: this.flow.lock_version };
    form.dispatchEvent(new CustomEvent('presence:saved', { detail }));
  },
  report(error) {
    const { text, errors } = flowWork.explain(error);
    this.errors = errors;
    this.notice = { text, actions: [] };
    form.elements.namedItem(Object.keys(errors)[0])?.focus();
  },

  /** What the presence learned. After this turn: reading it here must not call this again. */
  follow(forecast, claims, tabId, claim, release) {
    queueMicrotask(() => {
      const { claims: before } = this.presenceState;
      this.presenceState = { forecast, claims, tabId };
      const tell = ({ name, text }, label, doing) =>
        this.setNews(`claim ${name}`, text, label, () => this.setClaim(name, doing, claim, release));
      for (const taken of conflict.takenClaims(before, claims, tabId)) tell(taken, 'Take it back', 'takeOver');
      for (const declined of handOver.declinedClaims(before, claims, tabId, this.stopped)) {
        tell(declined, 'Ask again', 'wait');
      }
      this.checkRecord();
    });
  },
  /** Loads the record if the presence says that it may have another version. */
  async checkRecord() {
    const { isSaving, isChecking } = this;
    const { forecast } = this.presenceState;
    const version = (this.theirs ?? this.flow).lock_version;
    if (!forecast || isSaving || isChecking || !conflict.isBehind(forecast, version, this.checkedAt)) return;
    this.isChecking = true;
    try {
      this.receiveTheirs(await flowWork.readFlow());
      this.checkedAt = Date.parse(forecast.remembered_since);
    } catch {
      return; // the next forecast checks again; at the latest, the save is refused
    } finally {
      this.isChecking = false;
    }
    if (this.presenceState.forecast !== forecast) this.checkRecord(); // another one has come meanwhile
  },
  receiveTheirs(theirs, isRefused = false) {
    if (theirs.lock_version <= (this.theirs ?? this.flow).lock_version) return;
    this.theirs = theirs;
    this.isRefused = isRefused;
    this.showConflict();
  },
  /** The element takes over what collides with nothing, and asks about the rest. */
  showConflict() {
    const { flow: base, theirs, isRefused, isSaving } = this;
    if (!theirs || isSaving) return;
    const { forecast } = this.presenceState;
    const found = conflict.conflictOf({ forecast, base, theirs: Alpine.raw(theirs), isRefused });
    conflictElement.show({ ...found, mine: () => this.values() });
  },
  /** Theirs is now the loaded version, and the form holds what was made of both. */
  adopt(outcome) {
    const { theirs, values, collisions, isRefused } = outcome;
    const { forecast } = this.presenceState;
    const { text, undo } = conflict.outcomeOf(outcome, { forecast, mine: this.values(), unsaved: [...this.unsaved] });
    this.flow = theirs;
    this.forgetTheirs();
    this.notice = null;
    this.setLoaded(valuesOf(theirs));
    this.fill(values);
    this.setNews('saves', text, undo && 'Undo', () => this.fill(undo));
    if (collisions.length) form.elements[collisions[0]].focus();
    else if (isRefused) queueMicrotask(() => this.save(text));
  },
  forgetTheirs() {
    this.theirs = null;
    this.isRefused = false;
    conflictElement.clear();
  },
  setColliding(fields) {
    this.colliding = fields;
  },
  noteOf(name) {
    const { colliding, theirs } = this;
    return conflict.notesOf([...colliding], { forecast: this.presenceState.forecast, theirs })[name];
  },
  contestOf(name) {
    return this.noteOf(name) ? '' : conflict.contestOf(this.presenceState.forecast, name);
  },

  setNews(kind, text, label, run) {
    this.news = withNews(this.news, { kind, text, actions: label ? [{ label, run }] : [] });
  },
  act(action, kind) {
    if (kind) this.setNews(kind, '');
    else this.notice = null;
    action.run?.();
  },

  // --- claims ---

  claimOf: conflict.claimOf,
  async setClaim(name, doing, claim, release) {
    if (doing === 'release') this.stopped.add(name);
    else this.stopped.delete(name);
    this.setNews(`claim ${name}`, '');
    try {
      const options = { takeOver: doing === 'takeOver', wait: doing === 'wait' };
      await (doing === 'release' ? release(name) : claim(name, options));
    } catch (error) {
      this.notice = { text: error.message, actions: [] };
    }
  },

  handOvers(claims, tabId) {
    const unsaved = [...this.unsaved];
    return this.ticks >= 0 && handOver.handOversOf({ claims, tabId, unsaved }, this.timeLeft);
  },
  async handOver(name, doing, claim, release, decline) {
    this.afterSave = null;
    if (doing === 'saveAndRelease') {
      this.afterSave = () => this.setClaim(name, 'release', claim, release);
      return this.save();
    }
    if (doing !== 'decline') return this.setClaim(name, doing, claim, release);
    return decline(name).catch((error) => this.report(error));
  },
  tellPassed(passed, claim, release) {
    const { field, isMine } = passed;
    const text = handOver.passedText(passed, [...this.unsaved]);
    const askBack = () => this.setClaim(field, 'wait', claim, release);
    this.setNews(`claim ${field}`, text, !isMine && 'Ask for it back', askBack);
  },

  async renewIdentity(resume) {
    if (await regainIdentity()) return resume();
    this.notice = flowWork.SOMEBODY_ELSE;
  },
}));

/** Values as the tracker inside x-presence-form wants them; by a copy, so that no cursor moves. */
function takeOf(values) {
  const copy = form.cloneNode(true);
  for (const [name, value] of Object.entries(values)) copy.elements[name].value = value;
  const tracker = trackDirty(copy);
  const taken = tracker.take();
  tracker.stop();
  return taken;
}

initPage();
Alpine.plugin(recordPresence);
Alpine.start();
