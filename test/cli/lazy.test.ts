/** A command loads no code that it does not use: what Node loads is listed, and the heavy packages are not in it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
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

/** Every file and package that a run of the command loads. */
function loadedBy(args: readonly string[]): string {
  const list = join(folder, 'loaded.txt');
  rmSync(list, { force: true });
  const { status } = spawnSync(
    process.execPath,
    ['--import', pathToFileURL(preload).href, 'bin/run.js', ...args],
    { cwd: projectRoot, env: { ...process.env, LOADED: list }, encoding: 'utf8' },
  );
  expect(status).toBe(0);
  return existsSync(list) ? readFileSync(list, 'utf8') : '';
}

const HEAVY =
  /node_modules\/(@tensorflow|h5wasm|hyparquet|hyparquet-compressors|yaml|zod|ml-matrix|long)(\/|$)/m;

const csv = join(folder, 'train.csv');
const jsonl = join(folder, 'train.jsonl');
const losses = Array.from({ length: 1000 }, (_, step) => [step, 0.7 + 1 / (step + 1)] as const);
writeFileSync(csv, `step,loss\n${losses.map(([step, loss]) => `${step},${loss}\n`).join('')}`);
writeFileSync(jsonl, losses.map(([step, loss]) => `${JSON.stringify({ step, loss })}\n`).join(''));

describe('start-up', () => {
  it.each([
    ['--version', []],
    ['--help', []],
    ['analyze', ['--help']],
    ['analyze', [csv]],
    ['analyze', [jsonl]],
    ['inspect', [csv]],
    ['inspect', [jsonl]],
    ['chart', [jsonl]],
  ])('%s %j loads no tfjs, HDF5, Parquet, YAML or schema code', (command, args) => {
    const loaded = loadedBy([command, ...args]);
    expect(loaded).not.toMatch(HEAVY);
    // --version is answered by bin/run.js alone; for the others the list must work.
    if (command !== '--version') expect(loaded).toContain('node_modules/@oclif/core/');
  });

  it('sees heavy code where it is used', () => {
    expect(loadedBy(['inspect', 'fixtures/formats/parquet-snappy'])).toMatch(HEAVY);
  });
});
