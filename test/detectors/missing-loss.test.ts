import { describe, expect, it } from 'vitest';
import { missingLoss } from '../../src/judge/detectors/missing-loss.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { findingsOf } from './runs.ts';

interface Row {
  readonly current_steps: number;
  readonly loss: number | null;
  readonly learning_rate: number | null;
}
const rows = (count: number): Row[] =>
  Array.from({ length: count }, (_, k) => ({
    current_steps: 5 * (k + 1),
    loss: 2 - 0.01 * k,
    learning_rate: 1e-4 - 1e-6 * k,
  }));

/** What is said of a trainer_log.jsonl of LLaMA-Factory. */
async function findings(log: readonly Row[]) {
  const chunks = (async function* () {
    yield Buffer.from(log.map((row) => `${JSON.stringify(row)}\n`).join(''));
  })();
  const { runs } = await finishLog(await readRawStream(chunks, 'trainer_log.jsonl'), { sidecars: false });
  return findingsOf(missingLoss, runs[0]!);
}

describe('a loss that is null in the last row', () => {
  it('is no loss that is missing where the learning rate is null too: the row is the summary', async () => {
    expect(await findings([...rows(50), { current_steps: 252, loss: null, learning_rate: null }])).toEqual(
      [],
    );
  });

  it('is one where the learning rate is not, or a row before is so', async () => {
    expect(
      await findings([...rows(50), { current_steps: 255, loss: null, learning_rate: 1e-5 }]),
    ).toHaveLength(1);
    const cut = rows(50).map((row, k) => (k === 30 ? { ...row, loss: null, learning_rate: null } : row));
    expect(await findings(cut)).toHaveLength(1);
  });

  it('is one where several rows are', async () => {
    const last = [251, 252, 253].map((step) => ({ current_steps: step, loss: null, learning_rate: null }));
    expect(await findings([...rows(50), ...last])).toHaveLength(1);
  });
});
