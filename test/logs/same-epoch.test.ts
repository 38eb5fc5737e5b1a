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
