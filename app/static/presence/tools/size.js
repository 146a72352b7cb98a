// What a page loads for the core: presence.js with all that it imports, and the timer worker's file. And what it
// loads later, for the stream.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

export const BUDGET_BYTES = 5 * 1024;

const root = fileURLToPath(new URL('..', import.meta.url));

/** Bytes gzipped. */
export async function sizes() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
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
  follow('out/presence-timer.js');
  const total = { core: 0, stream: 0 };
  for (const { path: file, contents } of outputFiles) {
    const part = atOnce.has(path.relative(root, file)) ? 'core' : 'stream';
    total[part] += gzipSync(contents, { level: 9 }).length;
  }
  return total;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { core, stream } = await sizes();
  console.log(`core: ${core} bytes gzipped, of ${BUDGET_BYTES}; stream, loaded after it: ${stream}`);
  process.exitCode = core > BUDGET_BYTES ? 1 : 0;
}
