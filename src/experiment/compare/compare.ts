/** Compares two runs, or several against several: `clippy-diag compare` and `analyze --compare`. */
import type { RunComparison, RunDifference } from '../../model/comparison.ts';
import { largest } from '../../model/order-statistics.ts';
import { differenceOf } from './facts.ts';
import { commonSteps, type FirstDifference, firstDifference } from './first-difference.ts';
import {
  ARITHMETIC,
  arithmeticOf,
  firstBeyond,
  forGoodFrom,
  type LossPair,
  lossPair,
  type MeasuredFloor,
  measuredFloor,
  startTogether,
} from './floor.ts';
import type { Judged } from './judged.ts';
import { asMeans } from './means.ts';
import { pictureOf } from './picture.ts';
import { judgeSeeds, judgeSeveral, SEEDS_MOVE } from './seeds.ts';
import { settingsThatDiffer } from './settings.ts';
import { onlyAlike, type Side } from './side.ts';
import { statementOf } from './statement.ts';

export interface CompareOptions {
  /** Repeats of the first run, from which the floor is measured. */
  readonly repeats?: readonly Side[];
  /** Last step that is compared. */
  readonly until?: number;
  /** With what a page draws: losses, their difference, sizes by tensor and step. */
  readonly picture?: boolean;
}

/**
 * Compares the first runs of both sides; with several runs a side their ends decide.
 *
 * @param as, bs one run or more each, those of one position of one seed
 */
export async function compareSides(
  as: readonly Side[],
  bs: readonly Side[],
  options: CompareOptions = {},
): Promise<RunComparison> {
  const [a, b] = asMeans(as[0]!, bs[0]!);
  const until = options.until ?? Number.POSITIVE_INFINITY;
  const pair = lossPair(a, b, until);
  const steps = commonSteps(a, b, until);
  const found = await firstDifference(a, b, steps);
  const base = {
    runs: { a: as.map(({ name }) => name), b: bs.map(({ name }) => name) },
    settings: settingsThatDiffer(a.settings, b.settings),
    compared: { steps: steps.length, from: steps[0] ?? 0, to: steps.at(-1) ?? 0, links: found.links },
    differsAt: found.first,
    end: endOf(pair),
    pair,
    found,
    equalSteps: found.first === null ? steps.length : steps.filter((step) => step < found.first!.step).length,
    exact: pair.steps.length === 0 ? a.losses.size + b.losses.size === 0 : pair.exact,
    stepUnit: a.stepUnit,
    repeats: options.repeats?.length ?? 0,
  };
  const paired = await haveOneStart(a, b, steps, pair);
  const judged = !paired
    ? unpaired(base, as, bs, until)
    : options.repeats !== undefined && options.repeats.length > 0
      ? await againstRepeats(base, a, b, options.repeats, until)
      : againstArithmetic(base, a, b);
  const several = as.length > 1 && bs.length > 1 ? severalOf(judged, as, bs, until) : judged;
  const {
    pair: _,
    found: __,
    equalSteps: ___,
    exact: ____,
    stepUnit: _____,
    repeats: ______,
    limit: _______,
    ...document
  } = several;
  const picture = options.picture === true ? { picture: await pictureOf(a, b, pair, steps, several) } : {};
  return { ...document, ...statementOf(several, a, b), ...picture };
}

type Base = Omit<Judged, 'paired' | 'floor' | 'limit' | 'partsAt' | 'forGoodFrom' | 'verdict'>;

/** Weights before the first step that are further apart than this are of another initialisation. */
const OTHER_WEIGHTS = 0.05;

/** Whether two runs have one start: by their weights where both records have them, else by their losses. */
async function haveOneStart(a: Side, b: Side, steps: readonly number[], pair: LossPair): Promise<boolean> {
  const [first] = steps;
  if (first === undefined) return false;
  const [x, y] = [await a.facts(first), await b.facts(first)];
  const weights = await differenceOf(x.get('weights'), y.get('weights'), onlyAlike(a, b, 'weights'));
  if (weights !== undefined) return weights === null || (weights.size ?? 0) <= OTHER_WEIGHTS;
  return pair.steps.length === 0 || startTogether(pair);
}

/** Steps at the end over which the losses are averaged. */
const endWidth = (steps: number): number => Math.max(1, Math.min(steps, Math.max(5, Math.floor(steps / 50))));

function endOf({ a, b, signed, steps }: LossPair): RunComparison['end'] {
  if (steps.length === 0) return null;
  const width = endWidth(steps.length);
  const mean = (values: Float64Array): number =>
    values.subarray(-width).reduce((sum, value) => sum + value, 0) / width;
  const [x, y] = [mean(a), mean(b)];
  const part = signed.subarray(-width);
  const middle = part.reduce((sum, value) => sum + value, 0) / width;
  const variance = part.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(1, width - 1);
  const same = x === y || (Number.isNaN(x) && Number.isNaN(y));
  return {
    a: x,
    b: y,
    relative: same ? 0 : (y - x) / Math.abs(x),
    standardError: width > 1 ? Math.sqrt(variance / width) : null,
  };
}

/** A difference of what is computed that follows from a given one: another batch, another option. */
const differsInKind = ({ first, consequence }: FirstDifference): boolean =>
  first !== null && consequence !== null && first !== consequence && first.step <= consequence.step;

/** No difference beyond this over all steps is the same run, rounded otherwise. */
const SAME_WITHIN = 1e-4;

/**
 * Without repeats only the first difference can be judged: the error of the arithmetic of that link. What follows grows
 * to the same end whether it began with a fault or with a rounded bit.
 */
function againstArithmetic(base: Base, a: Side, b: Side): Judged {
  const { found, pair } = base;
  const limit = arithmeticOf(a, b, base.equalSteps);
  const floor: RunComparison['floor'] = { kind: 'rounding', relative: limit };
  const good = forGoodFrom(pair, () => limit);
  const whole = { ...base, paired: true, floor, forGoodFrom: good, limit: () => limit };
  if (base.compared.steps === 0) return { ...whole, partsAt: null, verdict: 'cannot-tell' };
  if (found.consequence === null) return { ...whole, partsAt: null, verdict: 'same' };
  const first = found.consequence;
  if (differsInKind(found) || found.certain > limit)
    return { ...whole, partsAt: differsInKind(found) ? found.first : first, verdict: 'apart' };
  const isSame = pair.steps.length > 0 && largest(pair.distance) <= Math.min(limit, SAME_WITHIN);
  return { ...whole, partsAt: null, verdict: isSame ? 'same' : 'cannot-tell' };
}

async function againstRepeats(
  base: Base,
  a: Side,
  b: Side,
  repeats: readonly Side[],
  until: number,
): Promise<Judged> {
  const { found, pair } = base;
  const measured = measuredFloor(repeats.map((repeat) => lossPair(a, repeat, until)));
  const limit = (step: number): number | undefined => judgeable(measured.limit.get(step));
  const beyond = firstBeyond(pair, limit);
  const relative = Math.max(0, largest([...measured.largest.values()].filter(Number.isFinite)));
  const whole = {
    ...base,
    paired: true,
    limit,
    floor: { kind: 'measured', relative } satisfies RunComparison['floor'],
    forGoodFrom: forGoodFrom(pair, (step) => limit(step) ?? Number.POSITIVE_INFINITY),
  };
  if (found.consequence === null) return { ...whole, partsAt: null, verdict: 'same' };
  const first =
    found.certain <= arithmeticOf(a, b, base.equalSteps)
      ? null
      : await firstBeyondRepeats(found.consequence, a, repeats);
  const parts = differsInKind(found) ? found.first : first;
  if (parts !== null || beyond !== null)
    return { ...whole, partsAt: parts ?? lossAt(pair, beyond!), verdict: 'apart' };
  return { ...whole, partsAt: null, verdict: isWithin(pair, measured) ? 'same' : 'cannot-tell' };
}

/** A floor that has grown to what seeds move says nothing of a pair. */
const judgeable = (limit: number | undefined): number | undefined =>
  limit === undefined || limit > Math.log1p(SEEDS_MOVE) ? undefined : limit;

const lossAt = ({ steps, distance }: LossPair, step: number): RunDifference => ({
  step,
  link: 'loss',
  tensor: null,
  size: Math.expm1(distance[steps.indexOf(step)]!),
});

/** The first difference, where no repeat differs as much at that step and link. */
async function firstBeyondRepeats(
  first: RunDifference,
  a: Side,
  repeats: readonly Side[],
): Promise<RunDifference | null> {
  const own = (await a.facts(first.step)).get(first.link);
  for (const repeat of repeats) {
    const its = (await repeat.facts(first.step)).get(first.link);
    const between = await differenceOf(own, its, onlyAlike(a, repeat, first.link));
    if (between !== undefined && between !== null && (between.size ?? 0) * 1.5 >= (first.size ?? 0))
      return null;
  }
  return first;
}

/** Of one or two repeats the floor is too uncertain for a distance between it and its limit. */
function isWithin({ steps, distance }: LossPair, { largest, repeats }: MeasuredFloor): boolean {
  if (repeats >= 3) return true;
  return steps.every((step, k) => distance[k]! <= Math.max(ARITHMETIC.float32, largest.get(step) ?? 0));
}

/** Runs of another start: blocks of losses. */
function unpaired(base: Base, as: readonly Side[], bs: readonly Side[], until: number): Judged {
  const pair = lossPair(as[0]!, bs[0]!, until);
  const whole = { ...base, paired: false, limit: () => undefined };
  if (pair.steps.length < 5)
    return {
      ...whole,
      floor: { kind: 'seeds', relative: SEEDS_MOVE },
      partsAt: null,
      forGoodFrom: null,
      verdict: base.compared.steps > 0 && pair.steps.length === 0 ? 'apart' : 'cannot-tell',
      ...(base.compared.steps > 0 && pair.steps.length === 0 ? { partsAt: base.found.first } : {}),
    };
  const seeds = judgeSeeds(pair);
  return {
    ...whole,
    floor: { kind: 'seeds', relative: Math.max(SEEDS_MOVE, seeds.floor) },
    partsAt:
      seeds.partsAt === null ? null : { step: seeds.partsAt, link: 'loss', tensor: null, size: seeds.size },
    forGoodFrom: seeds.verdict === 'apart' ? seeds.forGoodFrom : null,
    verdict: seeds.verdict,
  };
}

/** Several seeds a side: the difference of the ends, paired by position, decides. */
function severalOf(judged: Judged, as: readonly Side[], bs: readonly Side[], until: number): Judged {
  const count = Math.min(as.length, bs.length);
  const ends = Array.from({ length: count }, (_, k) => endOf(lossPair(as[k]!, bs[k]!, until)));
  const logs = ends.map((end) => (end === null ? Number.NaN : Math.log1p(end.relative)));
  if (!logs.every(Number.isFinite)) return { ...judged, verdict: 'cannot-tell' };
  const { told, ...seeds } = judgeSeveral(logs);
  const same = !told && seeds.smallestTold < SEEDS_MOVE / 2;
  return {
    ...judged,
    seeds,
    floor: { kind: 'seeds', relative: seeds.smallestTold },
    end:
      judged.end === null
        ? null
        : { ...judged.end, relative: seeds.difference, standardError: seeds.standardError },
    verdict: told ? 'apart' : same ? 'same' : 'cannot-tell',
  };
}
