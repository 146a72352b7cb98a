// dist/: one file for pages without a bundler of their own. The timer's worker goes beside them.
import { copyFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

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
    stdin: { contents, resolveDir: root },
    outfile: `${root}dist/${name}.js`,
    bundle: true,
    minify: true,
    format: 'esm', // import.meta.url finds the worker
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"production"' },
    legalComments: 'none',
    logLevel: 'info',
  });
}
await copyFile(`${root}presence-timer.js`, `${root}dist/presence-timer.js`);
