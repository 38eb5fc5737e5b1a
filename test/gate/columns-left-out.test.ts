/** A column that is a loss by its name and that nobody judged: parts explain, the whole decides, and what is neither stops a gate. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { cli } from '../support/cli.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('columns-left-out');
const POINTS = 400;

/** Writes a healthy loss that falls from 2.3 to 0.3, with columns made from its step, its value and noise of ±0.02. */
function logWith(
  columns: (step: number, loss: number, noise: number) => Readonly<Record<string, number>>,
): string {
  const next = random(46);
  const noise = (): number => 0.04 * (next() - 0.5);
  const rows = Array.from({ length: POINTS }, (_, step) => {
    const loss = 2 * Math.exp(-step / 80) + 0.3 + noise();
    return JSON.stringify({ step, loss, ...columns(step, loss, noise()) });
  });
  const path = join(folder(), 'log.jsonl');
  writeFileSync(path, `${rows.join('\n')}\n`);
  return path;
}

/** The exit codes of the gate on a log and on its saved report, and what the latter says of the columns. */
async function routes(path: string) {
  const saved = join(folder(), 'report.json');
  const analyzed = await cli(['analyze', path, '--json']);
  writeFileSync(saved, analyzed.out);
  const { runs } = JSON.parse(analyzed.out) as Report;
  const [fromLog, fromReport] = [await cli(['gate', path]), await cli(['gate', saved])];
  return {
    codes: [fromLog.code, fromReport.code],
    class: runs[0]!.verdict.class,
    proof: runs[0]!.verdict.provenBy!.judged,
    out: fromLog.out,
  };
}

const FAULTS: Readonly<Record<string, Parameters<typeof logWith>[0]>> = {
  'explodes late and is held at 147': (step, loss, noise) => ({
    loss_v2: step < 250 ? loss + noise : Math.min(147, loss * Math.exp((step - 250) / 8)),
  }),
  'jumps early and stays': (step, loss, noise) => ({ loss_v2: step < 60 ? loss + noise : 500 + noise }),
  'has left in the last points alone': (step, loss) => ({ loss_v2: step < POINTS - 6 ? loss : 1e6 }),
  'fell far below the whole before': (step, loss) => ({
    contrastive_loss: step < 300 ? loss * Math.exp(-step / 40) : 90,
  }),
};
test.each(Object.keys(FAULTS))('a loss that %s beside a healthy one is no passed gate', async (name) => {
  const { codes, class: found, proof, out } = await routes(logWith(FAULTS[name]!));
  expect([codes, found, proof.holds]).toEqual([[4, 4], 'inconclusive', false]);
  expect(proof.statement).toMatch(
    /^"(loss_v2|contrastive_loss)" ends at .+, up from .+ at step \d+, and is no part of "loss", which ends at 0\.3/,
  );
  expect(out).toContain(proof.statement);
});

const HEALTHY: Readonly<Record<string, Parameters<typeof logWith>[0]>> = {
  'a term that is switched on late': (step, _, noise) => ({ aux_loss: step < 200 ? 0 : 0.2 + noise }),
  'a term that is switched on late and stands above the whole': (step, _, noise) => ({
    contrastive_loss: step < 200 ? 0 : 6 + noise,
  }),
  'an auxiliary loss that grows to a share of the total': (step) => ({ aux_loss: 0.002 + 0.0002 * step }),
  'a divergence from the prior that begins at a tenth of the whole and grows far above it': (
    step,
    _,
    noise,
  ) => ({
    kl_loss: 0.3 + 25 * (1 - Math.exp(-step / 100)) + noise,
  }),
  'losses of a value and of a policy': (step, loss, noise) => ({
    value_loss: 0.4 * loss + 0.02 * Math.sin(step / 9) + Math.abs(noise),
    policy_loss: noise,
  }),
  'a value loss alone that grows with the rewards': (step, _, noise) => ({
    value_loss: 0.3 + step / 300 + noise,
  }),
  'a copy under another name': (_, loss, noise) => ({ loss_v2: loss + noise }),
  'a copy in other units': (_, loss) => ({ loss_v2: 1000 * loss }),
  'a sum over the batch': (_, loss) => ({ loss_sum: 256 * loss }),
  'a loss that jumped once and came back': (step, loss) => ({ loss_v2: step === 200 ? 400 : loss }),
  'a loss below zero': (step, loss) => ({ score_loss: -loss - step / 10 }),
};
test.each(Object.keys(HEALTHY))('%s passes', async (name) => {
  const { codes, class: found, proof } = await routes(logWith(HEALTHY[name]!));
  expect([codes, found, proof.holds]).toEqual([[0, 0], 'healthy', true]);
});
/** Spellings of the name of a second loss: what says which one of several may follow with any mark, or with none. */
const SPELLINGS = [
  'loss2',
  'lossv2',
  'LOSS2',
  'loss_2',
  'loss#2',
  'loss(2)',
  'loss[2]',
  'loss²',
  'lossB',
  'trainLoss2',
  'train/loss2',
  'nll2',
  'ce1',
  'bce2',
  'xloss2',
  'losstotal2',
];
const FORMATS: Readonly<Record<string, (rows: readonly Record<string, number>[]) => string>> = {
  'log.jsonl': (rows) => rows.map((row) => JSON.stringify(row)).join('\n'),
  'log.csv': (rows) =>
    [Object.keys(rows[0]!).join(','), ...rows.map((row) => Object.values(row).join(','))].join('\n'),
  'log.txt': (rows) =>
    rows
      .map((row) =>
        Object.entries(row)
          .map(([name, value]) => `${name}: ${value}`)
          .join(', '),
      )
      .join('\n'),
};
describe.each(Object.keys(FORMATS))('a second loss in %s', (file) => {
  const logOf = (columns: (loss: number, bad: number) => Record<string, number>): string => {
    const next = random(47);
    const rows = Array.from({ length: POINTS }, (_, step) => {
      const loss = 2 * Math.exp(-step / 80) + 0.3 + 0.04 * (next() - 0.5);
      return { step, ...columns(loss, step < 250 ? loss : Math.min(147, loss * Math.exp((step - 250) / 8))) };
    });
    const path = join(folder(), file);
    writeFileSync(path, `${FORMATS[file]!(rows)}\n`);
    return path;
  };
  test.each(SPELLINGS)(
    '%s that diverges fails beside a healthy loss and alone, and passes where it is healthy',
    async (name) => {
      const beside = await cli(['gate', logOf((loss, bad) => ({ loss, [name]: bad }))]);
      const alone = await cli(['gate', logOf((_, bad) => ({ [name]: bad }))]);
      const twin = await cli(['gate', logOf((loss) => ({ loss, [name]: loss + 0.01 }))]);
      expect({ beside: beside.code !== 0, alone: alone.code, twin: twin.code }).toEqual({
        beside: true,
        alone: 1,
        twin: 0,
      });
    },
  );
});

test('a user who says which column is the loss has said that the others are none', async () => {
  const path = logWith(FAULTS['jumps early and stays']!);
  expect((await cli(['gate', path, '--map', 'loss=loss'])).code).toBe(0);
  expect((await cli(['gate', path, '--map', 'loss_v2=loss'])).code).not.toBe(0);
});
