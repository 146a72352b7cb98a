// @vitest-environment node
// Servers render pages too: no entry point needs a page when it is imported or rendered.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PresenceAvatars as ReactAvatars, useRecordPresence as useInReact } from 'presence/react.js';
import { useRecordPresence as useInVue, PresenceAvatars as VueAvatars } from 'presence/vue.js';
import { createElement } from 'react';
import { renderToString as renderReact } from 'react-dom/server';
import { expect, test } from 'vitest';
import { createSSRApp, h } from 'vue';
import { renderToString as renderVue } from 'vue/server-renderer';

const client = new URL('../../app/static/presence/', import.meta.url);
const read = (name) => readFileSync(new URL(name, client), 'utf8');
const FRAMEWORKS = ['./react', './vue'];

test('every entry point without a framework is imported by Node as it is', () => {
  const entries = Object.entries(JSON.parse(read('package.json')).exports)
    .filter(([name, target]) => target.default && !FRAMEWORKS.includes(name))
    .map(([, target]) => new URL(target.default, client).href);
  expect(entries.length).toBeGreaterThan(7);
  const script = `${entries.map((entry) => `await import(${JSON.stringify(entry)});`).join('\n')} console.log('all')`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: fileURLToPath(client),
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(stdout).toBe('all\n');
});

test('React renders the hook and the avatars on a server', () => {
  function Editor() {
    const { state, status } = useInReact('flow', 12, false, { mode: 'edit' });
    return createElement('main', null, status, createElement(ReactAvatars, { state }));
  }
  expect(renderReact(createElement(Editor))).toBe('<main>idle<div></div></main>');
});

test('Vue renders the composable and the avatars on a server', async () => {
  const app = createSSRApp({
    setup() {
      const { state, status } = useInVue('flow', 12, false, { mode: 'edit' });
      return () => h('main', [status.value, h(VueAvatars, { state: state.value })]);
    },
  });
  expect(await renderVue(app)).toBe('<main>idle<div></div></main>');
});

test('a React server component may import the hook’s file: it says that it is for the browser', () => {
  const [first] = read('react.js')
    .split('\n')
    .filter((line) => line && !line.startsWith('//'));
  expect(first).toBe("'use client';");
});
