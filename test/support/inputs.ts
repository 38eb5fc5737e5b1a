/** Folders as trainings leave them, made of fixtures: what two routes to one answer are given. */
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { writeSafetensors } from '../../src/read/checkpoints/safetensors.ts';
import { projectRoot } from './shared-data.ts';

const fixture = (path: string): string => join(projectRoot, 'fixtures', path);
const log = (name: string): string =>
  fixture(`logs/${name}/input.${name.endsWith('-csv') ? 'csv' : 'jsonl'}`);

const copyLog =
  (name: string, change: (lines: string[]) => string[] = (lines) => lines) =>
  (folder: string): void => {
    const lines = readFileSync(log(name), 'utf8').trimEnd().split('\n');
    writeFileSync(
      join(folder, name.endsWith('-csv') ? 'log.csv' : 'log.jsonl'),
      `${change(lines).join('\n')}\n`,
    );
  };

/** Ways to leave a log. */
const LOGS: Readonly<Record<string, (folder: string) => void>> = {
  healthy: copyLog('healthy'),
  'healthy as CSV': copyLog('healthy-csv'),
  'micro-divergence': copyLog('micro-divergence'),
  'full divergence': copyLog('full-divergence'),
  'full divergence that comes back in part': copyLog('full-divergence-2'),
  'NaN to the end': copyLog('nan-bad-record'),
  'overflow as CSV': copyLog('nan-overflow-csv'),
  'a NaN that comes back': copyLog('healthy', (lines) =>
    lines.map((line, k) => (k === 300 ? line.replace(/"loss": [^,]*/, '"loss": NaN') : line)),
  ),
  'an infinite gradient norm': copyLog('healthy', (lines) =>
    lines.map((line, k) => (k === 200 ? line.replace(/"grad_norm": [^,]*/, '"grad_norm": Infinity') : line)),
  ),
  'a resume that repeats steps': copyLog('healthy', (lines) => [...lines.slice(0, 400), ...lines.slice(300)]),
  'a loss that stops': copyLog('healthy', (lines) =>
    lines.map((line, k) => (k < 300 ? line : line.replace(/"loss": [^,]*, /, ''))),
  ),
  'a dead run': copyLog('healthy', (lines) =>
    lines.map((line, k) => (k < 300 ? line : line.replace(/"grad_norm": [^,]*/, '"grad_norm": 0'))),
  ),
  'five steps': copyLog('healthy', (lines) => lines.slice(0, 5)),
  'no loss': copyLog('healthy', (lines) => lines.map((line) => line.replace(/"[^"]*loss": [^,]*, /g, ''))),
  'a bad line': copyLog('healthy', (lines) => [
    ...lines.slice(0, 300),
    '{"step": 300, "lo',
    ...lines.slice(301),
  ]),
  'a torn last line': (folder) => {
    copyLog('healthy')(folder);
    appendFileSync(join(folder, 'log.jsonl'), '{"step": 600, "lo');
  },
  'losses that are null for sixty steps': copyLog('healthy', (lines) =>
    lines.map((line, k) => (k < 300 || k >= 360 ? line : line.replace(/"loss": [^,]*/, '"loss": null'))),
  ),
  'text in the loss': copyLog('healthy', (lines) =>
    lines.map((line, k) => (k === 300 ? line.replace(/"loss": [^,]*/, '"loss": "1,234.5"') : line)),
  ),
  'an empty log beside a good one': (folder) => {
    copyLog('healthy')(folder);
    writeFileSync(join(folder, 'train.log'), '');
  },
  'a traceback beside a good log': (folder) => {
    copyLog('healthy')(folder);
    writeFileSync(
      join(folder, 'stderr.log'),
      'Traceback (most recent call last):\nRuntimeError: out of memory\n',
    );
  },
  'data tables beside a good log': (folder) => {
    copyLog('healthy')(folder);
    writeFileSync(join(folder, 'vocab.json'), '{"the": 0, "a": 1}');
    writeFileSync(join(folder, 'products.csv'), 'id,price\n1,9.5\n2,8.5\n');
    writeFileSync(join(folder, 'README.md'), '# A run\n');
  },
  'printed, with a loss that overflows': (folder) => {
    const lines = Array.from(
      { length: 200 },
      (_, k) => `step ${k} | loss ${(2 / Math.sqrt(k + 1)).toFixed(4)} | lr 0.1`,
    );
    lines[150] = 'step 150 | loss overflow | lr 0.1';
    writeFileSync(join(folder, 'out.log'), `${lines.join('\n')}\n`);
  },
  compressed: (folder) => {
    writeFileSync(join(folder, 'log.jsonl.gz'), gzipSync(readFileSync(log('full-divergence'))));
  },
  'compressed and torn': (folder) => {
    const whole = gzipSync(readFileSync(log('healthy')));
    writeFileSync(join(folder, 'log.jsonl.gz'), whole.subarray(0, whole.length - 400));
  },
};

type Tensors = Readonly<Record<string, readonly number[]>>;
const SOUND: Tensors = { 'param/w': [1, 2, 3], 'param/b': [1, 1], 'state/accumulator/w': [1, 4, 9] };

const saved =
  (steps: Readonly<Record<number, Tensors>>) =>
  async (folder: string): Promise<void> => {
    for (const [step, tensors] of Object.entries(steps))
      await writeSafetensors(
        join(folder, `step-${step}.safetensors`),
        Object.entries(tensors).map(([name, values]) => ({
          name,
          shape: [values.length],
          dtype: 'F32' as const,
          values: Float32Array.from(values),
        })),
      );
  };

/** Ways to leave checkpoints. */
const CHECKPOINTS: Readonly<Record<string, (folder: string) => Promise<void>>> = {
  sound: saved({ 100: SOUND, 200: { ...SOUND, 'param/w': [1, 2, 3.5], 'param/b': [1, 1.5] } }),
  'weights that become NaN': saved({ 100: SOUND, 200: { ...SOUND, 'param/w': [1, Number.NaN, 3] } }),
  'weights that are infinite from the first': saved({ 200: { ...SOUND, 'param/b': [Infinity, 1] } }),
  'an accumulator that starts again': saved({
    100: SOUND,
    200: { ...SOUND, 'state/accumulator/w': [1, 1, 1] },
  }),
  'a frozen tensor': saved({ 100: SOUND, 200: { ...SOUND, 'param/w': [2, 2, 3] } }),
  'a norm that jumps': saved({
    100: SOUND,
    200: { ...SOUND, 'param/w': [100, 200, 300], 'param/b': [90, 1] },
  }),
  'one that is cut': async (folder) => {
    await saved({ 100: SOUND, 200: SOUND })(folder);
    const path = join(folder, 'step-200.safetensors');
    writeFileSync(path, readFileSync(path).subarray(0, -4));
  },
};

interface Manifest {
  model?: string;
  curvature?: unknown;
  steps: { step: number; file: string; learningRate: number }[];
}

/** A capture of a fixture, around its onset; without its model, so that nothing is trained. */
const capture =
  (name: string, change: (manifest: Manifest, folder: string) => void = () => {}) =>
  (folder: string): void => {
    const at = join(folder, 'capture');
    cpSync(fixture(name), at, { recursive: true });
    rmSync(join(at, 'closed-loop.json'), { force: true });
    const path = join(at, 'capture.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
    delete manifest.model;
    for (const { file } of manifest.steps.splice(18)) rmSync(join(at, file));
    change(manifest, at);
    writeFileSync(path, JSON.stringify(manifest));
  };

/** Ways to leave a capture. */
export const CAPTURES: Readonly<Record<string, (folder: string) => void>> = {
  'of a divergence': capture('captures/seed-2'),
  'of a micro-divergence, with embeddings': capture('captures/embedding'),
  'of a NaN': capture('captures/nan'),
  'with another optimizer than the run had': capture('captures/seed-2', ({ steps }) => {
    for (const step of steps) step.learningRate *= 3;
  }),
  'of which a step is missing': capture('captures/micro-divergence', ({ steps }, at) =>
    rmSync(join(at, steps.at(-1)!.file)),
  ),
  'that ends within its first step': capture('captures/micro-divergence', ({ steps }, at) => {
    const path = join(at, steps[0]!.file);
    writeFileSync(path, readFileSync(path).subarray(0, 200));
  }),
};

/** A run of a folder: what it left, each a key of the above. */
export interface RunSpec {
  readonly log?: string;
  readonly checkpoints?: string;
  readonly capture?: string;
}
/** A folder: one run in it, or several in folders of their own. */
export type InputSpec = readonly RunSpec[];

export const nameOf = (spec: InputSpec): string =>
  spec
    .map(({ log, checkpoints, capture }) =>
      [log && `log: ${log}`, checkpoints && `checkpoints: ${checkpoints}`, capture && `capture: ${capture}`]
        .filter(Boolean)
        .join(', '),
    )
    .join(' | ');

/** Makes the folder. Its files are old: nothing is being written any more. */
export async function makeInput(spec: InputSpec, root: string): Promise<void> {
  for (const [k, { log, checkpoints, capture }] of spec.entries()) {
    const folder = spec.length === 1 ? root : join(root, `run-${k}`);
    mkdirSync(folder, { recursive: true });
    if (log !== undefined) LOGS[log]!(folder);
    if (checkpoints !== undefined) await CHECKPOINTS[checkpoints]!(folder);
    if (capture !== undefined) CAPTURES[capture]!(folder);
  }
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' }))
    utimesSync(join(root, name), 1e9, 1e9);
}

const keys = (table: object): string[] => Object.keys(table);

/** Every way once, the graver ones together, and several runs. */
export const INPUTS: readonly InputSpec[] = [
  ...keys(LOGS).map((log) => [{ log }]),
  ...keys(CHECKPOINTS).map((checkpoints) => [{ log: 'healthy', checkpoints }]),
  [{ checkpoints: 'weights that become NaN' }],
  ...keys(CAPTURES).map((one) => [{ capture: one }]),
  [{ log: 'full divergence', checkpoints: 'weights that become NaN', capture: 'of a divergence' }],
  [{ log: 'micro-divergence', capture: 'with another optimizer than the run had' }],
  [{ log: 'healthy' }, { log: 'full divergence' }],
  [{ log: 'healthy' }, { log: 'five steps' }, { capture: 'of a NaN' }],
  [
    { log: 'healthy', checkpoints: 'sound' },
    { log: 'healthy', checkpoints: 'weights that become NaN' },
  ],
];

const maybe = (table: object): fc.Arbitrary<string | undefined> =>
  fc.option(fc.constantFrom(...keys(table)), { nil: undefined });

/** Any of them. */
export const anyInput: fc.Arbitrary<InputSpec> = fc.array(
  fc
    .record({ log: maybe(LOGS), checkpoints: maybe(CHECKPOINTS), capture: maybe(CAPTURES) })
    .map(
      ({ log, checkpoints, capture }): RunSpec => ({
        ...(log === undefined ? {} : { log }),
        ...(checkpoints === undefined ? {} : { checkpoints }),
        ...(capture === undefined ? {} : { capture }),
      }),
    )
    .filter((run) => Object.keys(run).length > 0),
  { minLength: 1, maxLength: 3 },
);
