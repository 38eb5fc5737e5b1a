/** Whose loop a capture was recorded in, so that advice is a line of that script. */

export const TRAINING_LOOPS = [
  'torch',
  'transformers',
  'lightning',
  /** Manual optimization: hooks of the automatic one are not called. */
  'lightning-manual',
  'accelerate',
  'keras',
  'keras-fit',
  'jax',
  'tfjs',
] as const;
export type TrainingLoop = (typeof TRAINING_LOOPS)[number];

/** What a capture's `framework` begins with, of a loop of the user's own. */
const FRAMEWORKS: readonly (readonly [RegExp, TrainingLoop])[] = [
  [/^(py)?torch/i, 'torch'],
  [/^(keras|tensorflow(?!\.?js))/i, 'keras'],
  [/^(jax|flax|optax)/i, 'jax'],
  [/^(tfjs|tensorflow\.?js)/i, 'tfjs'],
];

/**
 * @param framework as a capture names it, such as `pytorch 2.15.0`
 * @param trainer whose loop it was, null for one of the user's own
 * @returns null where neither is known
 */
export function trainingLoopOf(framework: string, trainer: string | null): TrainingLoop | null {
  const named = TRAINING_LOOPS.find((loop) => loop === trainer);
  return named ?? FRAMEWORKS.find(([pattern]) => pattern.test(framework))?.[1] ?? null;
}
