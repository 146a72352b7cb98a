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
  /** The values now, for rebase() after a save. */
  take(): FormValues;
  /** Look again, after a script changed values. */
  refresh(): void;
  /** What was saved is now what is loaded. Default: the values now. */
  rebase(values?: FormValues): void;
  /** These fields are as loaded: put there or filled by a script. */
  adopt(names: Iterable<string>): void;
  stop(): void;
}

export interface DirtyOptions {
  /** When the set of dirty fields changed. */
  onChange?(state: DirtyState): void;
  /** When the focus goes to another field of the form; null for none. */
  onFocus?(name: string | null): void;
  /** Names of fields that don't count. */
  ignore?: Iterable<string>;
  /**
   * What was loaded, by field, where a script fills the form; it may be the whole record. Fields that are not in it
   * are loaded as the HTML says. `true` or `false` for a single checkbox, a list for controls that share a name.
   */
  loaded?: Readonly<Record<string, unknown>>;
  /**
   * Whether a script has already put into this control what was loaded, so that it counts as it stands. Default:
   * whether Alpine or React did.
   */
  isFilled?(control: Element): boolean;
}

/**
 * What was loaded is what the HTML says (`value`, `checked`, `selected`, a textarea's text), not what stands in the
 * form: that may have been typed already. Where it differs, `onChange` is called at once; `onFocus` too.
 */
export function trackDirty(form: HTMLFormElement, options?: DirtyOptions): DirtyTracker;
