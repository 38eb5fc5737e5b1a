import type { RunComparison } from '../../model/comparison.ts';
import type { FirstDifference } from './first-difference.ts';
import type { LossPair } from './floor.ts';

/** What a comparison finds before it is put into words. */
export type Judged = Omit<RunComparison, 'statement' | 'more'> & {
  readonly pair: LossPair;
  readonly found: FirstDifference;
  readonly equalSteps: number;
  readonly exact: boolean;
  readonly stepUnit: string;
  readonly repeats: number;
  /** The floor of the losses at a step; undefined where it has none. */
  readonly limit: (step: number) => number | undefined;
};
