// Writes dist/: one file each for pages without a bundler of their own, and the timer worker's file beside them.
import { copyFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('..', import.meta.url));
const client = fileURLToPath(new URL('../../../app/static/presence/', import.meta.url));

const bundles = {
  // Alpine with the plugin, started.
  'presence.alpine': `
    import Alpine from 'alpinejs';
    import presence from './alpine.js';
    Alpine.plugin(presence);
    window.Alpine = Alpine;
    Alpine.start();
  `,
  // React with the hook, for an import by name.
  'presence.react': `
    export { createElement, useEffect, useRef, useState } from 'react';
    export { createRoot } from 'react-dom/client';
    export * from './react.js';
  `,
};

for (const [name, contents] of Object.entries(bundles)) {
  await build({
    stdin: { contents, resolveDir: client },
    nodePaths: [`${here}node_modules`],
    outfile: `${here}dist/${name}.js`,
    bundle: true,
    minify: true,
    format: 'esm', // import.meta.url finds the worker
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    legalComments: 'none',
    logLevel: 'info',
  });
}
await copyFile(`${client}presence-timer.js`, `${here}dist/presence-timer.js`);
