// Bundles src/ into app/static/demo/dist/, which is committed; its manifest.json has the digests of the sources and
// of the built files. `node build.js --check` builds in memory and tells whether dist/ is what it would write.

import { createHash } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const at = (...parts) => path.join(here, ...parts);
const require = createRequire(import.meta.url);
const PRESENCE = '../../static/presence';
const DIST = at('../../static/demo/dist');

const { outputFiles, metafile } = await build({
  absWorkingDir: here,
  entryPoints: ['alpine.js', 'list.js', 'open.js', 'react.jsx', 'sign_in.js', 'timeline.js', 'why.js'].map(
    (name) => `src/${name}`,
  ),
  outdir: DIST,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  jsx: 'automatic',
  legalComments: 'none',
  // One React, whatever else is installed beside the client.
  alias: { react: path.dirname(require.resolve('react/package.json')) },
  define: { 'process.env.NODE_ENV': '"production"' },
  metafile: true,
  write: false,
});

const files = new Map(outputFiles.map(({ path: file, text }) => [path.basename(file), text]));
// The client starts its timer worker from the folder that it was loaded from.
files.set('presence-timer.js', await readFile(at(PRESENCE, 'presence-timer.js'), 'utf8'));

const digest = (text) => createHash('sha256').update(text).digest('hex');
const sources = [
  'build.js',
  'package-lock.json',
  `${PRESENCE}/presence-timer.js`,
  ...Object.keys(metafile.inputs).filter((name) => !name.includes('node_modules/')),
].sort();
const manifest = {
  sources: Object.fromEntries(
    await Promise.all(sources.map(async (name) => [name, digest(await readFile(at(name), 'utf8'))])),
  ),
  built: Object.fromEntries([...files].sort().map(([name, text]) => [name, digest(text)])),
};
files.set('manifest.json', `${JSON.stringify(manifest, null, 2)}\n`);

const old = await readdir(DIST).catch(() => []);
if (process.argv.includes('--check')) {
  const differing = [];
  for (const [name, text] of files) {
    if ((await readFile(path.join(DIST, name), 'utf8').catch(() => null)) !== text) differing.push(name);
  }
  differing.push(...old.filter((name) => !files.has(name)));
  if (differing.length) {
    console.error(`dist/ is not what its sources give: ${differing.join(', ')}. Run make bundle.`);
    process.exitCode = 1;
  }
} else {
  await Promise.all(old.filter((name) => !files.has(name)).map((name) => rm(path.join(DIST, name))));
  await Promise.all([...files].map(([name, text]) => writeFile(path.join(DIST, name), text)));
  for (const [name, text] of files) console.log(`${name} ${(text.length / 1024).toFixed(1)} KiB`);
}
