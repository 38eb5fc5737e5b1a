/** Lines after the heading of an evaluation that look as those of training do, and their controls: lines that are of training. */
import { describe, expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const points = async (lines: readonly string[]): Promise<Record<string, number>> => {
  const log = await readRawStream(once(`${lines.join('\n')}\n`), 'train.log');
  const { runs } = await finishLog(log, { sidecars: false });
  return Object.fromEntries(runs[0]!.series.map(({ name, value }) => [name, value.length]));
};
const line = (epoch: number, batch: number, loss: number): string =>
  `Epoch ${epoch} | Iter ${batch} | Loss ${loss.toFixed(4)}`;
const epoch = (at: number): string[] =>
  Array.from({ length: 10 }, (_, k) => line(at, k * 10, 2 / (1 + at + k / 10)));
const HEADING = 'Cross validation...';

describe('lines after the heading of an evaluation', () => {
  it('are of it where their epoch has not ended and their counter has started again', async () => {
    const test = [line(0, 0, 1.2), line(0, 10, 1.3)];
    expect(await points([...epoch(0), HEADING, ...test, ...epoch(1)])).toEqual({ Loss: 20, 'eval Loss': 1 });
  });
  it('are of training where the evaluation has lines of its own', async () => {
    const told = [HEADING, 'Valid Loss 1.31'];
    expect((await points([...epoch(0), ...told, ...epoch(1), ...told])).Loss).toBe(20);
  });
  it('are of training where it goes on in its epoch', async () => {
    const all = epoch(0);
    expect(await points([...all.slice(0, 5), HEADING, ...all.slice(5)])).toEqual({ Loss: 10 });
  });
  it('are of training where it begins again after the job died', async () => {
    const died = ['Traceback (most recent call last):', '  File "a.py", line 3, in b', 'KeyError', 'again'];
    expect(await points([...epoch(0), HEADING, ...died, ...epoch(0), ...epoch(1)])).toEqual({ Loss: 30 });
  });
  it('are of training where another seed begins', async () => {
    const seeds = [...epoch(0), 'Testing...', ...epoch(0), 'Testing...', ...epoch(0)];
    expect(await points(seeds)).toEqual({ Loss: 30 });
    const told = ['Testing...', 'Test accuracy: 0.81', '== seed =='];
    expect(await points([...epoch(0), ...told, ...epoch(0).slice(0, 5)])).toMatchObject({ Loss: 15 });
  });
  it('are of training where the log tells no epochs', async () => {
    const pass = (at: number): string[] =>
      Array.from({ length: 10 }, (_, k) => `[${k * 10}/100] loss ${(2 / (1 + at + k / 10)).toFixed(4)}`);
    expect(await points([...pass(0), 'Running evaluation', ...pass(1), ...pass(2)])).toEqual({ loss: 30 });
  });
});

describe('a line that says first that it is of an evaluation', () => {
  const trained = Array.from({ length: 20 }, (_, k) => `step=${10 * k} loss=${(2 / (k + 1)).toFixed(4)}`);
  const among = (line: string) => trained.flatMap((one, k) => (k % 4 === 3 ? [one, line] : [one]));
  it('has its losses there, though only its first name says so', async () => {
    expect(await points(among('step=30 valid auc=0.5012 logloss=0.6931'))).toMatchObject({
      loss: 20,
      'valid auc': 5,
      'eval logloss': 5,
    });
  });
  it('and not where training is named too, or the word is a part of the name', async () => {
    for (const line of ['step=30 valid auc=0.5012 train nll=0.6931', 'step=30 val_acc=0.5012 nll=0.6931'])
      expect(Object.keys(await points(among(line))).filter((name) => name.startsWith('eval'))).toEqual([]);
  });
});
