// The same editor in React.

import { StrictMode, useEffect, useMemo, useReducer, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';

import { initialsOf } from '../../../static/presence/initials.js';
import { PresenceAvatars, RecordConflict, useRecordPresence } from '../../../static/presence/react.js';
import { colorsOf, initPage } from './chrome.js';
import {
  claimOf,
  conflictOf,
  contestOf,
  differing,
  isBehind,
  notesOf,
  outcomeOf,
  takenClaims,
  withNews,
} from './conflict.js';
import { shareCursors } from './cursors.js';
import {
  avatarOptions,
  explain,
  firstOf,
  hereText,
  icon,
  peopleHere,
  peopleIn,
  readFlow,
  SOMEBODY_ELSE,
  saveFlow,
  saveStateOf,
  stepsOf,
  valuesOf,
} from './flow.js';
import { createPassing, declinedClaims, handOversOf, isWaiting as isInQueue, passedText } from './handOver.js';
import { createLeaveGrace } from './leaveGrace.js';
import { askBeforeLeaving } from './leaving.js';
import { page, presenceOptions, regainIdentity } from './session.js';

const Icon = ({ href }) => (
  <svg className="icon" aria-hidden="true">
    <use href={href} />
  </svg>
);

const Face = ({ style, initials }) => (
  <span className="face" style={style} aria-hidden="true">
    {initials}
  </span>
);

function Editor() {
  const [flow, setFlow] = useState(page.flow); // as it was loaded or saved last
  const [values, setValues] = useState(() => valuesOf(page.flow));
  const [focused, setFocused] = useState(null);
  const [isSaving, setSaving] = useState(false);
  const [errors, setErrors] = useState({});
  const [notice, setNotice] = useState(null); // something went wrong
  const [news, setNews] = useState([]); // something happened: the last of each kind
  const [theirs, setTheirs] = useState(null); // a newer version
  const [isRefused, setRefused] = useState(false); // a save ran into it
  const [colliding, setColliding] = useState([]); // fields
  const [waits, setWaits] = useState(false); // for a field
  const form = useRef(null);

  const unsaved = differing(values, flow);
  const isDirty = unsaved.length > 0;
  const canSave = isDirty && !isSaving;

  const presence = useRecordPresence('flow', flow.id, unsaved, {
    ...presenceOptions,
    baseVersion: flow.lock_version,
    mode: focused || isDirty || waits ? 'edit' : 'view',
    activeField: focused,
    async onUnauthorized() {
      if (await regainIdentity()) return presence.resume();
      setNotice(SOMEBODY_ELSE);
    },
    onSignal: (sent) => cursors.current?.receive(sent),
    onPassed(passed) {
      const askBack = () => setClaim(passed.field, 'wait');
      tellNews(`claim ${passed.field}`, passedText(passed, unsaved), !passed.isMine && 'Ask for it back', askBack);
    },
  });
  const { viewers, typing, signal, forecast, claims, tabId } = presence;

  const layer = useRef(null);
  const cursors = useRef(null);
  useEffect(() => {
    const shared = (cursors.current = shareCursors(layer.current, signal));
    return () => shared.stop();
  }, [signal]);

  function report(error) {
    const { text, errors: byField } = explain(error);
    setErrors(byField);
    setNotice({ text, actions: [] });
    form.current.elements.namedItem(Object.keys(byField)[0])?.focus();
  }

  async function save(event, text = '') {
    event?.preventDefault();
    if (!canSave) return;
    setSaving(true);
    setErrors({});
    setNotice(null);
    tellNews('saves', text);
    try {
      setFlow(await saveFlow(flow.lock_version, values, tabId)); // what was typed meanwhile stays unsaved
      setTheirs(null);
      afterSave.current?.();
      afterSave.current = null;
    } catch (error) {
      if (error.status === 409) receiveTheirs(error.data.current, true);
      else report(error);
    } finally {
      setSaving(false);
    }
  }

  // --- what others saved ---

  function tellNews(kind, text, label, run) {
    setNews((news) => withNews(news, { kind, text, actions: label ? [{ label, run }] : [] }));
  }

  function receiveTheirs(newer, isRefused = false) {
    setRefused(isRefused);
    setTheirs((known) => (known?.lock_version > newer.lock_version ? known : newer));
  }

  // Loads the record if the presence says that it may have another version.
  const checkedAt = useRef(Date.parse(page.loaded_at));
  const isChecking = useRef(false);
  const newest = useRef(null);
  newest.current = forecast;
  const [checks, checkAgain] = useReducer((checks) => checks + 1, 0);
  useEffect(() => {
    const version = (theirs ?? flow).lock_version;
    if (!forecast || isSaving || isChecking.current || !isBehind(forecast, version, checkedAt.current)) return;
    isChecking.current = true;
    readFlow()
      .then((newer) => {
        checkedAt.current = Date.parse(forecast.remembered_since);
        if (newer.lock_version > version) receiveTheirs(newer);
      })
      .catch(() => {}) // the next forecast checks again; at the latest, the save is refused
      .finally(() => {
        isChecking.current = false;
        if (newest.current !== forecast) checkAgain(); // another one has come meanwhile
      });
  }, [forecast, isSaving, theirs, flow, checks]);

  // The component takes over what collides with nothing, and asks about the rest.
  const isSavedNext = useRef(null);
  useEffect(() => {
    if (theirs?.lock_version <= flow.lock_version) setTheirs(null);
  }, [theirs, flow]);
  useEffect(() => {
    const next = isSavedNext.current;
    isSavedNext.current = null;
    if (next) save(null, next);
  }, [flow]);
  const isWaiting = !theirs || isSaving || theirs.lock_version <= flow.lock_version;
  const conflict = conflictOf({ forecast, base: flow, theirs: isWaiting ? null : theirs, isRefused });

  /** Theirs is now the loaded version, and the form holds what was made of both. */
  function adopt(outcome) {
    const { theirs: newer, values: made, collisions } = outcome;
    const { text, undo } = outcomeOf(outcome, { forecast, mine: values, unsaved });
    if (outcome.isRefused && !collisions.length) isSavedNext.current = text;
    setValues(made);
    setFlow(newer);
    setTheirs(null);
    setRefused(false);
    setNotice(null);
    tellNews('saves', text, undo && 'Undo', () => setValues((now) => ({ ...now, ...undo })));
    if (collisions.length) form.current.elements[collisions[0]].focus();
  }

  const notes = notesOf(colliding, { forecast, theirs });

  // --- claims ---

  const stopped = useRef(new Set()); // fields that this user waits for no longer
  const orNotice = (answer) => answer.catch((error) => setNotice({ text: error.message, actions: [] }));

  function setClaim(name, doing) {
    if (doing === 'release') stopped.current.add(name);
    else stopped.current.delete(name);
    tellNews(`claim ${name}`, '');
    const options = { takeOver: doing === 'takeOver', wait: doing === 'wait' };
    orNotice(doing === 'release' ? presence.release(name) : presence.claim(name, options));
  }

  const afterSave = useRef(null);
  function handOver(name, doing) {
    afterSave.current = null;
    if (doing === 'saveAndRelease') {
      afterSave.current = () => setClaim(name, 'release');
      save();
    } else if (doing === 'decline') {
      orNotice(presence.decline(name));
    } else {
      setClaim(name, doing);
    }
  }

  const claimsBefore = useRef(null);
  useEffect(() => {
    const before = claimsBefore.current;
    claimsBefore.current = claims;
    setWaits(isInQueue(claims, tabId));
    const tell = ({ name, text }, label, doing) => tellNews(`claim ${name}`, text, label, () => setClaim(name, doing));
    for (const taken of takenClaims(before, claims, tabId)) tell(taken, 'Take it back', 'takeOver');
    for (const declined of declinedClaims(before, claims, tabId, stopped.current)) tell(declined, 'Ask again', 'wait');
  }, [claims, tabId]);

  const [, tick] = useReducer((ticks) => ticks + 1, 0);
  const [timeLeft] = useState(() => createPassing(tick));
  const handOvers = handOversOf({ claims, tabId, unsaved }, timeLeft);

  function discard() {
    setValues(valuesOf(flow));
    setErrors({});
    setNotice(null);
  }

  useEffect(() => askBeforeLeaving(isDirty), [isDirty]);

  const latestSave = useRef(save);
  useEffect(() => {
    latestSave.current = save;
  });
  useEffect(() => {
    const onKey = (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.key !== 's') return;
      event.preventDefault();
      latestSave.current();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);

  const field = (name) => ({
    name,
    people: peopleIn(viewers, typing, name),
    claim: claims && claimOf(claims, name, tabId),
    onClaim: (doing) => setClaim(name, doing),
    note: notes[name],
    contest: contestOf(forecast, name),
    isUnsaved: unsaved.includes(name),
    error: errors[name],
    control: {
      id: name,
      name,
      value: values[name],
      onChange: ({ target }) => setValues((before) => ({ ...before, [name]: target.value })),
      'aria-invalid': !!errors[name],
    },
  });
  const saveState = saveStateOf({ isSaving, unsaved, version: flow.lock_version });

  return (
    <>
      <div className="title">
        <h1>{values.name}</h1>
        <div className="title-people">
          <PresenceAvatars state={presence.state} {...avatarOptions} />
        </div>
      </div>
      <Notice notice={notice} onDone={() => setNotice(null)} />
      <News news={news} handOvers={handOvers} onHandOver={handOver} onDone={(kind) => tellNews(kind, '')} />
      <div className="columns">
        <div className="main-column">
          <div id="conflict">
            <RecordConflict {...conflict} mine={values} onResolve={adopt} onCollisions={setColliding} />
          </div>
          <form
            className="card form"
            noValidate
            autoComplete="off"
            ref={form}
            onSubmit={save}
            onFocus={({ target }) => setFocused(target.name || null)}
            onInput={({ target }) => signal('typing', { field: target.name })}
            onBlur={({ target }) => {
              signal('typing', null);
              // A window that loses the focus keeps its cursor.
              if (document.activeElement !== target) setFocused(null);
            }}
          >
            <Field label="Name" {...field('name')}>
              {(control) => <input {...control} maxLength="120" required />}
            </Field>
            <div className="field-pair">
              <Field label="Status" {...field('status')}>
                {(control) => (
                  <select {...control}>
                    {page.statuses.map((status) => (
                      <option key={status} value={status}>
                        {status[0].toUpperCase() + status.slice(1)}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
              <Field label="Owner" {...field('owner')}>
                {(control) => (
                  <select {...control}>
                    {page.people.map(({ handle, name }) => (
                      <option key={handle} value={handle}>
                        {name}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
            </div>
            <Field label="Description" {...field('description')}>
              {(control) => <textarea {...control} rows="4" maxLength="4000" />}
            </Field>
            <Field label="Steps" hint="One step a line. A line with a question mark is a decision." {...field('steps')}>
              {(control) => <textarea {...control} rows="7" maxLength="4000" />}
            </Field>
            <div className={`save-bar ${isDirty ? 'is-dirty' : ''}`}>
              <p className="save-state" role="status">
                <Icon href={saveState.icon} />
                <span>{saveState.text}</span>
              </p>
              {isDirty && (
                <button type="button" className="button" onClick={discard}>
                  Discard
                </button>
              )}
              <button
                type="submit"
                className="button button-main"
                disabled={!canSave}
                aria-keyshortcuts="Control+S Meta+S"
              >
                Save
              </button>
            </div>
            <div className="cursors" aria-hidden="true" ref={layer} />
          </form>
        </div>
        <div className="side">
          <Here {...presence} />
          <Preview text={values.steps} />
        </div>
      </div>
    </>
  );
}

function Notice({ notice, onDone }) {
  return (
    <div className="notice" role="alert" hidden={!notice}>
      {notice && (
        <div className="notice-body">
          <Icon href={icon('warning')} />
          <p>{notice.text}</p>
          <div className="notice-actions">
            {notice.actions.map(({ label, main, run }) => (
              <button
                key={label}
                type="button"
                className={`button ${main ? 'button-main' : ''}`}
                onClick={() => {
                  onDone();
                  run();
                }}
              >
                {label}
              </button>
            ))}
          </div>
        </div>
      )}
    </div>
  );
}

/** Something happened: said quietly, and dismissed with a click. */
function News({ news, handOvers, onHandOver, onDone }) {
  return (
    <div className="news" role="status">
      {handOvers.map(({ key, name, text, time, actions }) => (
        <div key={key} className="news-body">
          <Icon href={icon('people')} />
          <p>
            {text}{' '}
            <span className="time-left" role="timer" aria-live="off">
              {time}
            </span>
          </p>
          {actions.map(({ label, doing }) => (
            <button key={doing} type="button" className="link-button" onClick={() => onHandOver(name, doing)}>
              {label}
            </button>
          ))}
        </div>
      ))}
      {news.map(({ kind, text, actions }) => (
        <div key={kind} className="news-body">
          <Icon href={icon('info')} />
          <p>{text}</p>
          {[...actions, { label: 'OK' }].map(({ label, run }) => (
            <button
              key={label}
              type="button"
              className="link-button"
              onClick={() => {
                onDone(kind);
                run?.();
              }}
            >
              {label}
            </button>
          ))}
        </div>
      ))}
    </div>
  );
}

function Field({ name, label, hint, people, claim, onClaim, note, contest, isUnsaved, error, control, children }) {
  const described = [hint && `${name}-hint`, `${name}-people`, `${name}-notes`, error && `${name}-error`]
    .filter(Boolean)
    .join(' ');
  return (
    <div className={`field ${isUnsaved ? 'is-unsaved' : ''}`}>
      <div className="field-head">
        <label htmlFor={name}>{label}</label>
        {isUnsaved && (
          <span className="unsaved-mark">
            <Icon href={icon('unsaved')} />
            <span>unsaved</span>
          </span>
        )}
        <span className="in-field" id={`${name}-people`}>
          {people.map((person) => (
            // biome-ignore lint/a11y/useAriaPropsSupportedByRole: with a label, the role is "img"
            <span
              key={person.key}
              className={person.className}
              style={person.style}
              title={person.title}
              role={person.label && 'img'}
              aria-label={person.label}
            >
              <bdi>{person.name}</bdi> {person.doing}
            </span>
          ))}
        </span>
        {claim && (
          <span className="claim">
            <span className="claim-who" title={claim.who}>
              {claim.who}
            </span>
            <button
              type="button"
              className="claim-button"
              aria-pressed={claim.pressed}
              onClick={() => onClaim(claim.doing)}
            >
              <Icon href={icon('flag')} />
              <span>{claim.label}</span>
              <span className="hidden">: {label}</span>
            </button>
          </span>
        )}
      </div>
      {children({ ...control, 'aria-describedby': described })}
      <div className="field-notes" id={`${name}-notes`}>
        {note && (
          <p className="field-note is-conflict">
            <Icon href={icon('warning')} />
            <span>
              <strong>{note.text}</strong> <q className="their-value">{note.theirs}</q>
            </span>
          </p>
        )}
        {!note && contest && (
          <p className="field-note">
            <Icon href={icon('people')} />
            <span>{contest}</span>
          </p>
        )}
      </div>
      {hint && (
        <p className="hint" id={`${name}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p className="field-error" id={`${name}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

function Here({ viewers, fresh, status, staleSince }) {
  const withDepartures = useLasting(viewers);
  const [showsAll, setShowsAll] = useState(false);
  const { shown, more } = firstOf(peopleHere(withDepartures, fresh), showsAll);
  return (
    <section className={`card here ${viewers && !fresh ? 'is-stale' : ''}`} aria-labelledby="here-title">
      <h2 id="here-title">Here now</h2>
      <p className="here-state">{hereText(withDepartures, fresh, status, staleSince)}</p>
      <ul className="here-list" id="here-list">
        {shown.map((person) => (
          <li key={person.key} className={`here-person ${person.className}`}>
            <Face {...person} />
            <span className="here-who">
              <bdi className="here-name">{person.name}</bdi>
              <span className="here-doing">
                <Icon href={person.icon} />
                <span>{person.text}</span>
              </span>
              <span className="here-details">{person.details}</span>
            </span>
          </li>
        ))}
      </ul>
      {more && (
        <button
          type="button"
          className="link-button"
          aria-expanded={showsAll}
          aria-controls="here-list"
          onClick={() => setShowsAll(!showsAll)}
        >
          {more}
        </button>
      )}
      <p className="here-links">
        <a className="quiet-link" href={page.links.timeline}>
          <Icon href={icon('replay')} />
          Replay what happened
        </a>
        <a className="quiet-link" href={page.links.why}>
          Why are they shown?
        </a>
      </p>
      {page.others.length > 0 && (
        <>
          <h3 className="here-invite">Open a second window as</h3>
          <ul className="people-links">
            {page.others.map(({ id, name, url }) => (
              <li key={id}>
                <a className="person-link" href={url} target="_blank" rel="noopener" data-second-window="">
                  <Face style={colorsOf(id)} initials={initialsOf(name)} />
                  <bdi>{name}</bdi>
                  <Icon href={icon('window')} />
                  <span className="hidden">(new window)</span>
                </a>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

/** With who left a moment ago; rendered again when that moment is over. */
function useLasting(viewers) {
  const [, setDepartures] = useState(0);
  const [withLeaving] = useState(() => createLeaveGrace(() => setDepartures((count) => count + 1)));
  return withLeaving(viewers);
}

function Preview({ text }) {
  const steps = useMemo(() => stepsOf(text), [text]);
  return (
    <section className="card preview" aria-labelledby="preview-title">
      <h2 id="preview-title">The flow</h2>
      <ol className="steps">
        {steps.map((step) => (
          <li key={step.key} className={`step ${step.kind}`}>
            <span className="step-mark">
              <Icon href={step.icon} />
            </span>
            <span>{step.text}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

createRoot(document.getElementById('editor')).render(
  <StrictMode>
    <Editor />
  </StrictMode>,
);
initPage();
