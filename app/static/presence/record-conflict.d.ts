import type { Save } from './presence.js';

type Values = Readonly<Record<string, unknown>>;

export interface ConflictLabels {
  /** Someone without a name. */
  unknown: string;
  you: string;
  saved(save: {
    /** Their names, as a list. */
    who: string;
    /** The user themselves, in another tab. */
    isOwn: boolean;
    from: number | undefined;
    to: number | undefined;
    /** "" to leave it out. */
    time: string;
  }): string;
  savedMeanwhile: string;
  refused(saved: string, isOwn: boolean): string;
  collides(fields: string, count: number, total: number): string;
  kept: string;
  compare: string;
  keepMine: string;
  takeTheirs: string;
  takeOwn: string;
  intro: string;
  again(saved: string): string;
  isNew: string;
  part(field: string, number: number, count: number): string;
  mine: string;
  theirs(name: string): string;
  theirName(who: string): string;
  theirOwn: string;
  theirNobody: string;
  both: string;
  empty: string;
  removed: string;
  yes: string;
  no: string;
  settled(count: number): string;
  fromThem: string;
  fromMe: string;
  merged: string;
  agreed: string;
  close: string;
  cancel: string;
  use: string;
}

export interface ConflictOptions {
  /** The names of the fields, in their order. Default: those of `mine`. */
  fields?: readonly string[] | undefined;
  /** Fields that are chosen as a whole and never merged as a text, such as those of a select. */
  whole?: readonly string[] | undefined;
  /** What was saved meanwhile, oldest first: the forecast's `saves`. The banner's sentence is made of them. */
  saves?: readonly Partial<Pick<Save, 'lock_version' | 'user' | 'saved_at'> & { own: boolean }>[] | undefined;
  /** The user has tried to save, and was refused: the banner says so, and gets the focus. */
  isRefused?: boolean | undefined;
  labels?: Partial<ConflictLabels> | undefined;
  /** BCP 47; default: the browser's. */
  locale?: string | undefined;
  /** The label of a field, by its name; "" for one that nobody sees. */
  fieldLabel?: ((name: string) => string) | undefined;
  /** What is shown for a value, such as the text of an option; a list is shown line by line. */
  format?: ((name: string, value: any) => unknown) | undefined;
}

export interface Conflict extends ConflictOptions {
  /** The record as it was loaded. */
  base: Values;
  /** As the user has it. Default, with the attribute `form`: what the form holds. A function is called anew as needed. */
  mine?: Values | (() => Values) | undefined;
  /** As it is saved now. */
  theirs: Values;
  /** The version of theirs; goes to those who watch the form. */
  lockVersion?: number | undefined;
}

export interface ConflictOutcome {
  base: Values;
  /** What is the loaded version from now on. */
  theirs: Values;
  /** What the form shall hold, by field. */
  values: Record<string, any>;
  /** The fields that the user was asked about, if any. */
  collisions: string[];
  /** For each field: nobody's change, one side's, both alike, both put together; or what was chosen. */
  became: Record<string, 'same' | 'mine' | 'theirs' | 'agreed' | 'merged' | 'both' | 'mixed'>;
  isRefused: boolean;
}

/** `<record-conflict form="editor">`; importing this file defines it. Styles: record-conflict.css. */
export interface RecordConflictElement extends HTMLElement {
  /**
   * Says that the record was saved meanwhile. Where nothing collides, `conflict:resolved` follows at once; or else the
   * element shows it until the user has chosen. Call it again with each newer version: choices that still apply are
   * kept. Rejects where the code for it can't be loaded.
   */
  show(conflict: Conflict): Promise<void>;
  /** Opens the dialog, if there is a conflict. */
  open(): void;
  /** There is no conflict any more. */
  clear(): void;
  labels: Partial<ConflictLabels> | undefined;
}

/** What the element dispatches; both bubble, out of shadow roots too. */
export interface RecordConflictEvents {
  /** With the attribute `form`, the form holds `values` by now. */
  'conflict:resolved': CustomEvent<ConflictOutcome & { lockVersion: number | undefined }>;
  /** Which fields collide, whenever that changes. */
  'conflict:collisions': CustomEvent<{ fields: string[] }>;
}

declare global {
  interface HTMLElementTagNameMap {
    'record-conflict': RecordConflictElement;
  }
  interface GlobalEventHandlersEventMap extends RecordConflictEvents {}
}
