// Bundles the browser assets into the folder named by the first argument.

import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
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
// A page in one file: saved, it verifies without us. The policy allows its own script only.
const parts = await build({
  entryPoints: { script: join(source, 'verify', 'page.js'), style: join(source, 'verify', 'page.css') },
  outdir: out,
  bundle: true,
  format: 'iife',
  target: 'es2022',
  minify: true,
  legalComments: 'inline',
  logLevel: 'warning',
  write: false,
});
const [script, style] = ['.js', '.css'].map((end) => parts.outputFiles.find((file) => file.path.endsWith(end)).text.trim());
if (script.includes('</script')) throw new Error('the script would end its element');
const hash = createHash('sha256').update(script).digest('base64');
const policy = `default-src 'none'; script-src 'sha256-${hash}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'`;
const page = (await readFile(join(source, 'verify.html'), 'utf8'))
  .replace('/*POLICY*/', () => policy)
  .replace('/*STYLE*/', () => style)
  .replace('/*SCRIPT*/', () => script);
await writeFile(join(out, 'verify.html'), page);
for (const file of ['index.html', 'graphiql.html', 'icon.svg']) {
  await copyFile(join(source, file), join(out, file));
}
