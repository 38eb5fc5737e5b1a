/** Folders that `fit` of Keras leaves (fixtures/make/keras_stock.py), and series as its TensorBoard callback writes them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { copyOf } from '../../src/model/column.ts';
import { numberFromJson } from '../../src/model/json.ts';
import { kerasEvents } from '../../src/read/logs/keras-events.ts';
import { projectRoot } from '../support/shared-data.ts';

const analyzePaths = (paths: readonly string[]) =>
  analyze(paths, { toolVersion: '0', now: () => new Date() });

const folder = (name: string): string => join(projectRoot, 'fixtures/conventions', name, 'run');
const truthOf = (name: string): number[] =>
  (
    JSON.parse(readFileSync(join(projectRoot, 'fixtures/conventions', name, 'truth.json'), 'utf8')) as {
      loss: unknown[];
    }
  ).loss.map((value) => numberFromJson(value)!);

const ALL = ['keras-healthy', 'keras-bad-batch', 'keras-diverging', 'keras-nan'];

describe('the folder of a fit', () => {
  it.each(ALL)('%s is one run in steps, whose means are undone', async (name) => {
    const { logs, errors, skipped } = await collectInputs([folder(name)]);
    expect(errors).toEqual([]);
    expect(logs.map(({ format }) => format)).toEqual(['tfevents']);
    const [run] = logs[0]!.runs;
    expect(run).toMatchObject({ stepUnit: 'step', epochs: { batches: 24, first: 1 } });
    const seriesOf = (key: string) => run!.series.find((one) => one.name === key)!;
    const undone = seriesOf('batch_loss (per step)');
    expect(undone.role).toBe('loss');
    expect([...undone.step]).toEqual(Array.from({ length: 240 }, (_, k) => k + 1));
    const truth = truthOf(name);
    // Rounding of the mean to float32, times the batches of an epoch.
    for (const [k, value] of copyOf(undone.value).entries())
      if (!Number.isFinite(truth[k]!)) expect(Number.isFinite(value), `batch ${k}`).toBe(false);
      else if (Number.isFinite(value)) {
        const mean = Math.abs(seriesOf('batch_loss').value.at(k)!);
        expect(Math.abs(value - truth[k]!), `batch ${k}`).toBeLessThan(24 * 5e-7 * mean + 1e-6 * truth[k]!);
      }
    expect([...seriesOf('epoch_loss').step]).toEqual(Array.from({ length: 10 }, (_, k) => 24 * (k + 1)));
    expect(seriesOf('epoch_learning_rate').step.at(7)).toBe(169);
    expect(seriesOf('validation/epoch_loss').role).toBe('eval_loss');
    for (const told of ['batch_loss', 'epoch_loss', 'validation/evaluation_loss_vs_iterations'])
      expect(seriesOf(told), told).toMatchObject({ role: 'other' });
    expect(skipped.map(({ path, reason }) => `${path.slice(folder(name).length + 1)}: ${reason}`)).toEqual([
      'backup/training_metadata.json: the epoch at which BackupAndRestore of Keras would go on',
      expect.stringMatching(/^log\.csv: every value of it is in /) as unknown as string,
    ]);
  });

  it('is told once, in steps, with the epoch', async () => {
    const healthy = await analyzePaths([folder('keras-healthy')]);
    expect(healthy.runs.map(({ verdict }) => verdict.class)).toEqual(['healthy']);
    expect(healthy.runs[0]!.findings.filter(({ severity }) => severity !== 'note')).toEqual([]);

    const badBatch = await analyzePaths([folder('keras-bad-batch')]);
    expect(badBatch.verdict).toMatchObject({ class: 'micro-divergence', onsetStep: 181 });
    expect(badBatch.verdict.why).toContain('That step is batch 13 of epoch 7.');

    const nan = await analyzePaths([folder('keras-nan')]);
    expect(nan.verdict).toMatchObject({ class: 'non-finite', onsetStep: 181 });
  });

  it('links cause and effect, and names a checkpoint', async () => {
    const { runs } = await analyzePaths([folder('keras-diverging')]);
    expect(runs).toHaveLength(1);
    const { verdict, cause, rewind } = runs[0]!;
    expect(verdict.class).toBe('non-finite');
    expect(verdict.onsetStep).toBeGreaterThanOrEqual(169);
    expect(verdict.onsetStep).toBeLessThan(174);
    expect(JSON.stringify(cause)).toContain('the learning rate rises 60-fold to 1.2 at step 169');
    // The last one a tenth of the steps before the onset, and before the rate rose.
    expect(rewind?.rewindToCheckpoint).toBe(join(folder('keras-diverging'), 'm-06.keras'));
  });
});

/** What the callback writes at every `stride`-th batch, in the order of the file. */
function written(losses: readonly (readonly number[])[], stride = 1, raw = false) {
  const batch = { step: [] as number[], value: [] as number[], at: [] as number[] };
  const epoch = { step: [] as number[], value: [] as number[], at: [] as number[] };
  let position = 0;
  let step = 0;
  losses.forEach((own, k) => {
    let sum = 0;
    own.forEach((loss, i) => {
      sum += loss;
      step++;
      if (step % stride !== 0) return;
      batch.step.push(step);
      batch.value.push(Math.fround(raw ? loss : sum / (i + 1)));
      batch.at.push(position++);
    });
    epoch.step.push(k);
    epoch.value.push(Math.fround(sum / own.length));
    epoch.at.push(position++);
  });
  const series = (name: string, { step: steps, value, at }: typeof batch) => ({
    name,
    step: Float64Array.from(steps),
    value: Float64Array.from(value),
    byteOffset: Float64Array.from(at),
    missing: 0,
    refused: 0,
    pathOffsets: [0],
  });
  return [series('batch_loss', batch), series('epoch_loss', epoch)];
}

const noise = (i: number): number => 1 + ((i * 7919) % 101) / 100;
const epochsOf = (count: number, batches: number): number[][] =>
  Array.from({ length: count }, (_, e) => Array.from({ length: batches }, (_, i) => noise(e * batches + i)));

describe('tags of batches and epochs', () => {
  it.each([
    [1, 24],
    [4, 24],
    [5, 30],
    [8, 24],
  ])(
    'every %d batches of %d an epoch: batches per epoch are found, means of a stretch undone',
    (stride, batches) => {
      const losses = epochsOf(12, batches);
      const found = kerasEvents(written(losses, stride))!;
      expect(found.epochs).toEqual({ batches, first: 1 });
      const undone = found.series.find(({ name }) => name.includes('('))!;
      expect(undone.name).toBe(
        stride === 1 ? 'batch_loss (per step)' : `batch_loss (mean of ${stride} steps)`,
      );
      const flat = losses.flat();
      undone.value.forEach((value, k) => {
        const own = flat.slice(k * stride, (k + 1) * stride);
        expect(value).toBeCloseTo(own.reduce((a, b) => a + b) / stride, 4);
      });
    },
  );

  it('a value of one batch is left as it is, and a stride that hides the ends of epochs is said', () => {
    const found = kerasEvents(written(epochsOf(8, 24), 1, true))!;
    expect(found.series).toHaveLength(2);
    expect(found.notes.join()).toContain('judged as logged');
    const hidden = kerasEvents(written(epochsOf(8, 24), 7))!;
    expect(hidden.epochs?.batches).toBe(24);
    expect(hidden.notes.join()).toContain('judged as logged');
  });

  it('epochs of different lengths are not joined', () => {
    const found = kerasEvents(written([10, 40, 12, 50].flatMap((n) => epochsOf(1, n))))!;
    expect(found.epochs).toBeUndefined();
    expect(found.roles.get('epoch_loss')).toBe('other');
    expect(found.notes.join()).toContain('does not say how many batches');
  });

  it('epochs alone are called epochs', () => {
    const [, epoch] = written(epochsOf(8, 24));
    expect(kerasEvents([epoch!])).toMatchObject({ stepUnit: 'epoch', notes: [] });
  });

  it('what other programs write is left alone', () => {
    const [batch] = written(epochsOf(8, 24));
    expect(kerasEvents([batch!])).toBeUndefined();
  });
});
