import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { undoRunningMeans } from '../../src/read/logs/running-means.ts';
import { random } from '../support/random.ts';

interface Printed {
  readonly value: Float64Array;
  readonly batch: Float64Array;
  readonly epoch: Float64Array;
  /** The mean of the batches since the point before. */
  readonly own: Float64Array;
}

/** What is printed of noisy batch losses, every `every` of 100 batches in each of some epochs, counted from 0. */
function printed(
  show: (since: readonly number[], last: readonly number[]) => number,
  loss: (step: number) => number = (step) => 1 + 2 * Math.exp(-step / 150),
  { epochs = 20, every = 10, digits = 6 } = {},
): Printed {
  const next = random(3);
  const rows: [number, number, number, number][] = [];
  for (let e = 0; e < epochs; e++) {
    const since: number[] = [];
    let last: number[] = [];
    for (let b = 0; b < 100; b++) {
      const one = loss(100 * e + b) * (0.7 + 0.6 * next());
      since.push(one);
      last.push(one);
      if (b % every !== 0) continue;
      rows.push([
        e,
        b,
        Number(show(since, last).toFixed(digits)),
        last.reduce((a, c) => a + c, 0) / last.length,
      ]);
      last = [];
    }
  }
  const column = (k: number): Float64Array => Float64Array.from(rows, (row) => row[k]!);
  return { epoch: column(0), batch: column(1), value: column(2), own: column(3) };
}
const mean = (all: readonly number[]): number => all.reduce((a, b) => a + b, 0) / all.length;
const undo = ({ value, batch, epoch }: Printed) => undoRunningMeans(value, batch, epoch);

describe('means since an epoch began', () => {
  it('are undone, without the first point of each epoch, which is one batch', () => {
    const log = printed(mean);
    const undone = undo(log)!;
    expect(undone.batches).toBe(10);
    expect(
      [...undone.hidden].map((one, k) => (one === 1 ? log.batch[k] : -1)).filter((one) => one! >= 0),
    ).toEqual(Array.from({ length: 20 }, () => 0));
    for (const [k, one] of log.own.entries())
      if (undone.hidden[k] === 0) expect(undone.value[k]).toBeCloseTo(one, 3);
  });

  it('are not seen in the losses of batches, whose noise looks like them now and then', () => {
    const next = random(11);
    const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
    let undone = 0;
    for (let run = 0; run < 300; run++) {
      const rows = Array.from({ length: 200 }, (_, k) => [
        Number(((0.5 + 2 * Math.exp(-k / 50)) * Math.exp(0.03 * normal())).toFixed(4)),
        k % 50,
        Math.floor(k / 50),
      ]);
      const column = (k: number): Float64Array => Float64Array.from(rows, (row) => row[k]!);
      if (undoRunningMeans(column(0), column(1), column(2)) !== null) undone++;
    }
    expect(undone).toBe(0);
  });

  it('stay no numbers to the end of an epoch', () => {
    const log = printed(mean);
    for (let k = 34; k < 40; k++) log.value[k] = Number.NaN;
    const { value } = undo(log)!;
    expect([...value.subarray(34, 40)].every(Number.isNaN)).toBe(true);
    expect(value.subarray(40).every(Number.isFinite)).toBe(true);
  });
});

describe('other losses are left as they are', () => {
  it.each<[string, Printed]>([
    ['that of the last batch', printed((_, last) => last.at(-1)!)],
    ['the mean of the last ten', printed((_, last) => mean(last))],
    [
      'a smoothed one',
      (() => {
        let ema = 3;
        return printed((_, last) => (ema = 0.9 * ema + 0.1 * mean(last)));
      })(),
    ],
    ['one that falls without noise', printed((since) => 3 / Math.sqrt(10 + since.length))],
    ['one whose rounding hides the batches', printed(mean, undefined, { digits: 2, every: 1 })],
    ['means of two epochs', printed(mean, undefined, { epochs: 2 })],
    ['four points an epoch', printed(mean, undefined, { every: 25, epochs: 20 })],
  ])('%s', (_, log) => {
    expect(undo(log)).toBeNull();
  });
});

describe('of losses of single batches', () => {
  it.each<[string, (step: number) => number]>([
    ['of runs that are lost half way', (step) => (step < 100 ? 0.12 + 0.8 * Math.exp(-step / 30) : 40)],
    ['of runs that go well', (step) => 0.12 + 0.8 * Math.exp(-step / 30)],
  ])('%s hardly any is taken for a mean by chance', (_, level) => {
    const batch = Float64Array.from({ length: 200 }, (_, k) => 10 * (k % 20));
    const epoch = Float64Array.from({ length: 200 }, (_, k) => Math.floor(k / 20));
    let taken = 0;
    for (let seed = 1; seed <= 1000; seed++) {
      const next = random(seed);
      if (
        undoRunningMeans(
          batch.map((_, k) => level(k) * (0.7 + 0.6 * next())),
          batch,
          epoch,
        ) !== null
      )
        taken++;
    }
    expect(taken).toBeLessThanOrEqual(4);
  });
});

describe('a printed log of means', () => {
  const judge = async (log: Printed, line: (e: number, b: number, k: number) => string) => {
    const text = [...log.value]
      .map((one, k) => `${line(log.epoch[k]!, log.batch[k]!, k)}, Loss: ${one.toFixed(6)}\n`)
      .join('');
    const chunks = (async function* () {
      yield Buffer.from(text);
    })();
    const { runs } = await finishLog(await readRawStream(chunks, 'train.log'), { sidecars: false });
    return { ...judgeRun(runs[0]!).verdict, notes: runs[0]!.notes.join('\n') };
  };
  const settled = (step: number): number => (step < 100 ? 2 : 1);
  const within = (e: number, b: number): string => `Epoch: [${e}/40] Iter: [${b}/100]`;

  it('shows no incident where an epoch begins, by a counter of the epoch or of the run', async () => {
    const log = printed(mean, settled, { epochs: 40 });
    const found = await judge(log, within);
    expect(found.class).toBe('healthy');
    expect(found.notes).toMatch(
      /"Loss" is the mean since the epoch began.*the mean of the 10 batches before/,
    );
    const counted = await judge(log, (e, b) => `epoch:${e} iter:${100 * e + b}`);
    expect(counted).toMatchObject({ class: 'healthy' });
    expect(counted.notes).toMatch(/is the mean since the epoch began/);
  });

  it('shows the jump that a mean hides', async () => {
    const log = printed(mean, (step) => settled(step) * (step >= 2560 && step < 2580 ? 6 : 1), {
      epochs: 40,
    });
    expect(Math.max(...log.value.subarray(256, 260))).toBeLessThan(2.5);
    const found = await judge(log, within);
    expect(found).toMatchObject({ class: 'micro-divergence', onsetStep: 2560 });
    const [incident] = found.incidents;
    expect(incident!.peak).toBeGreaterThan(5);
  });
});

it('leaves one loss of many that looks like such a mean by chance', async () => {
  const means = printed(mean);
  const next = random(5);
  const others = (): string =>
    ['b', 'c', 'd', 'e'].map((name) => `loss_${name}: ${(0.5 + next()).toFixed(4)}`).join(' ');
  const notesOf = async (rest: () => string): Promise<string> => {
    const lines = Array.from(
      means.value,
      (one, k) =>
        `[batch ${means.batch[k]! + 1}/100, epoch ${means.epoch[k]! + 1}/20]: loss_a: ${one} ${rest()}`,
    );
    const text = `${lines.join('\n')}\n`;
    const raw = await readRawStream(
      (async function* () {
        yield Buffer.from(text);
      })(),
      'train.log',
    );
    return (await finishLog(raw, { sidecars: false })).runs[0]!.notes.join();
  };
  expect(await notesOf(() => '')).toContain('"loss_a" is the mean since the epoch began');
  expect(await notesOf(others)).not.toContain('since the epoch began');
});
