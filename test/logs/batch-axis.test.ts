/** Steps that count the batches of an epoch are one axis; trainings that begin anew are attempts. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('batch-axis');

type Row = Readonly<Record<string, number>>;

async function read(rows: readonly Row[]) {
  const path = join(folder(), 't.jsonl');
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const { runs } = await readLogFile(path);
  return runs[0]!;
}

const healthy = (i: number): number => 0.4 + 0.6 * Math.exp(-i / 80) + 0.01 * Math.sin(i * i);
const rowsOf = (points: number, epoch: number, loss: (i: number) => number): Row[] =>
  Array.from({ length: points }, (_, i) => ({ step: i % epoch, loss: Number(loss(i).toFixed(5)) }));

describe('steps that begin again every epoch', () => {
  it.each([10, 20, 50, 100, 200])('of %i batches are one run that goes on', async (epoch) => {
    const run = await read(rowsOf(600, epoch, healthy));
    expect(run.attempts.length).toBe(1);
    expect(run.epochs).toEqual({ batches: epoch, first: 0 });
    expect([...run.series[0]!.step].every((step, i) => step === i)).toBe(true);
    expect(run.notes.join()).toContain(`begin again ${600 / epoch - 1} times at 0`);
    expect(judgeRun(run).verdict.class).toBe('healthy');
  });

  it.each([10, 50, 200])('show a loss that is lost in them: %i batches', async (epoch) => {
    const lost = await read(rowsOf(600, epoch, (i) => (i < 400 ? healthy(i) : 147 + Math.sin(i * i))));
    expect(judgeRun(lost).verdict).toMatchObject({ class: 'full-divergence', onsetStep: 400 });
    const climbs = await read(rowsOf(600, epoch, (i) => (i < 300 ? healthy(i) : 0.4 * 1.02 ** (i - 300))));
    expect(judgeRun(climbs).verdict.class).toBe('full-divergence');
  });

  it('leave alone a column whose own steps go on', async () => {
    const rows = rowsOf(300, 100, healthy).flatMap((row, i) =>
      i % 100 === 99 ? [row, { step: i + 1, val_loss: healthy(i) }] : [row],
    );
    const run = await read(rows);
    const evaluated = run.series.find(({ name }) => name === 'val_loss')!;
    expect([...evaluated.step]).toEqual([100, 200, 300]);
  });
});

describe('a training that begins anew', () => {
  it('is an attempt, however often it does', async () => {
    const run = await read(rowsOf(600, 100, (i) => healthy(i % 100)));
    expect(run.attempts.length).toBe(6);
    expect(run.epochs).toBeUndefined();
  });

  it('is inconclusive while it is far above the one before after as many points, and healthy where it is not', async () => {
    const first = rowsOf(400, 400, healthy);
    const next = (points: number, loss: (i: number) => number) =>
      read([...first, ...rowsOf(points, 400, loss)]).then((run) => judgeRun(run).verdict.class);
    for (const points of [10, 30])
      for (const level of [2.4, 150]) expect(await next(points, () => level)).toBe('inconclusive');
    expect(await next(30, healthy)).toBe('healthy');
    expect(await next(400, healthy)).toBe('healthy');
    expect(await next(200, () => 150)).toBe('never-learned');
  });
});
