/** Whatever is done to the files of a capture, every byte of them is told, or the capture has an error. */
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { lostRecords, unaccounted } from '../../src/model/log.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { accountFault } from '../support/closes.ts';
import { damaged } from '../support/damaged-logs.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('capture-account');

/** Mutants: 200, and 10,000 at full length. */
const COUNT =
  process.env.CLIPPY_DIAG_FUZZ === undefined ? 200 : Math.ceil(Number(process.env.CLIPPY_DIAG_FUZZ) / 2);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_126);
const STEPS = 4;

/** Four steps of a matrix and an embedding of which a step has two rows, with batches and snapshots. */
async function small(folder: string): Promise<void> {
  const floats = (count: number, from: number): Float32Array =>
    Float32Array.from({ length: count }, (_, k) => from + k / 8);
  const writer = await createCapture(
    folder,
    {
      framework: 'none',
      optimizer: { name: 'adagrad', learningRate: 0.1 },
      clipping: { rule: 'global-norm', norm: 1 },
      parameters: [
        { name: 'w', shape: [2, 3], layout: 'IO', embedding: false },
        { name: 'table', shape: [5, 2], layout: 'none', embedding: true },
      ],
      history: { steps: [0, 1], loss: [2, 1.5] },
    },
    [floats(6, 1), floats(10, 0)],
    [{ accumulator: floats(6, 0.1) }, { accumulator: floats(10, 0.1) }],
  );
  for (let k = 0; k < STEPS; k++)
    await writer.step({
      step: 10 + k,
      learningRate: 0.1,
      loss: 1 / (k + 1),
      tasks: new Map([['ctr', 0.5]]),
      gradients: [{ values: floats(6, k) }, { values: floats(4, k), rows: Int32Array.from([1, 3]) }],
      parameters: [floats(6, k), floats(10, k)],
      batch: new Map([['x', { shape: [2, 2], dtype: 'F32', data: floats(4, k) }]]),
    });
  await writer.finish();
}

/** Why a capture does not hold what its account says; undefined where it does, or has an error that says so. */
async function faultOf(folder: string, counts: Map<string, number>): Promise<string | undefined> {
  const coded = async (work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      counts.set(error.code, (counts.get(error.code) ?? 0) + 1);
      return false;
    }
  };
  const capture = await openCapture(folder).catch((error: unknown) => {
    if (!(error instanceof DiagError)) throw error;
    counts.set(error.code, (counts.get(error.code) ?? 0) + 1);
    return undefined;
  });
  if (capture === undefined) return undefined;
  counts.set('opened', (counts.get('opened') ?? 0) + 1);
  const { account, lost, errors, steps, manifest } = capture;
  const fault = accountFault(account);
  if (fault !== undefined) return fault;
  if (unaccounted(account) !== 0) return `${unaccounted(account)} bytes are not told`;
  // Every file that belongs to a capture is in the account, whether or not the manifest names it.
  const sizes = new Map(readdirSync(folder).map((name) => [name, statSync(join(folder, name)).size]));
  const named = manifest.steps.map(({ file }) => file);
  const all = new Set(['capture.json', 'initial.safetensors', ...named, ...sizes.keys()]);
  if (
    manifest.model === null &&
    new Set(named).size === named.length &&
    named.every((file) => !file.includes('/'))
  ) {
    const bytes = [...all].reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
    if (account.bytes !== bytes) return `${account.bytes} of ${bytes} bytes`;
  }
  if (lost !== manifest.steps.length - steps.length) return `${lost} steps lost of ${manifest.steps.length}`;
  if ((lost > 0 || lostRecords(account) > 0) && errors.length === 0) return 'lost without an error';
  // What opened is read, or an error says why not.
  await coded(() => capture.initial('float32'));
  for (let k = 0; k < steps.length; k++) {
    await coded(() => capture.step(k, 'float64'));
    await coded(() => capture.batch(k));
  }
  return undefined;
}

describe('the account of a damaged capture closes', () => {
  it('whichever of its files is damaged, gone or there twice', async () => {
    const folder = join(scratch(), 'capture');
    await small(folder);
    const names = readdirSync(folder).sort();
    const whole = new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
    const counts = new Map<string, number>();
    expect(await faultOf(folder, counts)).toBeUndefined();
    expect([...counts]).toEqual([['opened', 1]]);
    for (let index = 0; index < COUNT; index++) {
      const name = names[index % names.length]!;
      const mutant = damaged({ name, bytes: whole.get(name)! }, SEED, index);
      const path = join(folder, name);
      const extra = join(folder, 'step-00000099.safetensors');
      if (index % 17 === 0) rmSync(path);
      else writeFileSync(path, mutant.bytes);
      if (index % 23 === 0) writeFileSync(extra, mutant.bytes);
      const label = `${name}, mutant ${index} of seed ${SEED} (${mutant.edits.join(', ')})`;
      const fault = await faultOf(folder, counts).catch((error: Error) => `throws ${error.stack}`);
      expect(fault, label).toBeUndefined();
      writeFileSync(path, whole.get(name)!);
      rmSync(extra, { force: true });
    }
    // Damage that is found in no place, or in one only, would test nothing.
    expect(counts.get('opened')).toBeGreaterThan(COUNT / 10);
    expect(counts.size).toBeGreaterThan(5);
  });
});
