/** A command loads no code that it does not use: what Node loads is listed, and the heavy packages are not in it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-lazy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hooks = join(folder, 'hooks.mjs');
writeFileSync(
  hooks,
  `import { appendFileSync } from 'node:fs';
export async function load(url, context, next) {
  appendFileSync(process.env.LOADED, url + '\\n');
  return next(url, context);
}`,
);
const preload = join(folder, 'preload.mjs');
writeFileSync(
  preload,
  `import { appendFileSync } from 'node:fs';
import Module, { register } from 'node:module';
register(${JSON.stringify(pathToFileURL(hooks).href)});
// What CommonJS requires does not pass the hooks.
const load = Module._load;
Module._load = function (request, parent, isMain) {
  appendFileSync(process.env.LOADED, Module._resolveFilename(request, parent, isMain) + '\\n');
  return load.apply(this, arguments);
};`,
);

/** Every file and package that is loaded by runs of these commands, one after the other in one process, by the command. */
function loadedBy(commands: readonly (readonly string[])[]): Map<string, string> {
  const list = join(folder, 'loaded.txt');
  const script = join(folder, 'runs.mjs');
  writeFileSync(
    script,
    `import { appendFileSync } from 'node:fs';
import { processIo, run } from ${JSON.stringify(pathToFileURL(join(projectRoot, 'dist/run.js')).href)};
for (const args of ${JSON.stringify(commands)}) {
  appendFileSync(process.env.LOADED, '== ' + args.join(' ') + '\\n');
  process.exitCode ||= await run(args, processIo());
}`,
  );
  rmSync(list, { force: true });
  const { status } = spawnSync(process.execPath, ['--import', pathToFileURL(preload).href, script], {
    cwd: projectRoot,
    env: { ...process.env, LOADED: list },
    encoding: 'utf8',
  });
  expect(status).toBe(0);
  // A file of the bundle stands for the files that were put into it.
  const loaded = readFileSync(list, 'utf8').replace(/^.*\/dist\/.*\.js$/gm, (url) => {
    const map = `${url.startsWith('file:') ? fileURLToPath(url) : url}.map`;
    const { sources } = JSON.parse(readFileSync(map, 'utf8')) as { sources: string[] };
    return [url, ...sources].join('\n');
  });
  const parts = loaded.split(/^== (.*)\n/m);
  return new Map(commands.map((args, i) => [args.join(' '), parts[2 * i + 2]!]));
}

const HEAVY =
  /tfjs-packages\.cjs|node_modules\/(@tensorflow|hyparquet|hyparquet-compressors|yaml|zod|ml-matrix)(\/|$)/m;

const csv = join(folder, 'train.csv');
const jsonl = join(folder, 'train.jsonl');
const losses = Array.from({ length: 1000 }, (_, step) => [step, 0.7 + 1 / (step + 1)] as const);
writeFileSync(csv, `step,loss\n${losses.map(([step, loss]) => `${step},${loss}\n`).join('')}`);
writeFileSync(jsonl, losses.map(([step, loss]) => `${JSON.stringify({ step, loss })}\n`).join(''));

describe('start-up', () => {
  it('loads no tfjs, HDF5, Parquet, YAML or schema code where it is not used, and sees it where it is', () => {
    const parquet = ['inspect', 'fixtures/formats/parquet-snappy'];
    const loaded = loadedBy([
      ['--version'],
      ['--help'],
      ['analyze', '--help'],
      ['analyze', csv],
      ['analyze', jsonl],
      ['inspect', csv],
      ['inspect', jsonl],
      ['chart', jsonl],
      ['gate', jsonl, '--settle', '0'],
      ['explain', 'clippy'],
      // The control stands last: what is loaded once is not loaded again.
      parquet,
    ]);
    const heavy = [...loaded].filter(([, files]) => HEAVY.test(files)).map(([command]) => command);
    expect(heavy).toEqual([parquet.join(' ')]);
    // Of Node, too, a log needs little.
    const ofNode = [...loaded].filter(([, files]) =>
      /^(node:)?(child_process|readline|worker_threads|zlib)$/m.test(files),
    );
    expect(ofNode.map(([command]) => command)).toEqual(['--help']);
    // Its parser is in the bundle, and its help, which is loaded once, for help alone.
    const oclif = [...loaded].filter(([, files]) =>
      /^(file:\/)?\/.*node_modules\/@oclif\/core\//m.test(files),
    );
    expect(oclif.map(([command]) => command)).toEqual(['--help']);
  });
});
