// Bundles the browser assets into the folder named by the first argument.

import { build } from 'esbuild';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';

const out = process.argv[2];
const source = import.meta.dirname;

await mkdir(out, { recursive: true });
await build({
  entryPoints: {
    index: join(source, 'index.js'),
    graphiql: join(source, 'graphiql.jsx'),
    'editor.worker': 'monaco-editor/esm/vs/editor/editor.worker.js',
    'json.worker': 'monaco-editor/esm/vs/language/json/json.worker.js',
    'graphql.worker': 'monaco-graphql/esm/graphql.worker.js',
  },
  outdir: out,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  legalComments: 'linked',
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  loader: { '.ttf': 'file' },
  assetNames: '[name]',
  logLevel: 'warning',
});
// A page of its own holds this one in a plain script element.
await build({
  entryPoints: { chart: join(source, 'chart.js') },
  outdir: out,
  bundle: true,
  format: 'iife',
  target: 'es2022',
  minify: true,
  legalComments: 'inline',
  logLevel: 'warning',
});
for (const file of ['index.html', 'graphiql.html', 'icon.svg']) {
  await copyFile(join(source, file), join(out, file));
}
