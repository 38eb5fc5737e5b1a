/** What of a good and a bad run makes the difference: the changes that were tried, and the smallest set that does. */
import type { Cell } from './cell.ts';

export const CHANGE_KINDS = ['config', 'commit', 'data', 'version', 'choice'] as const;

/** One thing that is different in the bad run. */
export interface BisectChange {
  readonly kind: (typeof CHANGE_KINDS)[number];
  /** Key of a configuration, subject of a commit, a line or file of data, a package, name of a choice. */
  readonly name: string;
  /** Null where that side does not have it. */
  readonly good: Cell;
  readonly bad: Cell;
}

export const TRIAL_OUTCOMES = ['good', 'bad', 'unclear'] as const;

/** One run of the command. */
export interface BisectTrial {
  /** Changes of the bad side that it had, in words. */
  readonly changes: string;
  readonly outcome: (typeof TRIAL_OUTCOMES)[number];
  readonly exitCode: number;
  /** Level of its loss at the end; null without one. */
  readonly loss: number | null;
  readonly seconds: number;
  /** The folder that holds what it printed and wrote. */
  readonly folder: string;
}

export interface Bisect {
  readonly found: boolean;
  /** The smallest set of changes that was found to turn the good run into the bad one. */
  readonly changes: readonly BisectChange[];
  /** Changes between the good and the bad side. */
  readonly differing: number;
  readonly trials: readonly BisectTrial[];
  readonly notes: readonly string[];
  readonly statement: string;
}
