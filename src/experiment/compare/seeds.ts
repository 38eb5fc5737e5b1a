/** Runs of different seeds: blocks of their losses with standard errors, and what several seeds a side tell. */
import type { RunComparison } from '../../model/comparison.ts';
import type { LossPair } from './floor.ts';

/** Blocks that a pair of runs is cut into. */
const BLOCKS = 50;
/** A block is apart from so many of its standard errors on; less than {@link SEEDS_MOVE} is moved by a seed. */
const ERRORS = 4;
export const SEEDS_MOVE = 0.1;

interface Block {
  readonly step: number;
  readonly mean: number;
  readonly standardError: number;
}

/**
 * Means of ln b/a over blocks of steps. The standard error is that of the noise from step to step, which successive
 * differences show without the trend.
 */
export function blocksOf({ steps, distance, signed }: LossPair): Block[] {
  const size = Math.max(1, Math.floor(steps.length / BLOCKS));
  const noise = noiseOf(signed);
  const blocks: Block[] = [];
  for (let at = 0; at < steps.length; at += size) {
    const part = signed.subarray(at, at + size);
    const infinite = distance.subarray(at, at + size).some((value) => value === Number.POSITIVE_INFINITY);
    blocks.push({
      step: steps[at]!,
      mean: infinite ? Number.POSITIVE_INFINITY : part.reduce((sum, value) => sum + value, 0) / part.length,
      standardError: noise / Math.sqrt(part.length),
    });
  }
  return blocks;
}

/** Standard deviation from step to step: the median of |successive differences|, which a jump does not inflate. */
function noiseOf(values: Float64Array): number {
  const steps = Array.from({ length: Math.max(0, values.length - 1) }, (_, k) =>
    Math.abs(values[k + 1]! - values[k]!),
  );
  steps.sort((a, b) => a - b);
  return (steps[steps.length >> 1] ?? 0) / (0.6745 * Math.SQRT2);
}

export interface SeedsVerdict {
  readonly verdict: RunComparison['verdict'];
  /** First step of the first block that is apart, and of the blocks that are apart to the end. */
  readonly partsAt: number | null;
  readonly size: number;
  readonly forGoodFrom: number | null;
  /** Relative size that is within two standard errors at the end. */
  readonly floor: number;
}

/** Two runs of different seeds: apart where a block is beyond its errors and beyond what seeds move, to the end. */
export function judgeSeeds(pair: LossPair): SeedsVerdict {
  const blocks = blocksOf(pair);
  const isApart = ({ mean, standardError }: Block): boolean =>
    Math.abs(mean) > Math.max(ERRORS * standardError, Math.log1p(SEEDS_MOVE));
  const within = blocks.findLastIndex(({ mean, standardError }) => Math.abs(mean) <= 2 * standardError);
  const last = tailOf(blocks);
  const first = blocks.find(isApart);
  const apart = first !== undefined && isApart(last);
  const near = Math.abs(last.mean) <= Math.max(2 * last.standardError, 0);
  return {
    verdict: apart ? 'apart' : near && 2 * last.standardError < SEEDS_MOVE / 2 ? 'same' : 'cannot-tell',
    partsAt: apart ? first.step : null,
    size: first === undefined ? 0 : Math.expm1(Math.abs(first.mean)),
    forGoodFrom: within < blocks.length - 1 ? blocks[within + 1]!.step : null,
    floor: Math.expm1(2 * last.standardError),
  };
}

/** The last tenth of the blocks as one. */
function tailOf(blocks: readonly Block[]): Block {
  const last = blocks.slice(-Math.max(1, Math.floor(blocks.length / 10)));
  return {
    step: last[0]?.step ?? 0,
    mean: last.reduce((sum, { mean }) => sum + mean, 0) / Math.max(1, last.length),
    standardError: (last[0]?.standardError ?? 0) / Math.sqrt(Math.max(1, last.length)),
  };
}

/** Two-sided 99 % quantiles of Student's t by degrees of freedom. */
const STUDENT = [
  Number.POSITIVE_INFINITY,
  63.66,
  9.925,
  5.841,
  4.604,
  4.032,
  3.707,
  3.499,
  3.355,
  3.25,
  3.169,
];
const studentOf = (degrees: number): number =>
  degrees < STUDENT.length ? STUDENT[Math.max(0, degrees)]! : 2.576 * (1 + 2 / degrees);

/**
 * Several seeds a side, paired by their order: the mean difference of the ends (ln b/a), whether it is beyond chance at
 * 99 %, and how many seeds would show a difference of this size.
 */
export function judgeSeveral(
  ends: readonly number[],
): NonNullable<RunComparison['seeds']> & { readonly told: boolean } {
  const n = ends.length;
  const mean = ends.reduce((sum, value) => sum + value, 0) / n;
  const variance = ends.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, n - 1);
  const standardError = n > 1 ? Math.sqrt(variance / n) : Number.POSITIVE_INFINITY;
  const smallest = studentOf(n - 1) * standardError;
  let seeds = 2;
  while (seeds < 10_000 && (studentOf(seeds - 1) * Math.sqrt(variance)) / Math.sqrt(seeds) > Math.abs(mean))
    seeds++;
  return {
    pairs: n,
    difference: Math.expm1(mean),
    standardError,
    smallestTold: Math.expm1(smallest),
    seedsToTell: { difference: Math.expm1(Math.abs(mean)), seeds },
    told: Math.abs(mean) > smallest,
  };
}
