/**
 * A log whose columns are called `train` and `valid` does not say of what they are. Where nothing else is a loss and
 * both fall as a loss does, they are read as one.
 */
import type { Column } from '../../model/column.ts';
import { copyOf } from '../../model/column.ts';
import type { Role } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import { fallsAsLoss } from './falls.ts';

/** Words for the training data in a name. */
export const TRAINING = /^(train|training|trn)$/;

export interface BareSplits {
  /** Index of the series of the training data. */
  readonly train: number;
  /** Indices of the series of held-out data. */
  readonly held: readonly number[];
}

/**
 * The series that are named by nothing but their split.
 *
 * @param names of the series
 * @param first their roles by name alone: only those of role `other` count
 * @param evalWords words for data that is held out
 * @returns undefined where there is not exactly one of training, none of evaluations, or one that does not fall
 */
export function bareSplits(
  names: readonly string[],
  first: readonly (Role | 'loss-like')[],
  values: readonly Column[],
  evalWords: ReadonlySet<string>,
): BareSplits | undefined {
  const called = (test: (word: string) => boolean): number[] =>
    [...names.keys()].filter((k) => {
      const words = wordsOf(names[k]!);
      return first[k] === 'other' && words.length > 0 && words.every(test);
    });
  const trained = called((word) => TRAINING.test(word));
  const held = called((word) => evalWords.has(word));
  const [train] = trained;
  if (train === undefined || trained.length > 1 || held.length === 0) return undefined;
  return [train, ...held].every((k) => fallsAsLoss(copyOf(values[k]!)) > 0) ? { train, held } : undefined;
}
