/** Every known failure: a run that shows it, and three healthy or other runs that look alike and must not. */
import { describe, expect, it } from 'vitest';
import { failureOf, KNOWN_FAILURES } from '../../src/judge/failures/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { failureWords } from '../../src/model/failure-words.ts';
import type { Attempt, Role, Run, TimeSeries } from '../../src/model/run.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';

/** In (-1, 1), the same for the same number. */
const noise = (k: number): number => {
  const x = Math.sin(k * 12.9898 + 78.233) * 43758.5453;
  return 2 * (x - Math.floor(x)) - 1;
};
/** Values of a quantity at steps 1 to n, with a relative noise of a tenth. */
const noisy = (n: number, level: (i: number) => number, salt = 0): number[] =>
  Array.from({ length: n }, (_, i) => level(i) * (1 + 0.1 * noise(i + salt)));
const exact = (n: number, level: (i: number) => number): number[] =>
  Array.from({ length: n }, (_, i) => level(i));
const learning = (i: number): number => 0.4 + 2 * Math.exp(-i / 40);

interface Logged {
  readonly loss: readonly number[];
  readonly norms?: readonly number[];
  readonly rates?: readonly number[];
  readonly scale?: readonly number[];
  readonly evals?: readonly number[];
  readonly epochs?: readonly number[];
  readonly settings?: Readonly<Record<string, number>>;
  readonly every?: number;
  readonly throughput?: readonly number[];
  readonly risk?: readonly number[];
  readonly guardScale?: readonly number[];
  /** Seconds of a clock at each point of the loss. */
  readonly clock?: readonly number[];
}

function runOf(logged: Logged): Run {
  const { loss, norms, rates, scale, evals, epochs, settings = {}, every = 1, clock } = logged;
  const columns: readonly (readonly [string, Role, readonly number[] | undefined, number])[] = [
    ['loss', 'loss', loss, every],
    ['grad_norm', 'grad_norm', norms, every],
    ['lr', 'learning_rate', rates, every],
    ['loss_scale', 'other', scale, every],
    ['eval_loss', 'eval_loss', evals, 50],
    ['epoch', 'other', epochs, every],
    ['samples_per_sec', 'other', logged.throughput, every],
    ['risk', 'other', logged.risk, every],
    ['guard_scale', 'other', logged.guardScale, every],
  ];
  const run = makeRun(
    'log.csv',
    columns.flatMap(([name, role, values, apart]) =>
      values === undefined
        ? []
        : [
            {
              ...makeSeries(name, role, values, apart),
              ...(clock === undefined || name !== 'loss' ? {} : { wallTime: Float64Array.from(clock) }),
            },
          ],
    ),
  );
  return { ...run, hyperparameters: new Map(Object.entries(settings)) };
}

function told(run: Run) {
  const judged = judgeRun(run);
  return failureOf(run, judged.verdict.onsetStep, judged);
}

/** Two attempts; the second goes on at a step of the first. */
function resumed(first: readonly number[], from: number, second: readonly number[]): Run {
  const steps = [...first.map((_, i) => i + 1), ...second.map((_, i) => from + i)];
  const series: TimeSeries = {
    ...makeSeries('loss', 'loss', [...first, ...second]),
    step: Float64Array.from(steps),
    attemptOffsets: [0, first.length],
  };
  const attempts: Attempt[] = [
    { index: 0, firstStep: 1, lastStep: first.length, reason: 'start' },
    { index: 1, firstStep: from, lastStep: from + second.length - 1, reason: 'step-went-back' },
  ];
  return { ...makeRun('log.csv', [series]), attempts };
}

/** One attempt whose text says that training was resumed before a step. */
function toldResumed(loss: readonly number[], step: number): Run {
  const resumes = [{ step, from: 'step_300.pt', lostSteps: 0 }];
  const job = {
    ended: 'unknown',
    reason: null,
    at: null,
    rank: null,
    message: null,
    gaps: [],
    resumes,
  } as const;
  return { ...runOf({ loss }), job };
}

const nanFrom = (values: readonly number[], at: number): number[] =>
  values.map((value, i) => (i >= at ? Number.NaN : value));
const grows = (values: readonly number[], at: number, by = 1.8): number[] =>
  values.map((value, i) => (i < at ? value : value * by ** (i - at + 1)));
const calm = noisy(400, learning);
const flatRate = exact(400, () => 0.01);
const cosine = (n: number, period: number, height = 0.1): number[] =>
  exact(n, (i) => 0.0001 + (height / 2) * (1 + Math.cos((Math.PI * (i % period)) / period)));

const warmUp = (i: number): number => 0.01 * Math.min((i + 1) / 40, 1) * (1 + Math.cos((Math.PI * i) / 500));

/** A run that is resumed at a step, with the rates of both attempts, by points from their beginnings. */
function resumedAt(
  from: number,
  first: (i: number) => number,
  again: (i: number) => number,
  level = 0.41,
): Run {
  const run = resumed(
    calm.slice(0, 250),
    from,
    noisy(200, () => level, 7),
  );
  const [loss] = run.series as [TimeSeries];
  const rates = makeSeries('lr', 'learning_rate', [...exact(250, first), ...exact(200, again)]);
  return { ...run, series: [loss, { ...rates, step: loss.step, attemptOffsets: loss.attemptOffsets }] };
}
/** From step 201 on each 25 batches are of one kind, which is forgotten until it comes again. */
const toothed = calm.map((one, i) => (i < 200 ? one : 0.02 + 2.5 * Math.exp(-(i % 25) / 5)));
/** First steps that are too long, after which it learns from what is left. */
const thrownOut = calm.map((one, i) => (i === 0 ? 2.4 : i < 12 ? 48 * Math.exp(-Math.abs(i - 3) / 3) : one));

/** Of each failure: the runs that show it, and those that do not, by what they are. */
const CASES: Readonly<
  Record<string, { readonly shows: Record<string, Run>; readonly not: Record<string, Run> }>
> = {
  'scaler-skips-every-step': {
    shows: {
      'a scale that is lost and stays': runOf({
        loss: calm,
        scale: exact(400, (i) => (i < 300 ? 65536 : 1e-6)),
      }),
      'norms that are infinite to the end': runOf({
        loss: noisy(400, () => 0.5),
        norms: exact(400, (i) => (i < 300 ? 0.4 : Number.POSITIVE_INFINITY)),
      }),
      'a scale that falls to the end': runOf({
        loss: calm,
        scale: exact(400, (i) => (i < 300 ? 65536 : 65536 / 2 ** (i - 299))),
      }),
    },
    not: {
      'a scaler that finds its scale at the start': runOf({
        loss: calm,
        scale: exact(400, (i) => Math.max(1024, 65536 / 2 ** i)),
      }),
      'a norm that overflows alone, while the loss falls': runOf({
        loss: exact(400, (i) => 2 * Math.exp(-i / 100)),
        norms: exact(400, (i) => (i < 300 ? 0.4 : Number.POSITIVE_INFINITY)),
      }),
      'norms that are infinite now and then': runOf({
        loss: noisy(400, () => 0.5),
        norms: exact(400, (i) => (i % 3 === 0 ? Number.POSITIVE_INFINITY : 0.4)),
      }),
      'a scale that grows': runOf({ loss: calm, scale: exact(400, (i) => 1024 * 2 ** Math.floor(i / 100)) }),
      'a skip now and then': runOf({
        loss: calm,
        scale: exact(400, (i) => (i % 100 === 99 ? 32768 : 65536)),
      }),
    },
  },
  'dead-from-the-start': {
    shows: {
      'a first rise that is never made up for': runOf({
        loss: noisy(400, (i) => (i < 4 ? 2.3 : 2.3 + 300 * Math.exp(-(i - 4) / 3))),
        rates: exact(400, () => 0.3),
      }),
      'first steps that throw it out, and later rises that come back to where it began': runOf({
        loss: noisy(400, (i) => 2.3 + (i > 0 && i < 6 ? 20 / i : 0)).map((value, i) =>
          (i >= 57 && i < 60) || (i >= 120 && i < 123) ? 9 : Math.max(value, 2.29),
        ),
        rates: exact(400, () => 0.3),
      }),
      'first steps that throw it out, and nothing after them': runOf({
        loss: noisy(400, (i) => 2.3 + (i > 0 && i < 6 ? 20 / i : 0)).map((value) => Math.max(value, 2.29)),
        rates: exact(400, () => 0.3),
      }),
      'first steps that throw it out, a little that is learnt, and lost again': runOf({
        loss: exact(400, (i) => 2.35 + (i > 0 && i < 9 ? 30 / i : 0) - (i > 10 && i < 80 ? 0.3 : 0.02)),
        rates: exact(400, () => 0.3),
      }),
      'a rate of 0': runOf({ loss: noisy(400, () => 2.3), rates: exact(400, () => 0) }),
      'a gradient of 0': runOf({ loss: noisy(400, () => 2.3), norms: exact(400, () => 0) }),
    },
    not: {
      'a loss that falls': runOf({ loss: calm, rates: flatRate }),
      'a first rise that is made up for': runOf({
        loss: noisy(400, (i) => (i < 20 ? 2.3 + 5 * Math.sin(i / 7) : learning(i - 20))),
      }),
      'a rise that is over in a run that had learnt': runOf({
        loss: calm.map((value, i) => (i >= 300 && i < 304 ? 40 : value)),
        rates: flatRate,
      }),
      'fine-tuning from good weights': runOf({ loss: noisy(400, () => 0.31), rates: exact(400, () => 2e-5) }),
    },
  },
  'schedule-restart': {
    shows: {
      'a cosine with restarts, and the loss of its height': runOf({
        loss: noisy(900, (i) => 0.2 + 4 * cosine(900, 300)[i]! + 2 * Math.exp(-i / 30)),
        rates: cosine(900, 300),
      }),
    },
    not: {
      'a single cosine': runOf({ loss: noisy(400, learning), rates: cosine(400, 400) }),
      'a warm-up': runOf({ loss: grows(calm, 390), rates: exact(400, (i) => 1e-4 * (i + 1)) }),
      'a restart that ruins the run': runOf({
        loss: noisy(600, (i) => (i < 400 ? learning(i) : 40)),
        rates: cosine(600, 400),
      }),
    },
  },
  'rate-raised': {
    shows: {
      'a rate that rises 30-fold': runOf({
        loss: noisy(400, (i) => (i < 302 ? learning(i) : 60)),
        rates: exact(400, (i) => (i < 300 ? 0.01 : 0.3)),
      }),
      'a rate that climbs out of the level at which most was learnt': runOf({
        loss: noisy(400, (i) => (i < 290 ? learning(i) : 60)),
        rates: exact(400, (i) => 0.01 * 1.03 ** Math.max(0, i - 200)),
      }),
      'a rate that rises 30-fold under a loss that stays': runOf({
        loss: calm,
        rates: exact(400, (i) => (i < 300 ? 0.01 : 0.3)),
      }),
    },
    not: {
      'a constant warm-up that ends before most is learnt': runOf({
        loss: calm,
        rates: exact(400, (i) => (i < 25 ? 1e-4 : 1e-2)),
      }),
      'warm restarts that rise a hundredfold': runOf({
        loss: calm,
        rates: cosine(400, 133),
      }),
      'a tenfold rate for thirty steps': runOf({
        loss: calm,
        rates: exact(400, (i) => (i >= 300 && i < 330 ? 0.1 : 0.01)),
      }),
      'a long flat start in which nothing is learnt, then a ramp': runOf({
        loss: noisy(400, (i) => (i < 100 ? 2.4 : i < 190 ? learning(i - 100) : 60)),
        rates: exact(400, (i) => 1e-5 * 1.08 ** Math.max(0, i - 100)),
      }),
      'a ramp that is a warm-up': runOf({
        loss: noisy(400, (i) => (i < 190 ? learning(i) : 60)),
        rates: exact(400, (i) => 1e-4 * (i + 1)),
      }),
      'a ramp out of a level that does no harm': runOf({
        loss: calm,
        rates: exact(400, (i) => 0.01 * 1.03 ** Math.max(0, Math.min(i, 300) - 200)),
      }),
      'a rate that rose without harm': runOf({
        loss: calm,
        rates: exact(400, (i) => (i < 300 ? 0.01 : 0.03)),
      }),
      'a rate that rose long before': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)),
        rates: exact(400, (i) => (i < 100 ? 0.01 : 0.03)),
      }),
      'a rate that falls': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)),
        rates: exact(400, (i) => (i < 300 ? 0.01 : 0.001)),
      }),
    },
  },
  'gradient-not-finite': {
    shows: {
      'a norm that is infinite before the loss is': runOf({
        loss: nanFrom(calm, 300),
        norms: noisy(400, () => 1).map((value, i) => (i === 297 ? Number.POSITIVE_INFINITY : value)),
      }),
    },
    not: {
      'a norm that is no number with the loss': runOf({
        loss: nanFrom(calm, 300),
        norms: nanFrom(
          noisy(400, () => 1),
          300,
        ),
      }),
      'a skipped step of a healthy run': runOf({
        loss: calm,
        norms: noisy(400, () => 1).map((value, i) => (i === 200 ? Number.POSITIVE_INFINITY : value)),
      }),
      'a norm that was no number long before': runOf({
        loss: nanFrom(calm, 300),
        norms: noisy(400, () => 1).map((value, i) => (i === 100 ? Number.NaN : value)),
      }),
    },
  },
  'jump-at-resume': {
    shows: {
      'steps that are worse the second time': resumed(
        calm,
        301,
        noisy(400, () => 0.8, 7),
      ),
      'a jump at once': resumed(
        calm,
        401,
        noisy(300, () => 9, 7),
      ),
      'a jump where the text alone tells of the resume': toldResumed(
        noisy(400, (i) => (i < 300 ? learning(i) : 9)),
        301,
      ),
    },
    not: {
      'a resume that the text tells, and the loss goes on': toldResumed(calm, 301),
      'a jump long after a resume that the text tells': toldResumed(
        noisy(400, (i) => (i < 300 ? learning(i) : 9)),
        201,
      ),
      'a jump before a resume that the text tells': toldResumed(
        noisy(400, (i) => (i < 300 ? learning(i) : 9)),
        311,
      ),
      'a resume that goes on': resumed(
        calm,
        301,
        noisy(400, () => 0.41, 7),
      ),
      'a beginning anew': resumed(calm, 1, noisy(400, learning, 7)),
      'a beginning anew that breaks at once': resumed(
        calm,
        1,
        noisy(300, (i) => (i < 5 ? learning(i) : 900), 7),
      ),
      'a beginning anew without a number': resumed(calm, 1, Array(20).fill(Number.NaN)),
      'a jump long after a resume': resumed(
        calm,
        301,
        noisy(400, (i) => (i < 250 ? 0.41 : 9), 7),
      ),
    },
  },
  'nan-from-the-start': {
    shows: {
      'no number at all': runOf({ loss: nanFrom(calm, 0), every: 10 }),
      'four losses, and no number from there on': runOf({ loss: nanFrom(calm, 4), every: 10 }),
      'one huge loss, and no number from there on': runOf({
        loss: nanFrom([1e21, ...calm], 1),
        every: 10,
      }),
    },
    not: {
      'a loss that is finite again later': runOf({
        loss: calm.map((value, i) => (i === 4 ? Number.NaN : value)),
      }),
      'a loss that was usual for longer': runOf({ loss: nanFrom(calm, 200) }),
      'a window of the middle': {
        ...runOf({ loss: nanFrom(calm, 4) }),
        series: [
          {
            ...makeSeries('loss', 'loss', nanFrom(calm, 4)),
            step: Float64Array.from(calm, (_, i) => 600 + i),
          },
        ],
      },
    },
  },
  'untrained-at-resume': {
    shows: {
      'steps that begin again where the run began': resumed(calm, 301, noisy(400, learning, 7)),
      'a resume after the last step': resumed(calm, 401, noisy(200, learning, 7)),
    },
    not: {
      'a resume that goes on': resumed(
        calm,
        301,
        noisy(400, () => 0.41, 7),
      ),
      'a beginning anew': resumed(calm, 1, noisy(400, learning, 7)),
      'a resume to another level, which comes down': resumed(
        calm,
        301,
        noisy(400, (i) => 0.41 + 0.3 * Math.exp(-i / 20), 7),
      ),
      'a resume within the first steps': resumed(calm, 11, noisy(400, learning, 7)),
    },
  },
  'loss-falls-abruptly': {
    shows: {
      'a fall to a twentieth from one step to the next': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 0.02)),
      }),
      'a fall to what is printed as 0': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 2e-6)).map((one) => Math.round(one * 1e5) / 1e5),
      }),
    },
    not: {
      'a step of the schedule': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 0.08)),
        rates: exact(400, (i) => (i < 300 ? 0.1 : 0.01)),
      }),
      'a network that generalises over forty steps': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : Math.max(0.02, 0.4 * 0.92 ** (i - 300)))),
      }),
      'a loss that halves': runOf({ loss: noisy(400, (i) => (i < 300 ? learning(i) : 0.2)) }),
      'a loss that reaches the last printed digit': runOf({
        loss: noisy(400, (i) => 3 * 0.96 ** i).map((one) => Math.round(one * 1e4) / 1e4),
      }),
      'a loss of one digit that ends at 0': runOf({
        loss: exact(400, (i) => (i < 100 ? 1 - i / 200 : i < 300 ? [0.2, 0.3, 0.2, 0.1][i % 4]! : 0)),
      }),
      'one easy batch': runOf({ loss: calm.map((value, i) => (i === 300 ? 0.01 : value)) }),
    },
  },
  'gradient-norm-times-k': {
    shows: {
      'a norm that is 8 times as large with 8 ranks': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : 8), 3),
        settings: { world_size: 8 },
      }),
      'a norm that is 8 times as large, and a fifth of that less at the end': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : 8 - (1.6 * (i - 250)) / 150), 3),
      }),
      'a norm that is 5 times as large, whatever made it': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : 5), 3),
        settings: { world_size: 8 },
      }),
      'a norm that is far higher for five steps and then 2.5 times as large': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : i < 255 ? 8 : 2.5), 3),
      }),
    },
    not: {
      'a norm that is far higher for five steps': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i >= 250 && i < 255 ? 8 : 1), 3),
      }),
      'a norm whose noise becomes wider': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : 1.5 * (1 + 0.8 * noise(3 * i))), 3),
      }),
      'a norm that is 8 times as large and half of that at the end': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : 8 - (4 * (i - 250)) / 150), 3),
        settings: { world_size: 8 },
      }),
      'a norm that halves slowly': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 ? 1 : 0.5 + 0.5 * Math.exp((250 - i) / 30)), 3),
        settings: { world_size: 2 },
      }),
      'a norm that grows slowly to 8 times': runOf({
        loss: calm,
        norms: noisy(400, (i) => 1 + (7 * i) / 400, 3),
        settings: { world_size: 8 },
      }),
      'a norm that is 8 times as large for a while': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 250 || i > 330 ? 1 : 8), 3),
        settings: { world_size: 8 },
      }),
    },
  },
  'nan-out-of-calm': {
    shows: {
      'a NaN after calm': runOf({ loss: nanFrom(calm, 311), rates: flatRate }),
      'a NaN after one value that is a little high': runOf({
        loss: nanFrom(
          calm.map((value, i) => (i === 310 ? 0.55 : value)),
          311,
        ),
        rates: flatRate,
      }),
      'a NaN after calm of loss and norm': runOf({ loss: nanFrom(calm, 311), norms: noisy(400, () => 1, 5) }),
    },
    not: {
      'a NaN after a rise': runOf({ loss: nanFrom(grows(calm, 300), 311) }),
      'a NaN after two values that are high': runOf({
        loss: nanFrom(
          calm.map((value, i) => (i >= 309 ? 0.55 : value)),
          311,
        ),
        rates: flatRate,
      }),
      'a NaN after a rise of the norm': runOf({
        loss: nanFrom(calm, 311),
        norms: grows(
          noisy(400, () => 1, 5),
          300,
        ),
      }),
      'a NaN after a rise of the rate': runOf({
        loss: nanFrom(calm, 311),
        rates: exact(400, (i) => (i < 308 ? 0.01 : 0.5)),
      }),
      'a healthy run': runOf({ loss: calm }),
    },
  },
  'nan-after-a-rise': {
    shows: {
      'a loss that grows and is NaN': runOf({ loss: nanFrom(grows(calm, 300), 311) }),
      'a norm that grows and a loss that is NaN': runOf({
        loss: nanFrom(calm, 311),
        norms: grows(
          noisy(400, () => 1, 5),
          300,
        ),
      }),
    },
    not: {
      'a NaN out of calm': runOf({ loss: nanFrom(calm, 311) }),
      'a rise that comes back': runOf({
        loss: calm.map((value, i) => (i >= 300 && i < 306 ? value * 1.8 ** (i - 299) : value)),
      }),
      'a norm that grows in a healthy run': runOf({ loss: calm, norms: noisy(400, (i) => 1 + i / 100, 5) }),
    },
  },
  'broke-in-warm-up': {
    shows: {
      'a loss that breaks while the rate rises': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)),
        rates: exact(400, (i) => 1e-4 * (i + 1)),
      }),
    },
    not: {
      'a healthy warm-up': runOf({ loss: calm, rates: exact(400, (i) => 1e-4 * Math.min(i + 1, 100)) }),
      'a break long after the warm-up': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)),
        rates: exact(400, (i) => 1e-4 * Math.min(i + 1, 100)),
      }),
      'a constant rate': runOf({ loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)), rates: flatRate }),
    },
  },
  'grows-without-end': {
    shows: {
      'a loss that grows by decades': runOf({ loss: grows(calm, 300) }),
      'a loss that grows from its first points': runOf({ loss: exact(40, (i) => 2.3 * 1.8 ** i) }),
    },
    not: {
      'a jump by decades': runOf({ loss: calm.map((value, i) => (i < 300 ? value : 5000 * value)) }),
      'a loss that loses what was learnt': runOf({
        loss: noisy(400, (i) =>
          i < 300 ? learning(i) : Math.min(learning(0), learning(i) * 1.1 ** (i - 299)),
        ),
      }),
      'a growth to ten times the level': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : Math.min(10, 1.1 ** (i - 299)) * learning(300))),
      }),
    },
  },
  'evaluation-alone-bad': {
    shows: {
      'noisy evaluations of a noisy training': runOf({
        loss: noisy(400, learning).map((value, i) => value * (1 + 0.25 * noise(3 * i + 1))),
        evals: noisy(8, (i) => (i === 1 ? 0.85 : 0.95), 11),
        epochs: exact(400, (i) => i / 400),
      }),
      'a log without epochs, and evaluations as of an untrained network': runOf({
        loss: calm,
        evals: noisy(8, () => 3.1, 11),
      }),
      'no evaluation shows what is learnt': runOf({
        loss: calm,
        evals: noisy(8, () => 2.4, 11),
        epochs: exact(400, (i) => i / 400),
      }),
    },
    not: {
      'an evaluation an epoch, of epochs counted from 0, that rises from its best': runOf({
        loss: noisy(400, (i) => 1.4 * Math.exp(-i / 130)),
        evals: noisy(8, (i) => [1.3, 0.93, 0.83, 0.87, 0.96, 1.2, 1.5, 1.6][i]!, 11),
        epochs: exact(400, (i) => Math.floor(i / 50)),
      }),
      'sums of batches of other sizes, which fall alike': runOf({
        loss: noisy(400, (i) => 2600 + 2000 * Math.exp(-i / 60)),
        evals: noisy(8, (i) => 15 * (2600 + 2000 * Math.exp(-(50 * (i + 1)) / 60)), 11),
      }),
      'an evaluation that falls too': runOf({
        loss: calm,
        evals: noisy(8, (i) => 1.6 * learning(50 * (i + 1)), 11),
        epochs: exact(400, (i) => i / 400),
      }),
      'over-fitting': runOf({
        loss: noisy(400, (i) => 2 * Math.exp(-i / 90)),
        evals: noisy(8, (i) => 0.7 + 0.2 * Math.abs(i - 3), 11),
        epochs: exact(400, (i) => i / 20),
      }),
      'labels at random, learnt by heart over epochs': runOf({
        loss: noisy(400, (i) => 0.02 + 2.4 * Math.exp(-i / 120)),
        evals: noisy(8, (i) => 2.4 + i / 4, 11),
        epochs: exact(400, (i) => i / 20),
      }),
      'an evaluation a little above the training, flat since both learnt': runOf({
        loss: noisy(400, (i) => 0.33 + 2 * Math.exp(-i / 15)),
        evals: noisy(12, (i) => 0.55 + 0.3 * Math.exp(-3 * i), 11),
        epochs: exact(400, (i) => i / 400),
      }),
      'an evaluation on harder rows that learns': runOf({
        loss: calm,
        evals: noisy(8, (i) => 1.5 + 1.2 * Math.exp(-i / 2), 11),
        epochs: exact(400, (i) => i / 400),
      }),
      'an evaluation that is flat after many epochs': runOf({
        loss: calm,
        evals: noisy(8, () => 2.4, 11),
        epochs: exact(400, (i) => i / 20),
      }),
    },
  },
  'over-fitting': {
    shows: {
      'an evaluation that rises from its best step on': runOf({
        loss: noisy(400, (i) => 0.05 + 2 * Math.exp(-i / 90)),
        evals: noisy(16, (i) => 0.8 + 0.08 * Math.max(0, i - 4) + 0.1 * Math.max(0, 4 - i), 11).map(
          (value, i) => 0.7 * (0.8 + 0.08 * Math.max(0, i - 4) + 0.1 * Math.max(0, 4 - i)) + 0.3 * value,
        ),
      }),
    },
    not: {
      'an evaluation that falls with the training': runOf({
        loss: calm,
        evals: noisy(16, (i) => 1.1 * learning(25 * (i + 1)), 11),
      }),
      'a flat evaluation with a noise of a tenth': runOf({
        loss: noisy(400, (i) => 0.05 + 2 * Math.exp(-i / 90)),
        evals: noisy(16, () => 0.8, 11),
      }),
      'an evaluation that rises with the training loss': runOf({
        loss: noisy(400, (i) => 0.4 + i / 400),
        evals: noisy(16, (i) => 0.5 + i / 14, 11),
      }),
      'an evaluation that ends a twentieth above its best': runOf({
        loss: noisy(400, (i) => 0.05 + 2 * Math.exp(-i / 90)),
        evals: exact(16, (i) => 0.8 + 0.003 * i + 0.1 * Math.max(0, 2 - i)),
      }),
    },
  },
  'training-slowed': {
    shows: {
      'samples per second that fall to a third': runOf({
        loss: calm,
        throughput: noisy(400, (i) => (i < 250 ? 900 : 300), 5),
      }),
      'steps that take three times as long by the clock': runOf({
        loss: calm,
        clock: exact(400, (i) => (i < 250 ? i : 250 + 3 * (i - 250))),
      }),
    },
    not: {
      'a throughput with a noise of a tenth': runOf({ loss: calm, throughput: noisy(400, () => 900, 5) }),
      'an evaluation every fifty steps': runOf({
        loss: calm,
        clock: exact(400, (i) => i + 100 * Math.floor(i / 50)),
      }),
      'a slow first epoch': runOf({
        loss: calm,
        throughput: noisy(400, (i) => (i < 40 ? 200 : 900), 5),
      }),
      'a third less': runOf({ loss: calm, throughput: noisy(400, (i) => (i < 250 ? 900 : 600), 5) }),
    },
  },
  'training-stood-still': {
    shows: {
      'two hours without a line': runOf({ loss: calm, clock: exact(400, (i) => i + (i < 250 ? 0 : 7200)) }),
    },
    not: {
      'a pause of five minutes': runOf({ loss: calm, clock: exact(400, (i) => i + (i < 250 ? 0 : 300)) }),
      'an evaluation of a quarter of an hour every fifty steps': runOf({
        loss: calm,
        clock: exact(400, (i) => i + 900 * Math.floor(i / 50)),
      }),
      'steps of half an hour': runOf({ loss: calm, clock: exact(400, (i) => 1800 * i) }),
      'a clock that begins anew': runOf({ loss: calm, clock: exact(400, (i) => (i < 250 ? i : i - 250)) }),
    },
  },
  'guard-acted': {
    shows: {
      'two steps that were left out': runOf({
        loss: calm,
        risk: exact(400, (i) => (i === 250 || i === 251 ? 0.99 : 0.1)),
        guardScale: exact(400, (i) => (i === 250 || i === 251 ? 0 : 1)),
      }),
    },
    not: {
      'a guard that only advises': runOf({
        loss: calm,
        risk: exact(400, (i) => (i === 250 ? 0.99 : 0.1)),
        guardScale: exact(400, () => 1),
      }),
      'a guard without an alarm': runOf({
        loss: calm,
        risk: exact(400, () => 0.3),
        guardScale: exact(400, () => 1),
      }),
      'a guard that acted and did not hold the run': runOf({
        loss: noisy(400, (i) => (i < 250 ? learning(i) : 60)),
        risk: exact(400, (i) => (i === 250 ? 0.99 : 0.1)),
        guardScale: exact(400, (i) => (i === 250 ? 0.1 : 1)),
      }),
    },
  },
  'unlike-batches': {
    shows: {
      'one batch with a loss of twelve times': runOf({ loss: calm.map((one, i) => (i === 300 ? 9 : one)) }),
      'three such batches': runOf({ loss: calm.map((one, i) => (i >= 300 && i < 303 ? 9 : one)) }),
    },
    not: {
      'a rise that comes down step by step': runOf({
        loss: calm.map((one, i) => (i < 300 ? one : one * (1 + 20 * 0.6 ** (i - 300)))),
      }),
      'a jump that stays': runOf({ loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)) }),
      'a batch of twice the loss': runOf({ loss: calm.map((one, i) => (i === 300 ? 2 * one : one)) }),
      'a spike of the rate': runOf({
        loss: calm.map((one, i) => (i >= 301 && i < 303 ? 9 : one)),
        rates: exact(400, (i) => (i === 300 ? 1 : 0.01)),
      }),
    },
  },
  'rate-raised-for-a-moment': {
    shows: {
      'five steps at 30 times the rate': runOf({
        loss: calm,
        rates: exact(400, (i) => (i >= 200 && i < 205 ? 0.3 : 0.01)),
      }),
      'three steps within a cosine': runOf({
        loss: calm,
        rates: cosine(400, 400).map((rate, i) => (i >= 200 && i < 203 ? 8 * rate : rate)),
      }),
    },
    not: {
      'a cosine with restarts': runOf({ loss: calm, rates: cosine(400, 100) }),
      'a rate that is high now and then': runOf({
        loss: calm,
        rates: exact(400, (i) => (i % 100 > 94 ? 0.1 : 0.01)),
      }),
      'triangular cycles': runOf({
        loss: calm,
        rates: exact(400, (i) => 0.001 + 0.01 * Math.abs(1 - (i % 40) / 20)),
      }),
      'a rate that rises and stays': runOf({ loss: calm, rates: exact(400, (i) => (i < 200 ? 0.01 : 0.05)) }),
      'a step down': runOf({ loss: calm, rates: exact(400, (i) => (i < 200 ? 0.01 : 0.001)) }),
    },
  },
  'rate-is-zero': {
    shows: {
      'a rate of 0 from a fifth on': runOf({ loss: calm, rates: exact(400, (i) => (i < 80 ? 0.004 : 0)) }),
      'a schedule for epochs that is stepped each batch': runOf({
        loss: calm,
        rates: exact(400, (i) => 0.001 * 0.1 ** Math.floor(i / 3)),
      }),
      'a linear schedule that ends halfway': runOf({
        loss: calm,
        rates: exact(400, (i) => Math.max(0, 0.00037 * (1 - i / 200))),
      }),
      'a small rate that may be rounded, and evaluations that stand': runOf({
        loss: calm,
        evals: exact(8, (i) => (i < 2 ? 2 - i / 2 : 0.8125)),
        rates: exact(400, (i) => (i < 120 ? 0.001 : 0)),
      }),
    },
    not: {
      'a schedule that ends at 0': runOf({ loss: calm, rates: exact(400, (i) => 0.01 * (1 - i / 399)) }),
      'a rate that was printed with three decimals': runOf({
        loss: calm,
        evals: noisy(8, (i) => 2 - i / 8),
        rates: exact(400, (i) => Math.round(4 * Math.exp(-i / 100)) / 1000),
      }),
      'a rate that is 0 for a while': runOf({
        loss: calm,
        rates: exact(400, (i) => (i > 100 && i < 200 ? 0 : 0.004)),
      }),
      'a falling rate': runOf({ loss: calm, rates: exact(400, (i) => 0.01 * 0.97 ** i) }),
      'three steps down to a thousandth': runOf({
        loss: calm,
        rates: exact(400, (i) => 0.01 * 0.1 ** Math.floor(i / 100)),
      }),
    },
  },
  'schedule-began-anew': {
    shows: {
      'a warm-up again': resumedAt(201, warmUp, (i) => warmUp(i)),
      'a cosine again, and the loss breaks': resumedAt(201, warmUp, (i) => warmUp(i), 9),
    },
    not: {
      'a rate that goes on': resumedAt(201, warmUp, (i) => warmUp(200 + i)),
      'a beginning anew': resumedAt(1, warmUp, (i) => warmUp(i)),
      'a constant rate': resumedAt(
        201,
        () => 0.01,
        () => 0.01,
      ),
      'a warm-up of its own': resumedAt(201, warmUp, (i) => Math.min(warmUp(200 + i), 0.0004 * (i + 1))),
    },
  },
  'evaluation-jumps-alone': {
    shows: {
      'an evaluation of five times from one to the next': runOf({
        loss: calm,
        norms: noisy(400, () => 1, 5),
        evals: exact(8, (i) => (i < 5 ? learning(50 * (i + 1)) : 3.5 + 0.1 * noise(i))),
      }),
    },
    not: {
      'over-fitting': runOf({
        loss: noisy(400, (i) => 0.05 + 2 * Math.exp(-i / 90)),
        evals: exact(16, (i) => 0.7 + 0.1 * Math.max(0, i - 4) + 0.1 * Math.max(0, 4 - i)),
      }),
      'one bad evaluation': runOf({
        loss: calm,
        evals: noisy(8, (i) => (i === 5 ? 3.5 : learning(50 * (i + 1))), 11),
      }),
      'an evaluation that goes on rising': runOf({
        loss: calm,
        evals: noisy(8, (i) => (i < 5 ? learning(50 * (i + 1)) : 1.2 * 1.5 ** (i - 5)), 11),
      }),
      'a jump of the gradient norm with it': runOf({
        loss: calm,
        norms: noisy(400, (i) => (i < 270 ? 1 : 6), 5),
        evals: noisy(8, (i) => (i < 5 ? learning(50 * (i + 1)) : 3.5), 11),
      }),
      'a training loss that falls by half with it': runOf({
        loss: noisy(400, (i) => (i < 270 ? learning(i) : 0.2)),
        evals: noisy(8, (i) => (i < 5 ? learning(50 * (i + 1)) : 3.5), 11),
      }),
    },
  },
  'loss-times-k': {
    shows: {
      'a sum over 32 rows': runOf({
        loss: noisy(400, (i) => learning(i) * (i < 300 ? 1 : 32)),
        norms: noisy(400, (i) => (i < 300 ? 1 : 32), 5),
        settings: { batch_size: 32 },
      }),
      'a sum over 16 batches, without a setting': runOf({
        loss: noisy(400, (i) => learning(i) * (i < 300 ? 1 : 16)),
        norms: noisy(400, (i) => (i < 300 ? 1 : 16), 5),
      }),
    },
    not: {
      'labels of other rows, whose norm rises by another factor': runOf({
        loss: noisy(400, (i) => (i < 300 ? learning(i) : 2.4)),
        norms: noisy(400, (i) => (i < 300 ? 1 : 3), 5),
      }),
      'labels of other rows, whose loss varies less': runOf({
        loss: calm.map((one, i) => (i < 300 ? one : 2.4 + 0.02 * noise(i))),
        norms: noisy(400, (i) => (i < 300 ? 1 : 6), 5),
      }),
      'a loss and a norm that are as before after five steps': runOf({
        loss: noisy(400, (i) => learning(i) * (i < 300 || i >= 305 ? 1 : 16)),
        norms: noisy(400, (i) => (i < 300 || i >= 305 ? 1 : 16), 5),
      }),
      'a sum over a number that is no setting': runOf({
        loss: noisy(400, (i) => learning(i) * (i < 300 ? 1 : 32)),
        settings: { batch_size: 256 },
      }),
      'a norm that does not jump with it': runOf({
        loss: noisy(400, (i) => learning(i) * (i < 300 ? 1 : 32)),
        norms: noisy(400, () => 1, 5),
        settings: { batch_size: 32 },
      }),
      'a run that is thrown out': runOf({
        loss: noisy(400, learning).map((one, i) => (i < 300 ? one : one * 32 * 4 ** noise(7 * i))),
        settings: { batch_size: 32 },
      }),
    },
  },
  'saw-tooth': {
    shows: {
      'blocks of rows of one kind, at a rate that stays': runOf({ loss: toothed, rates: flatRate }),
      'the same without a logged rate': runOf({ loss: toothed }),
      'teeth that grow, each with a smaller rise behind it': runOf({
        loss: Array.from({ length: 500 }, (_, i) => {
          const [tooth, into] = [0.005 * (i - 175), (i - 200) % 25];
          if (i < 200) return learning(i);
          const rise = into === 7 + (Math.floor(i / 25) % 4) ? 0.7 : 0;
          return 0.03 + tooth * (0.72 ** into + rise);
        }),
        rates: exact(500, () => 0.001),
      }),
    },
    not: {
      'noise of which a few blocks begin with their largest rise': runOf({
        loss: Array.from({ length: 500 }, (_, i) =>
          i < 460 ? 0.3 * 3 ** (2 * noise(3 * i) - 1) : 0.3 * (1 + 4 * 0.6 ** ((i - 460) % 8)),
        ),
        rates: exact(500, () => 0.001),
      }),
      'one hard batch at even distances': runOf({
        loss: calm.map((one, i) => (i >= 200 && i % 25 === 0 ? 8 * one : one)),
        rates: flatRate,
      }),
      'warm restarts that the log shows': runOf({
        loss: noisy(400, (i) => 0.3 + 2 * (1 - (i % 50) / 50)),
        rates: cosine(400, 50),
      }),
      'epochs that are learnt by heart': runOf({
        loss: noisy(400, (i) => 2 / (1 + Math.floor(i / 50)) + 0.002 * (i % 50)),
        rates: flatRate,
      }),
      'jumps at uneven distances': runOf({
        loss: calm.map((one, i) =>
          [210, 245, 300, 371].reduce(
            (sum, at) => sum + (i >= at && i < at + 20 ? 3 / (1 + i - at) : 0),
            one,
          ),
        ),
        rates: flatRate,
      }),
      'a healthy run': runOf({ loss: calm, rates: flatRate }),
    },
  },
  'first-steps-too-long': {
    shows: {
      'a peak of twenty times the first loss': runOf({ loss: thrownOut, rates: exact(400, () => 0.3) }),
      'the same without a logged rate': runOf({ loss: thrownOut }),
    },
    not: {
      'a warm-up that is a little short': runOf({
        loss: calm.map((one, i) => (i > 0 && i < 8 ? 2.5 * one : one)),
      }),
      'an easy first batch': runOf({ loss: calm.map((one, i) => (i === 0 ? 0.1 : one)) }),
      'one bad batch among the first': runOf({ loss: calm.map((one, i) => (i === 3 ? 60 : one)) }),
      'a loss that never comes below its first value': runOf({
        loss: thrownOut.map((one, i) => (i < 20 ? one : 2.5)),
      }),
      'a loss that comes back to its first value and stays': runOf({
        loss: thrownOut.map((one, i) => (i < 20 ? one : 0.985 * thrownOut[0]!)),
        rates: exact(400, () => 0.3),
      }),
      'first losses that overflow': runOf({ loss: calm.map((one, i) => (i < 3 ? Infinity : one)) }),
      'losses that overflow after the first': runOf({
        loss: calm.map((one, i) => (i > 0 && i < 4 ? Infinity : one)),
      }),
      'a healthy run': runOf({ loss: calm }),
    },
  },
  'cause-not-shown': {
    shows: { 'a jump of the loss alone': runOf({ loss: noisy(400, (i) => (i < 300 ? learning(i) : 60)) }) },
    not: {
      'a healthy run': runOf({ loss: calm }),
      'a healthy run with everything logged': runOf({
        loss: calm,
        rates: flatRate,
        norms: noisy(400, () => 1),
      }),
      'a run of two points': runOf({ loss: [2, 1] }),
    },
  },
};

describe.each(KNOWN_FAILURES.map(({ id }) => id))('%s', (id) => {
  const { shows, not } = CASES[id]!;
  it.each(Object.keys(shows))('%s', (name) => {
    const found = told(shows[name]!);
    expect(found?.id).toBe(id);
    expect(found!.statement).toMatch(/^[a-z"].*[^.]$/s);
    expect(found!.remedy.statement.length).toBeGreaterThan(30);
    expect(found!.lead === undefined).toBe(found!.confidence === null);
  });
  it.each(Object.keys(not))('not %s', (name) => expect(told(not[name]!)?.id).not.toBe(id));
  it('has a first line of its own where the loss itself is healthy', () => {
    const healthy = Object.values(shows).filter((run) => judgeRun(run).verdict.class === 'healthy');
    // A planned restart is no news; what learns nothing has the first line of its class.
    const isNews = healthy.length > 0 && !['schedule-restart', 'dead-from-the-start'].includes(id);
    const line = failureWords(id)?.headline('step 300', 8);
    if (isNews) expect(line).toMatch(/^[A-Z\d][\w.]*[A-Z ]/);
  });
  it('is defined on no point, one, two, and on NaN alone', () => {
    for (const loss of [[], [1], [1, 2], [Number.NaN, Number.NaN, Number.NaN]])
      expect(() => told(runOf({ loss, norms: loss, rates: loss, scale: loss, evals: loss }))).not.toThrow();
  });
});

it('has three runs or more that look alike for each failure', () => {
  expect(Object.keys(CASES).sort()).toEqual(KNOWN_FAILURES.map(({ id }) => id).sort());
  for (const { not } of Object.values(CASES)) expect(Object.keys(not).length).toBeGreaterThanOrEqual(3);
});

it('names the step, the batch and the factor', () => {
  expect(told(CASES['nan-out-of-calm']!.shows['a NaN after calm']!)).toMatchObject({
    step: 312,
    trigger: 'data',
    confidence: 'likely',
  });
  expect(told(CASES['rate-raised']!.shows['a rate that rises 30-fold']!)).toMatchObject({
    step: 301,
    factor: 30,
  });
  expect(
    told(CASES['gradient-norm-times-k']!.shows['a norm that is 8 times as large with 8 ranks']!)!.factor,
  ).toBeCloseTo(8, 0);
  expect(
    told(CASES['loss-falls-abruptly']!.shows['a fall to a twentieth from one step to the next']!),
  ).toMatchObject({ step: 301, trigger: 'order' });
});

it('tells a rate of 0 from one that is next to nothing', () => {
  const { shows } = CASES['rate-is-zero']!;
  const firstLine = (name: string) => {
    const { factor } = told(shows[name]!)!;
    return failureWords('rate-is-zero')!.headline('step 300', factor ?? null);
  };
  expect(firstLine('a rate of 0 from a fifth on')).toMatch(/^LEARNING RATE 0 since step 300:/);
  expect(firstLine('a schedule for epochs that is stepped each batch')).toMatch(
    /^LEARNING RATE NEXT TO NOTHING since step 300:/,
  );
});

it('says what a higher rate did to a loss without an incident', () => {
  const under = (times: number) =>
    told(
      runOf({
        loss: noisy(400, (i) => learning(i) * (i < 300 ? 1 : times)),
        rates: exact(400, (i) => (i < 300 ? 0.01 : 0.3)),
      }),
    )!.statement;
  expect(under(1.05)).toMatch(
    /the loss is [\d.]+ after it and was [\d.]+ before, too little for an incident$/,
  );
  expect(under(0.95)).toMatch(/; the loss has no incident$/);
});

it('leaves a NaN open where the records before it are ten steps apart', () => {
  const found = told(runOf({ loss: nanFrom(calm, 311), every: 10 }));
  expect(found).toMatchObject({ id: 'nan-out-of-calm', trigger: 'none-found', confidence: null, step: null });
  expect(found!.statement).toMatch(/nothing between steps 3110 and 3120/);
});

it.each([
  ['a log without epochs', undefined, /either .* by heart .*, or the evaluation computes something else/],
  ['the first epoch', exact(400, (i) => i / 900), /first epoch, where nothing can be learnt by heart/],
  ['many epochs', exact(400, (i) => i / 20), /by heart, if the evaluation computes what the training does/],
])('says of an evaluation that rises what %s leaves open', (_, epochs, why) => {
  const found = told(
    runOf({
      loss: noisy(400, (i) => 0.05 + 2 * Math.exp(-i / 90)),
      evals: exact(16, (i) => 0.6 + 0.03 * Math.max(0, i - 4) + 0.5 * Math.max(0, 4 - i)),
      ...(epochs && { epochs }),
    }),
  );
  expect(found).toMatchObject({ id: 'over-fitting', confidence: null });
  expect(found!.statement).toMatch(why);
});
