/** Every file of a folder is opened once, and its first bytes are read once, whatever is made of it. */
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, expect, it, vi } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { inspectInputs } from '../../src/app/engine/inspect.ts';
import { readGateEvidence } from '../../src/app/gate/evidence.ts';
import { toJson } from '../../src/model/json.ts';
import { openFile } from '../../src/read/bytes/source.ts';
import { cli } from '../support/cli.ts';
import { fileReads, readTotals } from '../support/file-reads.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

vi.mock('node:fs/promises', async (original) => {
  const { countingFiles } = await import('../support/file-reads.ts');
  return countingFiles(original as () => Promise<typeof import('node:fs/promises')>);
});
beforeEach(() => fileReads.clear());

const scratch = scratchFolders('reads');
const HEAD = 64 << 10;
const options = { toolVersion: '0', now: () => new Date(0) };

const LOGS = [
  ['incident/log.jsonl', 'run/log.jsonl'],
  ['incident/hparams.json', 'run/hparams.json'],
  ['logs/full-divergence-csv/input.csv', 'csv/log.csv'],
  ['logs/full-divergence-tb/input.tfevents', 'tb/train.tfevents'],
  ['logs/full-divergence-tb2/input.tfevents', 'tb/validation/eval.tfevents'],
  ['formats/mlflow-run/input', 'mlflow/run'],
  ['formats/stdout-nanogpt/input.log', 'printed/input.log'],
  ['formats/json-keras-history/input.json', 'keras/history.json'],
  ['formats/parquet-zstd/input.parquet', 'parquet/log.parquet'],
] as const;
const CHECKPOINTS = [
  ['incident/checkpoints', 'run/checkpoints'],
  ['checkpoints/safetensors', 'safetensors'],
  ['checkpoints/pytorch', 'pytorch'],
  ['checkpoints/keras3', 'keras3'],
  ['checkpoints/numpy', 'numpy'],
  ['checkpoints/flax', 'flax'],
] as const;

function folder(...parts: (readonly (readonly [string, string])[])[]): string {
  const root = scratch();
  for (const [from, to] of parts.flat())
    cpSync(join(projectRoot, 'fixtures', from), join(root, to), { recursive: true });
  return root;
}

/** Leaves the first steps of a capture, which takes less time to train again. */
function shorten(capture: string, count: number): void {
  const path = join(capture, 'capture.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as { steps: { file: string }[] };
  for (const { file } of manifest.steps.splice(count)) rmSync(join(capture, file));
  writeFileSync(path, JSON.stringify(manifest));
}

/** Every file below a folder that is worth opening. */
const filesBelow = (root: string): string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => join(root, name))
    .filter((path) => statSync(path).isFile() && !path.endsWith('.py'));

function expectReadOnce(paths: readonly string[]): void {
  for (const path of paths) {
    const reads = fileReads.get(path);
    expect([path, reads?.opens]).toEqual([path, 1]);
    expect([path, readTotals(reads!, HEAD).most]).toEqual([path, 1]);
  }
}

it('analyze: logs to their end, checkpoints by headers, statistics and for the curvature, side files', async () => {
  const root = folder(LOGS, CHECKPOINTS, [['incident/capture', 'run/capture']]);
  shorten(join(root, 'run/capture'), 4);
  mkdirSync(join(root, 'gz'));
  writeFileSync(join(root, 'gz/log.jsonl.gz'), gzipSync(readFileSync(join(root, 'run/log.jsonl'))));
  writeFileSync(join(root, 'noise.bin'), Buffer.alloc(200_000, 7));
  const report = await analyze([root], options);
  expect(report.warnings).toEqual([]);
  expect(report.runs.flatMap(({ curvature }) => curvature.map(({ step }) => step))).toContain(300);

  const files = filesBelow(root);
  const capture = files.filter((path) => path.includes('/capture/'));
  expectReadOnce(files.filter((path) => !capture.includes(path)));
  // The steps of a capture are looked at when it is opened, and read one by one when they are replayed.
  expectReadOnce(capture.filter((path) => path.endsWith('capture.json')));
  for (const path of [...LOGS.map(([, to]) => join(root, to)), join(root, 'gz/log.jsonl.gz')])
    if (statSync(path).isFile()) expect(readTotals(fileReads.get(path)!).bytes).toBe(statSync(path).size);
  expect(readTotals(fileReads.get(join(root, 'noise.bin'))!).bytes).toBeLessThan(HEAD + 100);
});

it('earlier states of a Trainer are told and not read; several optimizers beside weights open them once', async () => {
  const root = folder(
    [10, 20, 30].map((n) => ['formats/hf-trainer-state/input.json', `hf/checkpoint-${n}/trainer_state.json`]),
  );
  const state = join(root, 'hf/checkpoint-10/trainer_state.json');
  // Longer than what is looked at to tell the format.
  const long = readFileSync(state, 'utf8').replace(/\}\s*$/, `, "padding": "${'x'.repeat(200_000)}"}`);
  for (const n of [10, 20, 30]) writeFileSync(join(root, `hf/checkpoint-${n}/trainer_state.json`), long);
  const { skipped, inputs } = await inspectInputs([root], {});
  expect(skipped.map(({ reason }) => reason)).toEqual(
    [10, 20].map(() => expect.stringMatching(/^an earlier state of .*checkpoint-30/) as string),
  );
  expect(inputs).toHaveLength(1);
  expectReadOnce(filesBelow(root));
  expect(readTotals(fileReads.get(state)!).bytes).toBe(HEAD);
});

it('gate: logs, and a saved report that is told apart from a JSON log', async () => {
  const root = folder(LOGS);
  const saved = join(root, 'saved.json');
  writeFileSync(saved, toJson(await analyze([join(root, 'csv')], options)));
  fileReads.clear();
  const json = join(root, 'keras/history.json');
  const { report } = await readGateEvidence([saved, join(root, 'run'), json], {
    ...options,
    settle: 0,
  });
  expect(report.inputs.map(({ format }) => format)).toEqual(['csv', 'jsonl', 'json', 'hyperparameters']);
  expectReadOnce([saved, json, join(root, 'run/log.jsonl')]);
});

it('curvature of a folder: told, put in order by their steps, and measured', async () => {
  const root = scratch();
  const net = join(projectRoot, 'fixtures/curvature/embeddings');
  for (const step of [20, 3])
    cpSync(join(net, 'checkpoint.safetensors'), join(root, `step-${step}.safetensors`));
  writeFileSync(join(root, 'notes.txt'), 'no checkpoint');
  const batch = join(net, 'batch.safetensors');
  const args = ['--model', join(net, 'model.json'), '--batch', batch, '--checkpoint', root];
  const { out } = await cli(['curvature', ...args, '--tolerance', '0.1', '--operator', 'hessian', '--json']);
  const { curvature } = JSON.parse(out) as { curvature: { step: number }[] };
  expect(curvature.map(({ step }) => step)).toEqual([3, 20]);
  for (const path of filesBelow(root)) expect([path, fileReads.get(path)?.opens]).toEqual([path, 1]);
});

it('more files than stay open at once: some rest, and go on where they were', async () => {
  const root = scratch();
  const paths = Array.from({ length: 150 }, (_, k) => join(root, `${k}.txt`));
  for (const path of paths) writeFileSync(path, `${path}\n`.repeat(20));
  const sources = await Promise.all(paths.map(openFile));
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = process.platform === 'linux' ? open() : 0;
  for (const round of [0, 1, 2])
    await Promise.all(
      sources.map(async (source, k) => {
        const line = `${paths[k]}\n`;
        const bytes = await source.slice(round * line.length, (round + 1) * line.length);
        expect(Buffer.from(bytes).toString()).toBe(line);
      }),
    );
  if (process.platform === 'linux') expect(open()).toBeLessThanOrEqual(before + 5);

  // One that was replaced while it rested is told.
  writeFileSync(join(root, 'other'), 'x'.repeat(10_000));
  renameSync(join(root, 'other'), paths[0]!);
  for (const source of sources.slice(1)) await source.slice(0, 1);
  await expect(sources[0]!.slice(0, 1)).rejects.toMatchObject({ code: 'file-changed' });
  for (const source of sources) await source.close();
  await expect(sources[1]!.slice(0, 1)).rejects.toThrow(/was closed/);
});
