import type { Viewer } from './presence.js';

/** The name to show, without invisible characters. */
export function nameOf(viewer: Pick<Viewer, 'name'>, unknown: string): string;

/** Up to two initials, in any script; "?" where there is none. */
export function initialsOf(name: string, locale?: string): string;

/** A CSS colour per user, on which white text has a contrast of at least 4.5 : 1. */
export function colorOf(id: number | string): string;

/** The text in what a reader takes for single characters. */
export function characters(text: string): string[];
