import { arrayOf, type Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf, smallest } from '../../model/order-statistics.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { type LogEvidence, levelBefore, levelFrom } from './log-evidence.ts';

/** Teeth that make a pattern, and points between two of them at least. */
const [TEETH, APART] = [4, 8];
/** Times the level before it that a tooth rises to. */
const HEIGHT = 2;
/** Times the last third of a tooth that its first third is at least, for this share of the teeth. */
const [FALLS, SHARE] = [2, 0.75];
/** Points by which the distance between two teeth may differ. */
const SLACK = 1;
/** Rises that are looked at, the largest first. */
const LARGEST = 60;
/** The largest of them, through which a row of teeth is looked for. */
const ANCHORS = 6;
/** Rows of teeth that chance may make in a run. */
const BY_CHANCE = 0.01;

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
    evidence: `${TEETH} or more rises from one point to the next have one distance of ${APART} points or more (within ${SLACK} point; one in a row may be missing). Each is the largest within half of that distance, and ends at ${HEIGHT} times the level before it. In ${100 * SHARE} % of the teeth the first third is ${FALLS} times the last third. A logged learning rate does not rise there; without a logged rate a schedule with restarts looks alike, and the cause stays open.`,
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
            statement: `${statement}, while the learning rate does not rise; ${kind}`,
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

/** The longest row of teeth at even distances through one of the largest rises; null without one. */
function teethOf(value: Column): Teeth | null {
  const rises = largestRises(value).map(({ at }) => at);
  let longest: Teeth | null = null;
  for (const anchor of rises.slice(0, ANCHORS))
    for (const other of rises) {
      const apart = other - anchor;
      if (apart < APART || (TEETH - 2) * apart > value.length || !isTooth(value, other, apart)) continue;
      const teeth = { at: rowThrough(value, anchor, apart), apart };
      if (
        teeth.at.length > (longest?.at.length ?? 0) &&
        teeth.at.length >= fewestTeeth(apart) &&
        isToothed(value, teeth)
      )
        longest = teeth;
    }
  return longest;
}

/**
 * Teeth that chance does not make. Two rises give the distance (of some 360 pairs that are tried), and each further block has
 * its largest rise at the given place with 2 · SLACK + 1 chances in `apart`.
 */
const fewestTeeth = (apart: number): number =>
  Math.max(
    TEETH,
    2 + Math.ceil(Math.log(BY_CHANCE / (ANCHORS * LARGEST)) / Math.log((2 * SLACK + 1) / apart)),
  );

/** Positions of teeth at a distance on both sides of one; one in a row may be missing. */
function rowThrough(value: Column, anchor: number, apart: number): number[] {
  const found = [anchor];
  for (const direction of [-apart, apart]) {
    const next = (from: number): number | undefined =>
      [from, from - SLACK, from + SLACK].find((at) => isTooth(value, at, apart));
    for (let at = anchor; ; ) {
      const beside = next(at + direction) ?? next(at + 2 * direction);
      if (beside === undefined) break;
      found.push(beside);
      at = beside;
    }
  }
  return found.sort((a, b) => a - b);
}

/** Whether the loss rises here by more than anywhere within half a distance, and far above the points before. */
function isTooth(value: Column, at: number, apart: number): boolean {
  if (at < 1 || at >= value.length || !(value.at(at)! >= HEIGHT * levelBefore(value, at, 5))) return false;
  const rise = riseAt(value, at);
  const half = Math.floor(apart / 2);
  for (let i = Math.max(1, at - half); i <= Math.min(value.length - 1, at + half); i++)
    if (i !== at && !(riseAt(value, i) < rise)) return false;
  return true;
}

const riseAt = (value: Column, at: number): number => value.at(at)! - value.at(at - 1)!;

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
    const by = riseAt(value, at);
    if (!(by > floor && Number.isFinite(by))) continue;
    rises.push({ at, by });
    if (rises.length < 16 * LARGEST) continue;
    cut();
    floor = rises.at(-1)!.by;
  }
  cut();
  return rises;
}

/** Whether the loss falls in most of the teeth. */
function isToothed(value: Column, { at, apart }: Teeth): boolean {
  const third = Math.floor(apart / 3);
  const whole = at.filter((one) => one + apart <= value.length);
  const falling = whole.filter(
    (one) => levelFrom(value, one, third) >= FALLS * levelBefore(value, one + apart - SLACK, third),
  );
  return whole.length >= TEETH - 1 && falling.length >= SHARE * whole.length;
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
