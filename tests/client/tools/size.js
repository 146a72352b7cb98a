// What a page loads for the core: presence.js with all that it imports; and what it loads after the first answer, the
// timer worker's file among it.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

export const BUDGET_BYTES = 5 * 1024;

const client = fileURLToPath(new URL('../../../app/static/presence', import.meta.url));

/** Bytes gzipped. */
export async function sizes() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: client,
    entryPoints: ['presence.js', 'presence-timer.js'],
    bundle: true,
    splitting: true,
    minify: true,
    format: 'esm',
    write: false,
    metafile: true,
    outdir: 'out',
  });
  const atOnce = new Set();
  const follow = (name) => {
    atOnce.add(name);
    for (const { path: next, kind } of metafile.outputs[name].imports) {
      if (kind === 'import-statement' && !atOnce.has(next)) follow(next);
    }
  };
  follow('out/presence.js');
  const total = { core: 0, late: 0 };
  for (const { path: file, contents } of outputFiles) {
    const part = atOnce.has(path.relative(client, file)) ? 'core' : 'late';
    total[part] += gzipSync(contents, { level: 9 }).length;
  }
  return total;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { core, late } = await sizes();
  console.log(`core: ${core} bytes gzipped, of ${BUDGET_BYTES}; loaded after it: ${late}`);
  process.exitCode = core > BUDGET_BYTES ? 1 : 0;
}
