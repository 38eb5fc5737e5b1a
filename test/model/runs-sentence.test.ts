import { describe, expect, it } from 'vitest';
import type { RunsTable, TableRow } from '../../src/model/report.ts';
import { fisher, sweepSentence } from '../../src/model/runs-sentence.ts';
import { random } from '../support/random.ts';

const table = (rows: readonly TableRow[], ...settings: string[]): RunsTable => ({
  columns: ['run', 'class', 'onset', 'best', 'last', ...settings],
  rows,
});
const RATES = [0.0003, 0.001, 0.01, 0.1, 1];
/** Two optimizers and three seeds at five rates. */
const sweep = (failsAt: (rate: number, optimizer: string, seed: number) => boolean): RunsTable =>
  table(
    RATES.flatMap((lr) =>
      ['adam', 'sgd'].flatMap((optimizer) =>
        [0, 1, 2].map((seed) => ({
          run: `${lr}/${optimizer}/${seed}`,
          class: failsAt(lr, optimizer, seed) ? 'never-learned' : 'healthy',
          onset: null,
          best: 1,
          last: 1,
          lr,
          optimizer,
          seed,
        })),
      ),
    ),
    'lr',
    'optimizer',
    'seed',
  );

describe('a sweep ends in a sentence', () => {
  it('on the value at which all fail', () =>
    expect(sweepSentence(sweep((lr) => lr === 1))).toBe(
      '6 of 6 runs with lr = 1 fail; of the 24 others none does.',
    ));
  it('on the rate from which on they fail, and how many others do', () =>
    expect(
      sweepSentence(
        sweep((lr, optimizer, seed) => lr >= 0.1 || (lr === 0.001 && optimizer === 'sgd' && seed === 0)),
      ),
    ).toBe('12 of 12 runs with lr ≥ 0.1 fail; of the 18 others 1 does.'));
  it('on a setting that is a name', () =>
    expect(sweepSentence(sweep((_, optimizer) => optimizer === 'sgd'))).toBe(
      '15 of 15 runs with optimizer = sgd fail; of the 15 others none does.',
    ));
  it('that says so where nothing separates them beyond chance', () => {
    expect(
      sweepSentence(sweep((lr, optimizer, seed) => lr === 0.01 && optimizer === 'sgd' && seed === 1)),
    ).toBe('1 of 30 runs fails; no setting separates it from the others beyond chance.');
    expect(sweepSentence(sweep((lr, _, seed) => seed === 1 && lr < 0.1))).toMatch(/beyond chance|seed = 1/);
  });
  it('but not where none failed, all did, or nothing differs', () => {
    expect(sweepSentence(sweep(() => false))).toBeNull();
    expect(sweepSentence(sweep(() => true))).toBeNull();
    expect(
      sweepSentence(
        table([
          { run: 'a', class: 'non-finite' },
          { run: 'b', class: 'healthy' },
        ]),
      ),
    ).toBeNull();
    expect(sweepSentence(table([]))).toBeNull();
  });
  it('names a setting of no effect in at most 3 of 100 sweeps whose failures are drawn', () => {
    const draw = random(11);
    let named = 0;
    for (let k = 0; k < 100; k++)
      if (!/beyond chance/.test(sweepSentence(sweep(() => draw() < 0.3)) ?? 'beyond chance')) named++;
    expect(named).toBeLessThanOrEqual(3);
  });
});

it('the exact test is that of Fisher', () => {
  // Tea and milk: 4 of 4 right of 8 cups.
  expect(fisher(8, 4, 4, 4)).toBeCloseTo(1 / 70, 12);
  expect(fisher(8, 4, 4, 3)).toBeCloseTo(17 / 70, 12);
  expect(fisher(8, 4, 4, 0)).toBeCloseTo(1, 12);
});
