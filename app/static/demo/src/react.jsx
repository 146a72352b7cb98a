// The same editor in React.

import { StrictMode, useEffect, useMemo, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';

import { initialsOf } from '../../presence/initials.js';
import { PresenceAvatars, useRecordPresence } from '../../presence/react.js';
import { colorsOf, dressPage } from './chrome.js';
import {
  FIELDS,
  avatarOptions,
  explain,
  hereText,
  icon,
  peopleHere,
  peopleIn,
  readFlow,
  saveFlow,
  saveStateOf,
  stepsOf,
  valuesOf,
} from './flow.js';
import { shareCursors } from './cursors.js';
import { createLinger } from './linger.js';
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
  const [notice, setNotice] = useState(null);
  const form = useRef(null);

  const unsaved = FIELDS.filter((name) => values[name] !== flow[name]);
  const isDirty = unsaved.length > 0;
  const canSave = isDirty && !isSaving;

  const presence = useRecordPresence('flow', flow.id, isDirty, {
    ...presenceOptions,
    mode: focused || isDirty ? 'edit' : 'view',
    activeField: focused,
    async onUnauthorized() {
      if (await regainIdentity()) return presence.resume();
      setNotice({
        text: 'This browser was signed in as somebody else, or signed out, in another window.',
        actions: [{ label: 'Reload', main: true, run: () => location.reload() }],
      });
    },
    onSignal: (sent) => cursors.current?.receive(sent),
  });
  const { viewers, typing, signal } = presence;

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
    form.current.elements[Object.keys(byField)[0]]?.focus();
  }

  async function save(event) {
    event?.preventDefault();
    if (!canSave) return;
    setSaving(true);
    setErrors({});
    setNotice(null);
    try {
      setFlow(await saveFlow(flow.lock_version, values)); // what was typed meanwhile stays unsaved
    } catch (error) {
      if (error.status === 409) await offerChoice(error);
      else report(error);
    } finally {
      setSaving(false);
    }
  }

  async function offerChoice(conflict) {
    try {
      const theirs = await readFlow();
      const takeOver = (isMineKept) => () => {
        setValues((mine) => {
          const kept = isMineKept ? unsaved.map((name) => [name, mine[name]]) : [];
          return { ...valuesOf(theirs), ...Object.fromEntries(kept) };
        });
        setFlow(theirs);
      };
      setNotice({
        text: `${conflict.message} Your changes are still here.`,
        actions: [
          { label: 'Keep mine', main: true, run: takeOver(true) },
          { label: 'Take theirs', run: takeOver(false) },
        ],
      });
    } catch (error) {
      report(error);
    }
  }

  function discard() {
    setValues(valuesOf(flow));
    setErrors({});
    setNotice(null);
  }

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
      <div className="columns">
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
            <button className="button button-main" disabled={!canSave} aria-keyshortcuts="Control+S Meta+S">
              Save
            </button>
          </div>
          <div className="cursors" aria-hidden="true" ref={layer} />
        </form>
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

function Field({ name, label, hint, people, isUnsaved, error, control, children }) {
  const described = [hint && `${name}-hint`, `${name}-people`, error && `${name}-error`].filter(Boolean).join(' ');
  return (
    <div className={`field ${isUnsaved ? 'is-unsaved' : ''}`}>
      <div className="field-head">
        <label htmlFor={name}>{label}</label>
        {isUnsaved && (
          <span className="unsaved-mark">
            <Icon href={icon('unsaved')} />
            unsaved
          </span>
        )}
        <span className="in-field" id={`${name}-people`}>
          {people.map((person) => (
            <span key={person.key} className="in-field-person" style={person.style}>
              <bdi>{person.name}</bdi> {person.doing}
            </span>
          ))}
        </span>
      </div>
      {children({ ...control, 'aria-describedby': described })}
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
  const shown = useLasting(viewers);
  return (
    <section className={`card here ${viewers && !fresh ? 'is-stale' : ''}`} aria-labelledby="here-title">
      <h2 id="here-title">Here now</h2>
      <p className="here-state">{hereText(shown, fresh, status, staleSince)}</p>
      <ul className="here-list">
        {peopleHere(shown).map((person) => (
          <li key={person.key} className={`here-person ${person.doing}`}>
            <Face {...person} />
            <span className="here-who">
              <bdi className="here-name">{person.name}</bdi>
              <span className="here-doing">
                <Icon href={person.icon} />
                <span>{person.text}</span>
              </span>
            </span>
          </li>
        ))}
      </ul>
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
  const [linger] = useState(() => createLinger(() => setDepartures((count) => count + 1)));
  return linger(viewers);
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
dressPage();
