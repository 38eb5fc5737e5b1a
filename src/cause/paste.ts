/** Lines for the user's own training script. */
import type { RuleChoice } from '../rules/choice.ts';

/** What a capture's `framework` begins with. */
const isTorch = (framework: string): boolean => /^pytorch|^torch/i.test(framework);
const isKeras = (framework: string): boolean => /^keras|^tensorflow/i.test(framework);

/** The clipping of a rule; null where the framework has no line for it. */
export function pasteRule({ parts }: RuleChoice, framework: string): string | null {
  const lines = parts
    .filter(({ rule }) => !rule.identity)
    .map(({ rule, options }) => rule.paste?.(options, nameOf(framework)) ?? null);
  return lines.length === 0 || lines.includes(null) ? null : lines.join('\n');
}

const nameOf = (framework: string): 'torch' | 'keras' | null =>
  isTorch(framework) ? 'torch' : isKeras(framework) ? 'keras' : null;

/** A lower rate: absolute where it is known, else a factor. */
export function pasteRate(framework: string, rate: number | null, factor: number | null): string | null {
  const value = rate === null ? `*= ${factor}` : `= ${rate}`;
  if (isTorch(framework)) return `for group in optimizer.param_groups: group["lr"] ${value}`;
  if (isKeras(framework))
    return rate === null
      ? `optimizer.learning_rate = optimizer.learning_rate * ${factor}`
      : `optimizer.learning_rate = ${rate}`;
  return null;
}

/** Batches to leave out, as the training loop counts steps; a range where the steps follow one another. */
export function pasteSkip(steps: readonly number[]): string {
  const [first, last] = [steps[0]!, steps.at(-1)!];
  const which = last - first + 1 === steps.length ? `range(${first}, ${last + 1})` : `{${steps.join(', ')}}`;
  return `if step in ${which}: continue`;
}
