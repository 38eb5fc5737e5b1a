/** Rows that tell the same epoch, and what they are counted by then. */
import { describe, expect, it } from 'vitest';
import type { Run } from '../../src/model/run.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const read = async (lines: readonly string[], name: string): Promise<Run> =>
  (await finishLog(await readRawStream(once(`${lines.join('\n')}\n`), name), { sidecars: false })).runs[0]!;
const lossOf = (run: Run): { steps: number[]; values: number[] } => {
  const { step, value } = run.series.find(({ role }) => role === 'loss')!;
  return { steps: Array.from(step), values: Array.from(value) };
};
const losses = [2.304, 1.948, 1.652, 1.431, 1.255, 1.127];
const rows = losses.map((_, k) => k);

describe('printed lines of one epoch', () => {
  const line = (epoch: number, loss: number): string => `INFO :: Epoch ${epoch}: average loss: ${loss}`;

  it('that come several times with the same values are one', async () => {
    const run = await read(
      losses.flatMap((loss, k) => Array<string>(3 + (k % 2)).fill(line(k + 1, loss))),
      'a.log',
    );
    expect(run.stepUnit).toBe('epoch');
    const { steps, values } = lossOf(run);
    expect(steps).toEqual([1, 2, 3, 4, 5, 6]);
    for (const [k, value] of values.entries()) expect(value).toBeCloseTo(losses[k]!, 12);
  });

  it('are rows where their values differ', async () => {
    const run = await read(
      losses.map((loss, k) => line(Math.floor(k / 2), loss)),
      'a.log',
    );
    expect(run.stepUnit).toBe('row');
    expect(lossOf(run)).toEqual({ steps: rows, values: losses });
  });

  it('are epochs where training began again right after its first one', async () => {
    const run = await read(
      [1, 2, 3, 4, 1, 1, 2, 3, 4].map((epoch, k) => line(epoch, 2 / epoch + k / 100)),
      'a.log',
    );
    expect(run.stepUnit).toBe('epoch');
    expect(lossOf(run).steps).toEqual([1, 2, 3, 4, 1, 1, 2, 3, 4]);
    expect(run.series[0]!.attemptOffsets).toEqual([0, 4, 5]);
  });

  it('are rows of several attempts where the epochs begin again', async () => {
    const run = await read(
      [1, 2, 3, 1, 2, 3].flatMap((epoch, k) => [line(epoch, 2 / epoch), line(epoch, 1.9 / epoch + k / 100)]),
      'a.log',
    );
    expect(run.stepUnit).toBe('row');
    expect(run.series[0]!.attemptOffsets).toEqual([0, 6]);
  });

  it('are what came since the line before where they are means since the epoch began', async () => {
    const noise = (k: number): number => 1 + 0.3 * Math.sin(12.9898 * k * k);
    const truth = Array.from({ length: 200 }, (_, k) => noise(k) / (1 + k / 20));
    const means = truth.map((_, k) => {
      const begin = k - (k % 10);
      return truth.slice(begin, k + 1).reduce((a, b) => a + b, 0) / (k + 1 - begin);
    });
    const run = await read(
      means.map((mean, k) => line(1 + Math.floor(k / 10), mean)),
      'a.log',
    );
    for (const [k, value] of lossOf(run).values.entries()) expect(value).toBeCloseTo(truth[k]!, 9);
    expect(run.notes.join()).toContain('each point is the mean of what came since the line before it');
  });

  it('are rows of an epoch that has not ended', async () => {
    const run = await read(
      losses.map((loss) => `BMN training loss(epoch 0): tem_loss: 1.184, total_loss: ${loss}`),
      'a.log',
    );
    expect(run.stepUnit).toBe('row');
    expect(lossOf(run)).toEqual({ steps: rows, values: losses });
  });
});

describe('records', () => {
  const record = (extra: object, loss: number): string => JSON.stringify({ loss, ...extra });

  it('of one epoch without a step are rows', async () => {
    const run = await read(
      losses.map((loss) => record({ epoch: 0, lr: 1e-3 }, loss)),
      'a.jsonl',
    );
    expect(run.stepUnit).toBe('row');
    expect(lossOf(run)).toEqual({ steps: rows, values: losses });
  });

  it('whose epoch moves stay epochs', async () => {
    const run = await read(
      losses.map((loss, k) => record({ epoch: k < 5 ? 0 : 1, lr: 1e-3 }, loss)),
      'a.jsonl',
    );
    expect(run.stepUnit).toBe('epoch');
  });

  it('of a policy are counted by its episodes, which begin again with a second run', async () => {
    const run = await read(
      [...losses, ...losses].map((loss, k) => record({ episode: k % losses.length, reward: k }, loss)),
      'a.jsonl',
    );
    expect(lossOf(run)).toEqual({ steps: [...rows, ...rows], values: [...losses, ...losses] });
    expect(run.attempts).toHaveLength(2);
  });

  it('whose episodes are shuffled are rows', async () => {
    const run = await read(
      losses.map((loss, k) => record({ episode: [5, 3, 4, 1, 2, 0][k] }, loss)),
      'a.jsonl',
    );
    expect(run.stepUnit).toBe('row');
  });
});
