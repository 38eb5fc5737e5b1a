/** A small model for the contracts of clipping rules: a table, a kernel, a vector and a scalar, under any optimizer. */

import { traitsOf } from '../../src/experiment/replay/bench.ts';
import { freshTensor, type Gradient } from '../../src/experiment/replay/tensors.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { type RuleChoice, ruleForOptimizer } from '../../src/step/rules/choice.ts';
import { elementsOf, type Precision, type TensorMeta, type Values } from '../../src/step/tensor/values.ts';

export const METAS: readonly TensorMeta[] = [
  { name: 'embedding/a', shape: [5, 2], layout: 'none', embedding: true },
  { name: 'kernel', shape: [3, 4], layout: 'IO', embedding: false },
  { name: '__proto__', shape: [4], layout: 'none', embedding: false },
  { name: 'scalar', shape: [], layout: 'none', embedding: false },
];

/** Deterministic numbers of very different magnitudes. */
function numbers(seed: number, length: number, scale: number): Float32Array {
  let state = (seed * 2654435761) >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length }, () => (next() - 0.5) * scale * 10 ** Math.floor(next() * 4 - 2));
}

export function model(
  optimizer: string,
  seed: number,
  scale: number,
  options = {},
  precision: Precision = 'float32',
) {
  const choice = chooseOptimizer(optimizer, options);
  const stored = (values: Float32Array): Values =>
    precision === 'float32' ? values : Float64Array.from(values);
  const tensors = METAS.map((meta, t) =>
    freshTensor(meta, stored(numbers(seed + t, elementsOf(meta.shape), 1)), choice, precision),
  );
  const gradients = METAS.map(
    (meta, t): Gradient => ({ values: stored(numbers(seed + 100 + t, elementsOf(meta.shape), scale)) }),
  );
  return { choice, tensors, gradients };
}

export const bytesOf = (values: Values): Uint8Array =>
  new Uint8Array(values.buffer.slice(values.byteOffset, values.byteOffset + values.byteLength));

/** An optimizer that the rule is defined for; undefined where there is none. */
export const optimizerFor = (choice: RuleChoice): string | undefined =>
  Object.keys(OPTIMIZERS).find((id) => {
    try {
      ruleForOptimizer(choice, traitsOf(chooseOptimizer(id)));
      return true;
    } catch {
      return false;
    }
  });
