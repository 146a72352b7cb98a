export interface DirtyState {
  readonly dirty: boolean;
  /** Names of the fields that differ from what was loaded. */
  readonly fields: readonly string[];
}

/** The values of a form at one moment, by field. */
export type FormValues = ReadonlyMap<string, string>;

export interface DirtyTracker {
  isDirty(): boolean;
  dirtyFields(): string[];
  /** The form that is watched now; null while the page has none with that id. */
  form(): HTMLFormElement | null;
  /** The values now, for rebase() after a save. */
  take(): FormValues;
  /** Compares again, after a script changed values. */
  refresh(): void;
  /** These values, by default the current ones, were saved and now count as loaded. */
  rebase(values?: FormValues): void;
  /** These fields now count as loaded: a script added or filled them. */
  adopt(names: Iterable<string>): void;
  stop(): void;
}

export interface DirtyOptions {
  /** Called when the set of dirty fields has changed. */
  onChange?: ((state: DirtyState) => void) | undefined;
  /** Called when another field of the form has the focus; null for none. */
  onFocus?: ((name: string | null) => void) | undefined;
  /** Called with the form that is watched from now on, at the start too if there is one; null: it is gone. */
  onForm?: ((form: HTMLFormElement | null) => void) | undefined;
  /** Names of fields to ignore. */
  ignore?: Iterable<string> | undefined;
  /**
   * What was loaded, by field, where a script fills the form; it may be the whole record. Fields that are not in it
   * are loaded as the HTML says. `true` or `false` for a single checkbox, a list for controls that share a name.
   */
  loaded?: Readonly<Record<string, unknown>> | undefined;
  /** Where a form given by its id is looked for. Default: the document. */
  root?: Document | ShadowRoot | undefined;
  /**
   * Whether a script has already put into this control what was loaded, so that it counts as it stands. Default:
   * whether Alpine or React did.
   */
  isFilled?: ((control: Element) => boolean) | undefined;
}

/**
 * What was loaded is what the HTML says (`value`, `checked`, `selected`, a textarea's text), not what stands in the
 * form: that may have been typed already. Where it differs, `onChange` is called at once; `onFocus` too. Where the page
 * changes that HTML, what it says then is loaded; and where another form with the same id takes the place of this one,
 * that is watched. Given an id, it may also come later.
 */
export function trackDirty(form: HTMLFormElement | string, options?: DirtyOptions): DirtyTracker;
