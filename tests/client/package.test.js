// @vitest-environment node
import { readFileSync, readdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';
import manifest from 'presence/package.json';
import { BUDGET_BYTES, sizes } from 'presence/tools/size.js';

const root = new URL('../../app/static/presence/', import.meta.url);
const read = (name) => readFileSync(new URL(name, root), 'utf8');
const sources = readdirSync(root).filter((name) => name.endsWith('.js') && !name.startsWith('vitest'));

test('the core fits its budget', async () => {
  const { core, stream } = await sizes();
  expect(Math.min(core, stream)).toBeGreaterThan(1000); // it did measure something
  expect(core).toBeLessThanOrEqual(BUDGET_BYTES);
});

test('the sizes are those that the README tells', async () => {
  const core = ['presence', 'schedule', 'store', 'transport', 'browser'];
  const late = ['stream', 'conflicts', 'line', 'share', 'signals', 'sse', 'roster', 'browser-late', 'hint'];
  const kilobytes = (bytes) => Math.round(bytes / 1000);
  const served = (names) => {
    const texts = names.map((name) => Buffer.from(read(`${name}.js`)));
    const sum = (sizesOf) => kilobytes(texts.reduce((total, text) => total + sizesOf(text), 0));
    return `${sum(({ length }) => length)} KB in ${names.length} files, ${sum((text) => gzipSync(text).length)} KB gzipped`;
  };
  const built = await sizes();
  expect(read('README.md')).toContain(`| ${served(core)} | ${served(late)} |`);
  expect(read('README.md')).toContain(`gzipped | ${kilobytes(built.core)} KB | ${kilobytes(built.stream)} KB |`);
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
  expect(late).toHaveLength(splitting ? 3 : 0);
  expect(outputFiles.some(({ text }) => text.includes('text/event-stream'))).toBe(true);
});

test('the core imports nothing from outside, nothing of a framework, and the stream and conflicts only late', () => {
  const seen = new Set();
  const follow = (name) => {
    if (seen.has(name)) return;
    seen.add(name);
    for (const [, path] of read(name).matchAll(/(?:from|import) '([^']+)'/g)) {
      expect(path).toMatch(/^\.\//);
      follow(path.slice(2));
    }
  };
  follow('presence.js');
  expect([...seen].sort()).toEqual(['browser.js', 'presence.js', 'schedule.js', 'store.js', 'transport.js']);
});

test('everything that the package exports exists', () => {
  for (const target of Object.values(manifest.exports)) {
    for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
      expect(() => read(path), path).not.toThrow();
    }
  }
});

test('only browser.js and browser-late.js touch the page, and never unload or beforeunload', () => {
  const others = ['presence', 'conflicts', 'hint', 'schedule', 'store', 'transport', 'stream', 'line', 'share', 'signals', 'sse', 'roster'];
  for (const name of others.map((other) => `${other}.js`)) {
    expect(read(name), name).not.toMatch(/\b(window|document|navigator|setTimeout|setInterval|Date\.now|performance)\b[.(]/);
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
