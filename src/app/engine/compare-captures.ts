/** Two captures against each other: what each recorded, and the first step at which it is not the same. */

import type { CapturesComparison } from '../../model/comparison.ts';
import type { Run } from '../../model/run.ts';
import type { BatchTensor, Capture, CapturedStep } from '../../read/captures/read.ts';

/** What is compared at each step, in the order in which one leads to the next. */
export const COMPARED = ['weights', 'batch', 'learning rate', 'loss', 'gradient'] as const;
type Compared = (typeof COMPARED)[number];

const sameNumbers = (a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): boolean => {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
};

/** Whether all that is in one map is in the other; null where one of them holds nothing, so that nobody knows. */
function sameMaps<T>(
  a: ReadonlyMap<string, T>,
  b: ReadonlyMap<string, T>,
  same: (x: T, y: T) => boolean,
): boolean | null {
  if (a.size === 0 || b.size === 0) return null;
  return (
    a.size === b.size &&
    [...a].every(([name, value]) => {
      const other = b.get(name);
      return other !== undefined && same(value, other);
    })
  );
}

/** Whether two steps are the same in each respect; null where one of them does not have it. */
function sameStep(a: CapturedStep, b: CapturedStep): Record<Exclude<Compared, 'batch'>, boolean | null> {
  return {
    weights: sameMaps(a.parameters, b.parameters, sameNumbers),
    'learning rate': sameNumbers(a.learningRates, b.learningRates),
    loss: a.loss === null || b.loss === null ? null : Object.is(a.loss, b.loss),
    gradient:
      a.hasGradients && b.hasGradients
        ? a.gradients.length === b.gradients.length &&
          a.gradients.every(
            ({ values, rows }, i) =>
              sameNumbers(values, b.gradients[i]!.values) &&
              sameNumbers(rows ?? [], b.gradients[i]!.rows ?? []),
          )
        : null,
  };
}

const sameTensor = (a: BatchTensor, b: BatchTensor): boolean =>
  a.dtype === b.dtype && sameNumbers(a.shape, b.shape) && sameNumbers(a.data, b.data);

/**
 * Compares the captures of two runs that have most steps in common.
 *
 * @param late whether there is no time left: what comes after is not compared
 * @returns undefined where a run has none, or no step is in both and was compared
 */
export async function compareCaptures(
  first: readonly Capture[],
  second: readonly Capture[],
  late: () => boolean,
): Promise<CapturesComparison | undefined> {
  const pairs = first.flatMap((a) =>
    second.map((b) => {
      const at = new Map(b.steps.map(({ step }, index) => [step, index]));
      const common = a.steps.flatMap(({ step }, index) =>
        at.has(step) ? [{ step, indexes: [index, at.get(step)!] as const }] : [],
      );
      return { a, b, common };
    }),
  );
  const [best] = pairs.sort((x, y) => y.common.length - x.common.length);
  if (best === undefined || best.common.length === 0) return undefined;
  const { a, b, common } = best;
  const found = new Map<Compared, { seen: number; differsAt: number | null }>();
  let compared = 0;
  for (const { step, indexes } of common) {
    if (late()) break;
    const [i, j] = indexes;
    const same = {
      ...sameStep(await a.step(i, 'float32'), await b.step(j, 'float32')),
      batch: sameMaps(await a.batch(i), await b.batch(j), sameTensor),
    };
    compared++;
    for (const what of COMPARED) {
      if (same[what] === null) continue;
      const { seen, differsAt } = found.get(what) ?? { seen: 0, differsAt: null };
      found.set(what, { seen: seen + 1, differsAt: differsAt ?? (same[what] ? null : step) });
    }
  }
  if (compared === 0) return undefined;
  return {
    paths: [a.path, b.path],
    steps: [common[0]!.step, common[compared - 1]!.step],
    compared: COMPARED.flatMap((what) => {
      const one = found.get(what);
      return one === undefined ? [] : [{ what, steps: one.seen, differsAt: one.differsAt }];
    }),
  };
}

/** A run with what its capture tells of the optimizer and its clipping among its settings, under `capture.`. */
export function withCapturedSettings(run: Run, [capture]: readonly Capture[]): Run {
  if (capture === undefined) return run;
  const { optimizers, clipping, framework } = capture.manifest;
  const told = new Map<string, string | number | boolean>([['capture.framework', framework]]);
  for (const [group, { name, options }] of optimizers.entries()) {
    const prefix = `capture.optimizer${group === 0 ? '' : `.${group}`}`;
    told.set(prefix, name);
    for (const [option, value] of Object.entries(options)) told.set(`${prefix}.${option}`, value);
  }
  told.set('capture.clipping', clipping.length === 0 ? 'none' : clipping.map(({ rule }) => rule).join('+'));
  for (const { rule, options } of clipping)
    for (const [option, value] of Object.entries(options))
      told.set(`capture.clipping.${rule}.${option}`, value);
  return { ...run, hyperparameters: new Map([...run.hyperparameters, ...told]) };
}
