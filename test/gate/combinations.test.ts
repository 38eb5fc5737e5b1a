/**
 * No fault passes the gate and no healthy run fails it: seeded combinations of what goes wrong with what else is logged, the
 * format, the layout of folders and the policy. Healthy controls are drawn as often as faults, from the same layouts and policies.
 *
 * `CLIPPY_DIAG_FUZZ` draws so many instead (20,000 at most), from `CLIPPY_DIAG_FUZZ_SEED`; a failure prints what it was made of.
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { PRESETS } from '../../src/app/gate/presets.ts';
import type { LogFile } from '../support/log-faults.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { eventOf } from '../support/training-logs.ts';
import { evidenceOf, judged, RULES, skipping } from './log-faults.ts';

const scratch = scratchFolders('gate-combinations');
/** A fiftieth of a second each: a soak asks every test for far more inputs than that. */
const COMBINATIONS = Math.min(Number(process.env.CLIPPY_DIAG_FUZZ ?? 300), 20_000);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_130);

/** A step's cells by the names of their columns; NaN and infinities are values. */
type Cells = Readonly<Record<string, number>>;
/** What a column is at a step, by the loss there, the share of the run that is done, the onset and a noise in (-1, 1). */
type Made = (loss: number, done: number, onset: number, noise: number) => number;

const after =
  (bad: Made): Made =>
  (loss, done, onset, noise) =>
    done < onset ? loss : bad(loss, done, onset, noise);

/** What the loss itself does: each is told by `recommended`. */
const LOSS_FAULTS: Readonly<Record<string, Made>> = {
  'is NaN to the end': after(() => Number.NaN),
  'is infinite to the end': after(() => Number.POSITIVE_INFINITY),
  'jumps a hundredfold and stays': after((loss) => 100 * loss),
  'explodes and is held at 147': after((loss, done, onset) =>
    Math.min(147, loss * Math.exp(60 * (done - onset))),
  ),
  'explodes and is held at 1e6': after((loss, done, onset) =>
    Math.min(1e6, loss * Math.exp(99 * (done - onset))),
  ),
};
/** What a second loss does beside a healthy one: no sum that ends where that one does contains it. */
const COLUMN_FAULTS: Readonly<Record<string, Made>> = {
  ...LOSS_FAULTS,
  'jumps a thousandfold and stays': after((loss) => 1000 * loss),
};
/** What a second loss does in runs that go well. */
const COLUMN_CONTROLS: Readonly<Record<string, Made>> = {
  'is a copy': (loss) => loss,
  'is a noisy copy': (loss, _, __, noise) => loss * (1 + 0.03 * noise),
  'is a sum over a batch': (loss) => 64 * loss,
  'is a small share': (loss) => 0.05 * loss,
  'is switched on late': (_, done, onset, noise) => (done < onset ? 0 : 0.2 + 0.01 * noise),
  'is switched on late, above the whole': (_, done, onset, noise) => (done < onset ? 0 : 3 + 0.1 * noise),
  'begins low and grows to a share': (_, done) => 0.002 + 0.05 * done,
  'is switched off late': after(() => 0),
  'falls faster': (loss, done) => loss * Math.exp(-3 * done),
};
/** Names of second losses: of another version, of a term, of a group. */
const COLUMN_NAMES = [
  'loss_v2',
  'loss2',
  'nll1',
  'loss#b',
  'aux_loss',
  'my_loss',
  'contrastive_loss',
  'extra/loss_b',
];

const STEPS = 160;
/** A healthy training, or one with a fault in the loss or in a second column. */
function rowsOf(loss: Made, column: readonly [string, Made] | undefined, onset: number, noise: () => number) {
  return Array.from({ length: STEPS }, (_, k): Cells => {
    const done = k / STEPS;
    const calm = (0.5 + 1.5 * Math.exp(-5 * done)) * (1 + 0.04 * noise());
    return {
      step: k,
      loss: loss(calm, done, onset, noise()),
      ...(column === undefined ? {} : { [column[0]]: column[1](calm, done, onset, noise()) }),
      lr: 0.001,
    };
  });
}

/** As Python prints it: NaN and Infinity in JSON, nan and inf elsewhere. */
const printed = (value: number, digits = 5): string =>
  Number.isNaN(value)
    ? 'nan'
    : Number.isFinite(value)
      ? `${Number(value.toPrecision(digits))}`
      : value > 0
        ? 'inf'
        : '-inf';
const table =
  (separator: string) =>
  (rows: readonly Cells[]): Buffer =>
    Buffer.from(
      [Object.keys(rows[0]!), ...rows.map((row) => Object.values(row).map((value) => printed(value)))]
        .map((cells) => `${cells.join(separator)}\n`)
        .join(''),
    );
const json = (row: Cells): string =>
  `{${Object.entries(row)
    .map(([name, value]) => `"${name}": ${Number.isFinite(value) ? printed(value) : value}`)
    .join(', ')}}`;

const FORMATS: Readonly<Record<string, readonly [file: string, write: (rows: readonly Cells[]) => Buffer]>> =
  {
    CSV: ['log.csv', table(',')],
    TSV: ['log.tsv', table('\t')],
    'JSON lines': ['log.jsonl', (rows) => Buffer.from(rows.map((row) => `${json(row)}\n`).join(''))],
    'a JSON document': ['log.json', (rows) => Buffer.from(`[\n${rows.map(json).join(',\n')}\n]\n`)],
    'the state of a Trainer': [
      'trainer_state.json',
      (rows) => Buffer.from(`{"log_history": [\n${rows.map(json).join(',\n')}\n]}\n`),
    ],
    'printed pairs': [
      'train.log',
      (rows) =>
        Buffer.from(
          rows
            .map((row) =>
              Object.entries(row)
                .map(([name, value]) => `${name}=${printed(value)}`)
                .join(' '),
            )
            .join('\n')
            .concat('\n'),
        ),
    ],
    events: [
      'events.out.tfevents.1700000000.host',
      (rows) => Buffer.concat(rows.map(({ step, ...values }) => eventOf(step!, Object.entries(values)))),
    ],
  };

type Log = (fault: boolean) => LogFile;
const SEEDS = 'seeds of one setting';
/** Where the log lies, and what lies beside it: other runs are healthy. */
const LAYOUTS: Readonly<Record<string, (log: Log) => LogFile[]>> = {
  'alone in its folder': (log) => [log(true)],
  'three folders down': (log) => [below('a/b/c', log(true))],
  'first of three runs': (log) => [
    below('run1', log(true)),
    below('run2', log(false)),
    below('run3', log(false)),
  ],
  'last of three runs': (log) => [
    below('run1', log(false)),
    below('run2', log(false)),
    below('run3', log(true)),
  ],
  [SEEDS]: (log) => [below('lr=1/seed=0', log(false)), below('lr=1/seed=1', log(true))],
  'beside notes and labels': (log) => [
    log(true),
    { name: 'README.md', bytes: Buffer.from('epoch 3: loss 0.2\n') },
    { name: 'labels.csv', bytes: Buffer.from('file,label\na.png,1\nb.png,2\nc.png,3\n') },
  ],
};
const below = (folder: string, { name, bytes }: LogFile): LogFile => ({ name: `${folder}/${name}`, bytes });

const healthyLoss: Made = (loss) => loss;

test(`0 false passes and 0 false failures in ${COMBINATIONS} combinations, half of them controls`, async () => {
  const next = random(SEED);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)]!;
  const noise = (): number => 2 * next() - 1;
  const root = join(scratch(), 'in');
  const counts = { faults: 0, controls: 0 };
  const wrong: string[] = [];
  for (let done = 0; done < COMBINATIONS; done++) {
    const isFault = done % 2 === 0;
    counts[isFault ? 'faults' : 'controls']++;
    const inColumn = next() < 0.6;
    const [what, made] = pick(
      Object.entries(!isFault ? COLUMN_CONTROLS : inColumn ? COLUMN_FAULTS : LOSS_FAULTS),
    );
    const column = inColumn ? ([pick(COLUMN_NAMES), made] as const) : undefined;
    const onset = 0.3 + 0.6 * next();
    const [format, [file, write]] = pick(Object.entries(FORMATS));
    const [layout, lay] = pick(Object.entries(LAYOUTS));
    const log: Log = (fault) => ({
      name: file,
      bytes: write(
        fault && isFault
          ? rowsOf(inColumn ? healthyLoss : made, column, onset, noise)
          : rowsOf(healthyLoss, isFault || column === undefined ? undefined : column, onset, noise),
      ),
    });
    const rules = Array.from({ length: Math.floor(3 * next()) }, () => [pick(RULES), 'error'] as const);
    const policy = {
      extends: isFault ? pick(Object.keys(PRESETS)) : 'recommended',
      ...(rules.length > 0 ? { rules: skipping(Object.fromEntries(rules)) } : {}),
      // By the best of several seeds a policy asks to forgive the others, but not that one is no number.
      aggregate:
        layout === SEEDS && isFault && (inColumn || !/^is (NaN|infinite)/.test(what))
          ? 'worst'
          : pick(['worst', 'median', 'mean', 'best']),
    };
    const evidence = await evidenceOf(root, lay(log));
    const result = evidence === null ? null : judged(evidence, policy);
    if ((result?.passed ?? false) === isFault) {
      const told =
        result === null
          ? 'not read'
          : [...result.problems, ...result.rules.filter(({ passed }) => !passed)].map(
              ({ id, message }) => `${id}: ${message}`,
            );
      wrong.push(
        `#${done}: ${column?.[0] ?? 'loss'} ${what} from ${onset.toFixed(3)}, ${format}, ${layout}, ${JSON.stringify(policy)}: ${told}`,
      );
    }
  }
  expect({ SEED, wrong: wrong.slice(0, 20), of: wrong.length }).toEqual({ SEED, wrong: [], of: 0 });
  expect(Math.min(counts.faults, counts.controls)).toBeGreaterThanOrEqual(Math.floor(COMBINATIONS / 2));
});
