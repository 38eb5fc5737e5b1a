// Bundles src/ and the packages that it uses into dist/ with code splitting, so that a command loads only what it imports;
// writes NOTICE with the licences of these packages, the type declarations and oclif's manifest.
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transformSync } from 'esbuild';
import { lazyNode, lazyWidths } from './lazy.js';
import { serverWithoutAjv } from './mcp.js';
import { noticeOf } from './notice.js';
import { oclifParser } from './oclif.js';
import { together } from './together.js';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);

/** Every .ts file below a folder. */
const sources = (folder) =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? sources(join(folder, entry.name))
      : entry.name.endsWith('.ts')
        ? [join(folder, entry.name)]
        : [],
  );

/** `import text from 'FILE?raw'`: the text of a file as a constant, as in Vite. */
const rawText = {
  name: 'raw-text',
  setup(build) {
    build.onResolve({ filter: /\?raw$/ }, ({ path, importer }) => ({
      path: createRequire(importer).resolve(path.slice(0, -'?raw'.length)),
      namespace: 'raw-text',
    }));
    build.onLoad({ filter: /.*/, namespace: 'raw-text' }, ({ path }) => ({
      contents: readFileSync(path, 'utf8'),
      loader: 'text',
    }));
  },
};

/** Packages whose own names say nothing in a reported stack, and take room. */
const SHORTENED = ['re2js', 'hyparquet', 'hyparquet-compressors', 'yaml'];

/** Short names within the modules of some packages; what they export keeps its name. */
const shortNames = {
  name: 'short-names',
  setup(build) {
    const filter = new RegExp(String.raw`[\\/]node_modules[\\/](${SHORTENED.join('|')})[\\/].*\.m?js$`);
    build.onLoad({ filter }, ({ path }) => ({
      contents: transformSync(readFileSync(path, 'utf8'), { minify: true, legalComments: 'none' }).code,
      loader: 'js',
    }));
  },
};

/** Codecs of a package that Node has itself (src/read/bytes/parquet-codecs.ts): left out, as nothing asks for them. */
const unaskedCodecs = {
  name: 'unasked-codecs',
  setup(build) {
    const filter = /^\.\/(?:brotli|gzip|compressors)\.js$/;
    build.onResolve({ filter }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      if (pluginData === filter || !importer.includes('hyparquet-compressors')) return undefined;
      const found = await build.resolve(path, { importer, resolveDir, kind, pluginData: filter });
      return { ...found, sideEffects: false };
    });
  },
};

rmSync('dist', { recursive: true, force: true });
rmSync('oclif.manifest.json', { force: true });
const { exports, peerDependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
const shared = {
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  platform: 'node',
  target: 'node20',
  metafile: true,
  // What is bundled says under which licence in NOTICE.
  legalComments: 'none',
  logLevel: 'warning',
};
const modules = {
  ...shared,
  splitting: true,
  format: 'esm',
  // Names stay, so that a reported stack says where; blanks and comments are a tenth of the package.
  minifyWhitespace: !process.argv.includes('--fast'),
  minifySyntax: !process.argv.includes('--fast'),
  // oclif's help looks for itself among the installed packages. Peers are what the user has: in the entries that import
  // tfjs, the user's.
  external: ['@oclif/*', ...Object.keys(peerDependencies)],
  plugins: [rawText, shortNames, unaskedCodecs, serverWithoutAjv, lazyNode, lazyWidths, oclifParser],
  // Maps point at sources, which no package has: they stay in the checkout, and no file that is packed names them.
  sourcemap: process.argv.includes('--fast') ? 'linked' : 'external',
  sourcesContent: false,
};
const program = {
  ...modules,
  // Workers are entry points of their own: a thread or child process is started from its file.
  entryPoints: [
    'src/index.ts',
    'src/run.ts',
    ...sources('src/app/commands'),
    ...sources('src').filter((f) => f.endsWith('.worker.ts')),
  ],
  // Packages in CommonJS require modules of Node.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
};
const split = await build({ ...program, write: false });
const built = await Promise.all([
  build({ ...program, plugins: [...program.plugins, together(split.metafile)] }),
  // For browsers too: nothing of Node in them.
  build({
    ...modules,
    entryPoints: ['src/differentiate/autodiff/clippy-adagrad.ts', 'src/experiment/recorder/tfjs-recorder.ts'],
  }),
  // As one script, of which build/code.js keeps what V8 makes of it: an expression, a function of a module in CommonJS.
  build({
    ...program,
    entryPoints: ['src/run.ts'],
    outdir: undefined,
    outfile: 'dist/program.script',
    splitting: false,
    format: 'cjs',
    define: { 'import.meta.url': 'scriptUrl' },
    // A script whose code was kept has lost how it imports modules (V8 in Node 20): the few packages outside are required.
    supported: { 'dynamic-import': false },
    sourcemap: false,
    banner: {
      js: "(function (exports, require, module, __filename) { const scriptUrl = require('node:url').pathToFileURL(__filename).href;",
    },
    footer: { js: '})' },
  }),
  build({
    ...shared,
    entryPoints: ['src/differentiate/autodiff/tfjs-packages.cjs'],
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    minify: true,
    // Asked for only where Node has no fetch.
    external: ['node-fetch'],
  }),
]);
// bin/program.js reads the script byte by byte, as V8 keeps it smallest: what esbuild leaves as it is, in regular expressions and
// tagged templates, is escaped too.
const script = readFileSync('dist/program.script', 'utf8');
writeFileSync(
  'dist/program.script',
  script.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
);
// With SIMD only, which every processor has that Node 20 is made for; on any other the backend does not start, and cpu takes its place.
copyFileSync(
  'node_modules/@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm',
  'dist/differentiate/autodiff/tfjs-backend-wasm-simd.wasm',
);
const { notice, bundled } = noticeOf(built.flatMap(({ metafile }) => Object.keys(metafile.inputs)));
writeFileSync('NOTICE', notice);
writeFileSync('dist/bundled.json', `${JSON.stringify(bundled, null, 2)}\n`);
const run = (file, ...args) =>
  execFileSync(process.execPath, [file, ...args], {
    // Standard output is npm's: `npm pack` prints the name of the tarball there, and pre-commit reads it.
    stdio: ['ignore', process.stderr, 'inherit'],
    // oclif looks for a newer version of itself otherwise.
    env: { ...process.env, OCLIF_SKIP_NEW_VERSION_CHECK: 'true' },
  });
// Without its manifest, help loads every command with all that it imports.
run('node_modules/oclif/bin/run.js', 'manifest');
// Indented it takes a tenth more of the package.
writeFileSync('oclif.manifest.json', JSON.stringify(JSON.parse(readFileSync('oclif.manifest.json', 'utf8'))));
run('build/code.js');
/** What a finding says, as the type of a constant has it: a program wants its ids and thresholds as they are, not its sentences. */
const SENTENCE = /: (?:'(?:[^'\\\n]|\\.){24,}'|`(?:[^`\\]|\\.)*`|"[^"\n]{24,}");/g;

if (!process.argv.includes('--fast')) {
  run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json');
  keepPublicTypes(bundled.map(({ name }) => name));
}

/**
 * Keeps the declarations that a user of the package reaches, with the extensions that every tool resolves.
 *
 * @throws where one names a package that is bundled, which the user does not have
 */
function keepPublicTypes(bundledNames) {
  const reached = new Set(
    Object.values(exports)
      .flatMap(({ types }) => types ?? [])
      .map((path) => normalize(path)),
  );
  // A set gives what is added to it while it is walked.
  for (const file of reached) {
    const text = readFileSync(file, 'utf8');
    const code = text.replace(/\/\*.*?\*\//gs, '');
    for (const [, from] of code.matchAll(/(?:\bfrom |\bimport\()['"]([^'"]+)['"]/g)) {
      if (from.startsWith('.')) reached.add(join(dirname(file), from.replace(/\.ts$/, '.d.ts')));
      else if (
        bundledNames.some((name) => from === name || from.startsWith(`${name}/`)) &&
        !(from in peerDependencies)
      )
        throw new Error(`${file} is public and names ${from}, which is bundled`);
    }
    const named = text.replace(/((?:\bfrom |\bimport\()['"]\.{1,2}\/[^'"]+)\.ts(['"])/g, '$1.js$2');
    // With four spaces for each level the package has 1.6 kB more.
    const narrow = named.replace(/^(?: {4})+/gm, (indent) => ' '.repeat(indent.length / 4));
    writeFileSync(file, narrow.replace(SENTENCE, ': string;'));
  }
  for (const name of readdirSync('dist', { recursive: true, encoding: 'utf8' })) {
    const file = join('dist', name);
    if (name.endsWith('.d.ts') && !reached.has(file)) rmSync(file);
  }
}
