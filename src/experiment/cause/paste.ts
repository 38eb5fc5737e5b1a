/** Lines for the user's own training script. */
import { DIGITS } from '../../model/format-number.ts';
import { pasteLine } from '../../model/paste-lines.ts';
import type { SkippedRows } from '../../model/replay.ts';
import type { TrainingLoop } from '../../model/training-loop.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';

/** The clipping of a rule; null where the loop has no line for it. */
export function pasteRule({ parts }: RuleChoice, loop: TrainingLoop | null): string | null {
  const lines = parts
    .filter(({ rule }) => !rule.identity)
    .map(({ rule, options }) => {
      const purpose = loop === null ? undefined : rule.paste?.(options);
      return purpose === undefined ? null : pasteLine(loop, purpose, options);
    });
  return lines.length === 0 || lines.includes(null) ? null : lines.join('\n');
}

const inDigits = (rate: number): number => Number(rate.toPrecision(DIGITS.glance));

/** What each group's learning rate is of the first's, at the first recorded step; 1 alone where they are alike. */
export function groupShares(
  steps: readonly { readonly learningRates: readonly number[] }[],
): readonly number[] {
  const [first, ...others] = steps[0]?.learningRates ?? [];
  if (!first || others.every((rate) => rate === first)) return [1];
  return [1, ...others.map((rate) => rate / first)];
}

/**
 * A lower rate: absolute where it is known, in the digits that a sentence has, else a factor.
 *
 * @param shares of the groups, see `groupShares`
 */
export function pasteRate(
  loop: TrainingLoop | null,
  rate: number | null,
  factor: number | null,
  shares: readonly number[] = [1],
): string | null {
  if (rate === null) return pasteLine(loop, 'rate factor', { factor });
  if (shares.length === 1) return pasteLine(loop, 'rate', { rate: inDigits(rate) });
  return pasteLine(loop, 'rate by group', {
    rates: shares.map((share) => inDigits(rate * share)).join(', '),
  });
}

/** A lower weight decay of every group; null where it is in the call that makes the optimizer. */
export const pasteDecay = (loop: TrainingLoop | null, factor: number): string | null =>
  pasteLine(loop, 'decay factor', { factor });

/** Batches to leave out, as the training loop counts steps; a range where the steps follow one another. */
export function pasteSkip(loop: TrainingLoop | null, steps: readonly number[]): string | null {
  const [first, last] = [steps[0]!, steps.at(-1)!];
  if (first === last) return pasteLine(loop, 'skip step', { first });
  if (last - first + 1 === steps.length) return pasteLine(loop, 'skip range', { first, last, end: last + 1 });
  return pasteLine(loop, 'skip steps', { steps: steps.join(', ') });
}

/** Rows to leave out of their batches, by the ids that the recorder was given; null where it was given none. */
export function pasteRows(loop: TrainingLoop | null, skipped: readonly SkippedRows[]): string | null {
  const ids = skipped.flatMap(({ ids: own }) => own ?? [Number.NaN]);
  if (ids.some((id) => Number.isNaN(id))) return null;
  return pasteLine(loop, 'skip rows', { ids: ids.map((id) => JSON.stringify(id)).join(', ') });
}
