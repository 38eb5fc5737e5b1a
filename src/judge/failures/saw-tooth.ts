import { arrayOf, type Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf, smallest } from '../../model/order-statistics.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { type LogEvidence, levelBefore, levelFrom } from './log-evidence.ts';

/** Teeth that make a pattern, and points between two of them at least. */
const [TEETH, APART] = [4, 8];
/** Times the next largest rise that each tooth rises by, and times the level before it that it rises to. */
const [CLEAR, HEIGHT] = [1.5, 2];
/** Times the last third of a tooth that its first third is at least, for this share of the teeth. */
const [FALLS, SHARE] = [2, 0.75];
/** Points by which the distance between two teeth may differ. */
const SLACK = 1;
/** Rises that are looked at, the largest first. */
const LARGEST = 60;

export const sawTooth: KnownFailure = {
  id: 'saw-tooth',
  title: 'The loss jumps at even distances and falls in between',
  symptoms: [
    'saw-tooth',
    'sawtooth',
    'periodic',
    'sorted data',
    'data order',
    'shuffle',
    'class order',
    'epoch',
  ],
  docs: {
    summary:
      'The loss jumps up every so many steps and falls until the next jump: each block of data is of one kind.',
    evidence: `The largest rises from one point to the next, ${TEETH} or more of them, are ${APART} points apart or more, each at the same distance as the others (within ${SLACK} point; one may be missing). Each is ${CLEAR} times the next largest rise and ends at ${HEIGHT} times the level before it. In ${100 * SHARE} % of the teeth the first third is ${FALLS} times the last third. A logged learning rate does not rise there; without a logged rate a schedule with restarts looks alike, and the cause stays open.`,
    notThis:
      'One bad batch at even distances: its loss is high at that batch alone. A memorised training set: there the loss falls at the start of each epoch.',
    whatToDo:
      'Count the labels (or the sources) of one batch just before a jump and of one after it. One kind each confirms that the rows are sorted: shuffle them (`shuffle=True`, or `sampler.set_epoch(epoch)`), and go on from a checkpoint before the pattern begins.',
  },
  look(log) {
    const { run, loss, rates } = log;
    const found = loss === null ? null : teethOf(loss.value);
    if (loss === null || found === null || rateRises(log, found.at)) return null;
    const stepAt = (at: number): number => loss.step.at(at)!;
    const first = found.at[0]!;
    const period = stepAt(first + found.apart) - stepAt(first);
    const begins = fallBefore(loss.value, first, found.apart);
    const [low, high] = [
      levelBefore(loss.value, first, 5),
      medianOf(found.at.map((at) => loss.value.at(at)!)),
    ];
    const statement = `the loss jumps every ${period} ${run.stepUnit}s from ${run.stepUnit} ${stepAt(first)} on (${formatNumber(low, 'brief')} to ${formatNumber(high, 'brief')}) and falls in between`;
    const kind = 'each block of rows is of one kind: they are sorted, or no longer shuffled';
    const open: Pick<FoundFailure, 'trigger' | 'confidence' | 'statement'> = {
      trigger: 'none-found',
      confidence: null,
      statement: `${statement}; the rows are sorted or no longer shuffled, or a schedule restarts (the rate is not logged)`,
    };
    return {
      ...(rates === null
        ? open
        : {
            trigger: 'order',
            confidence: 'likely',
            lead: 'the rows are in blocks of one kind',
            statement: `${statement}, at a rate that does not rise; ${kind}`,
          }),
      step: stepAt(begins),
      evidence: [
        {
          id: 'loss-level',
          statement,
          value: high,
          unit: 'loss',
          usual: null,
          at: { step: stepAt(first), batchStep: stepAt(first) },
        },
      ],
      remedy: {
        action: 'fix-data',
        statement: `shuffle the rows again (\`DataLoader(…, shuffle=True)\`, or \`sampler.set_epoch(epoch)\`) and go on from a checkpoint before ${run.stepUnit} ${stepAt(begins)}; the labels of batch ${stepAt(first) - 1} and of batch ${stepAt(first)} confirm it: one kind each`,
      },
    };
  },
};

interface Teeth {
  /** Positions of the first high point of each. */
  readonly at: readonly number[];
  /** Points from one to the next. */
  readonly apart: number;
}

/** The teeth that the largest rises make, as many as are at even distances; null without a pattern. */
function teethOf(value: Column): Teeth | null {
  const rises = largestRises(value);
  for (let count = Math.min(LARGEST, rises.length - 1); count >= TEETH; count--) {
    if (!(rises[count - 1]!.by >= CLEAR * rises[count]!.by)) continue;
    const at = rises.slice(0, count).map((rise) => rise.at);
    at.sort((a, b) => a - b);
    const apart = evenDistance(at);
    if (apart !== null && isToothed(value, { at, apart })) return { at, apart };
  }
  return null;
}

interface Rise {
  readonly at: number;
  readonly by: number;
}

/** The largest rises, one more than are looked at, the largest first: not all are kept, since a log may have millions. */
function largestRises(value: Column): readonly Rise[] {
  const rises: Rise[] = [];
  const cut = (): void => {
    rises.sort((a, b) => b.by - a.by);
    rises.length = Math.min(rises.length, LARGEST + 1);
  };
  let floor = 0;
  for (let at = 1; at < value.length; at++) {
    const by = value.at(at)! - value.at(at - 1)!;
    if (!(by > floor && Number.isFinite(by))) continue;
    rises.push({ at, by });
    if (rises.length < 16 * LARGEST) continue;
    cut();
    floor = rises.at(-1)!.by;
  }
  cut();
  return rises;
}

/** The distance of positions that are evenly apart, of which one in a row may be missing; null where they are not. */
function evenDistance(at: readonly number[]): number | null {
  const gaps = at.slice(1).map((one, i) => one - at[i]!);
  const apart = Math.min(...gaps);
  const single = gaps.filter((gap) => gap <= apart + SLACK).length;
  const isEven = gaps.every((gap) => gap <= apart + SLACK || Math.abs(gap - 2 * apart) <= SLACK);
  return apart >= APART && isEven && 2 * single >= gaps.length ? apart : null;
}

/** Whether the loss is high at the start of the teeth and falls in them. */
function isToothed(value: Column, { at, apart }: Teeth): boolean {
  const third = Math.floor(apart / 3);
  const high = at.every((one) => value.at(one)! >= HEIGHT * levelBefore(value, one, 5));
  const whole = at.filter((one) => one + apart <= value.length);
  const falling = whole.filter(
    (one) => levelFrom(value, one, third) >= FALLS * levelBefore(value, one + apart - SLACK, third),
  );
  return high && whole.length >= TEETH - 1 && falling.length >= SHARE * whole.length;
}

/** Position before the first tooth from which on the loss is lower than in all of the points before; the tooth without one. */
function fallBefore(value: Column, first: number, apart: number): number {
  const from = Math.max(0, first - apart);
  const lowest = smallest(
    arrayOf(value.subarray(Math.max(0, from - 2 * apart), from)).filter(Number.isFinite),
  );
  for (let at = from; at < first; at++)
    if (value.at(at)! < lowest && levelFrom(value, at, 3) < lowest) return at;
  return first;
}

/** Whether a logged rate rises at most of the teeth. */
function rateRises({ rates, loss }: LogEvidence, at: readonly number[]): boolean {
  if (rates === null) return false;
  const risen = at.filter((one) => {
    const [before, now] = [loss!.step.at(one - 1)!, loss!.step.at(one)!].map((step) =>
      rates.value.at(rates.step.findLastIndex((logged) => logged <= step)),
    );
    return now !== undefined && before !== undefined && now > 1.2 * before;
  });
  return 2 * risen.length >= at.length;
}
