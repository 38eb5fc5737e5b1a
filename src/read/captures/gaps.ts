/** Steps that a run took between two recorded ones, and that its capture does not hold. */

import type { CaptureManifest } from './manifest.ts';

export interface Gap {
  /** Position of the first recorded step after it. */
  readonly at: number;
  /** The first step that is missing. */
  readonly step: number;
  /** The recorded steps on both sides. */
  readonly before: number;
  readonly after: number;
}

/**
 * Where steps were neither recorded nor skipped. Runs count their steps in ones or in larger strides; the smallest distance
 * of two recorded steps is one stride.
 */
export function gapsOf({ steps, skipped }: Pick<CaptureManifest, 'steps' | 'skipped'>): Gap[] {
  const strides = steps.slice(1).map(({ step }, k) => step - steps[k]!.step);
  const stride = Math.min(...strides);
  const notTaken = new Set(skipped);
  return strides.flatMap((_, k) => {
    const [before, after] = [steps[k]!.step, steps[k + 1]!.step];
    for (let step = before + stride; step < after; step += stride)
      if (!notTaken.has(step)) return [{ at: k + 1, step, before, after }];
    return [];
  });
}
