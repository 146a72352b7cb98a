import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { devDependencies } = JSON.parse(readFileSync(here('./package.json')));

export default defineConfig({
  // The tests stand outside the package and find its development dependencies here.
  resolve: {
    alias: [
      { find: /^presence\//, replacement: here('./') },
      ...Object.keys(devDependencies)
        .filter((name) => name !== 'vitest')
        .map((name) => ({ find: new RegExp(`^${name}(?=/|$)`), replacement: here(`./node_modules/${name}`) })),
    ],
  },
  server: { fs: { allow: [here('./'), here('../../../tests/client')] } },
  test: {
    dir: here('../../../tests/client'),
    environment: 'jsdom',
    environmentOptions: { jsdom: { url: 'http://app.test/flows/12' } },
    restoreMocks: true,
    pool: 'threads',
    maxWorkers: 2,
  },
});
