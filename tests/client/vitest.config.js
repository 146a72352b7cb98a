import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import manifest from './package.json' with { type: 'json' };

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const client = here('../../app/static/presence/');

export default defineConfig({
  resolve: {
    alias: [
      { find: /^presence\//, replacement: client },
      // What lies outside this folder finds the packages in it.
      ...Object.keys(manifest.devDependencies)
        .filter((name) => name !== 'vitest')
        .map((name) => ({ find: new RegExp(`^${name}(?=/|$)`), replacement: here(`./node_modules/${name}`) })),
    ],
  },
  server: { fs: { allow: [here('./'), client, here('../../app/demo/client/src')] } },
  test: {
    environment: 'jsdom',
    environmentOptions: { jsdom: { url: 'http://app.test/flows/12' } },
    restoreMocks: true,
    pool: 'threads',
    maxWorkers: 2,
    testTimeout: 60_000, // the first test of a file also waits for its imports, beside other tests
    hookTimeout: 60_000,
  },
});
