// @vitest-environment node
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import manifest from 'presence/package.json';
import { expect, test } from 'vitest';
import { BUDGET_BYTES, sizes } from './tools/size.js';

const root = new URL('../../app/static/presence/', import.meta.url);
const read = (name) => readFileSync(new URL(name, root), 'utf8');
const sources = readdirSync(root).filter((name) => name.endsWith('.js'));

const CORE = ['browser', 'freshness', 'heartbeat', 'lifecycle', 'presence', 'schedule', 'store', 'transport'];
const LATE = [
  'afterAnswer',
  'attention',
  'browserAttention',
  'browserSharing',
  'browserWorker',
  'conflicts',
  'diagnose',
  'eventStream',
  'failures',
  'followers',
  'handOver',
  'hub',
  'hubs',
  'identity',
  'leaderElection',
  'presenceStream',
  'recovery',
  'roster',
  'signals',
  'sse',
  'tokens',
  'unseen',
  'watchers',
];

/** The modules that the named ones import, and those that these import, themselves included. */
function withImports(...names) {
  const found = new Set();
  const follow = (name) => {
    if (found.has(name)) return;
    found.add(name);
    for (const [, path] of read(`${name}.js`).matchAll(/(?:from|import) '([^']+)'/g)) {
      expect(path).toMatch(/^\.\/(vendor\/)?[\w-]+\.js$/); // nothing from outside, nothing of a framework
      follow(path.slice(2, -3));
    }
  };
  names.forEach(follow);
  return [...found].sort();
}

test('the core fits its budget', async () => {
  const { core, late } = await sizes();
  expect(Math.min(core, late)).toBeGreaterThan(1000); // it did measure something
  expect(core).toBeLessThanOrEqual(BUDGET_BYTES);
});

test('the sizes are those that the README tells', async () => {
  const kilobytes = (bytes) => Math.round(bytes / 1000);
  const served = (names) => {
    const texts = names.map((name) => Buffer.from(read(`${name}.js`)));
    const sum = (sizesOf) => kilobytes(texts.reduce((total, text) => total + sizesOf(text), 0));
    return `${sum(({ length }) => length)} KB in ${names.length} files, ${sum((text) => gzipSync(text).length)} KB gzipped`;
  };
  const built = await sizes();
  expect(read('README.md')).toContain(`| ${served(CORE)} | ${served(LATE)} |`);
  expect(read('README.md')).toContain(`gzipped | ${kilobytes(built.core)} KB | ${kilobytes(built.late)} KB |`);
});

test.each([true, false])('what is loaded late comes along in a bundle (split: %s)', async (splitting) => {
  const { outputFiles } = await build({
    entryPoints: [new URL('presence.js', root).pathname],
    bundle: true,
    splitting,
    format: 'esm',
    write: false,
    outdir: 'out',
  });
  expect(outputFiles.length > 1).toBe(splitting);
  const late = outputFiles.flatMap(({ text }) => [...text.matchAll(/import\("(.+?)"\)/g)].map(([, path]) => path));
  const written = outputFiles.map(({ path }) => path.split('/').at(-1));
  for (const path of late) expect(written).toContain(path.slice(2));
  expect(late).toHaveLength(splitting ? 5 : 0);
  expect(outputFiles.some(({ text }) => text.includes('text/event-stream'))).toBe(true);
});

test('the core is these modules, and imports all others late', () => {
  expect(withImports('presence')).toEqual(CORE);
});

test('what is loaded late imports nothing of the core, or bundlers would cut the core in two', () => {
  const entries = [
    ...CORE.map((name) => read(`${name}.js`))
      .join('')
      .matchAll(/import\('\.\/(\w+)\.js'\)/g),
  ];
  expect(withImports(...entries.map(([, name]) => name))).toEqual(LATE);
});

test('what merges is loaded with the first conflict, and not before', () => {
  const before = ['conflictLoader', 'record-conflict'];
  expect(withImports('record-conflict')).toEqual(before);
  expect(withImports('conflictView')).toEqual(['conflictView', 'initials', 'merge', 'vendor/node-diff3']);
  const size = (...names) => names.reduce((total, name) => total + read(`${name}.js`).length, 0);
  const after = size(...withImports('conflictView'), 'formValues') - size('initials');
  const told = read('README.md').match(/has loaded (\d+) KB of this; with the first one come (\d+) KB more/);
  expect(told.slice(1).map(Number)).toEqual([Math.round(size(...before) / 1000), Math.round(after / 10_000) * 10]);
});

test('everything that the package exports exists', () => {
  for (const target of Object.values(manifest.exports)) {
    for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
      expect(() => read(path), path).not.toThrow();
    }
  }
});

test('only browser.js and browserSharing.js touch the page, and never unload or beforeunload', () => {
  const others = [...CORE, ...LATE, 'stream'].filter((name) => !name.startsWith('browser'));
  for (const name of others.map((other) => `${other}.js`)) {
    expect(read(name), name).not.toMatch(
      /\b(window|document|navigator|setTimeout|setInterval|Date\.now|performance)\b[.(]/,
    );
  }
  for (const name of sources) expect(read(name), name).not.toMatch(/['"](before)?unload['"]/);
});

test('text goes into the page as text, and styles as no attribute', () => {
  for (const name of sources) {
    expect(read(name), name).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|cssText|setAttribute\('style'/);
  }
});

test('nothing is stored', () => {
  for (const name of sources) expect(read(name), name).not.toMatch(/localStorage|sessionStorage|\.cookie\b/);
});
