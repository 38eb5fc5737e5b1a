/** The parameters that a cell starts from: by its seed, or from a file. */

import { matchParameters, toModel } from '../../differentiate/autodiff/parameters.ts';
import { rankingTensors } from '../../differentiate/autodiff/ranking.ts';
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';
import { randomVectors } from '../../differentiate/curvature/random.ts';
import { openCheckpoint } from '../../read/checkpoints/registry.ts';

/**
 * The initialisation of a seed: hidden kernels U±√(6/fan_in) (He et al. 2015, equation 14, as PyTorch's kaiming_uniform),
 * output and gate kernels U±√(3/fan_in), biases 0, embeddings 0.05·N(0, 1), LayerNorm's γ 1 and β 0.
 *
 * @returns an array for each tensor, in the order of the spec's
 */
export function initialParameters(spec: RankingSpec, seed: number): Float32Array[] {
  const random = randomVectors(seed);
  const outputs = new Set(
    spec.tasks.flatMap(({ name, units }) => [`task/${name}/${units.length}`, `gate/${name}`]),
  );
  return rankingTensors(spec).map(({ name, shape, size, embedding }) => {
    if (embedding) return Float32Array.from(random.gaussian(size), (x) => 0.05 * x);
    const slash = name.lastIndexOf('/');
    const part = name.slice(slash + 1);
    if (part !== 'kernel') return new Float32Array(size).fill(part === 'gamma' ? 1 : 0);
    const bound = Math.sqrt((outputs.has(name.slice(0, slash)) ? 3 : 6) / shape[0]!);
    // Without a function for each entry: a study initialises thousands of nets.
    const values = new Float32Array(size);
    const uniform = random.uniform(size);
    for (let i = 0; i < size; i++) values[i] = bound * (2 * uniform[i]! - 1);
    return values;
  });
}

/**
 * The initialisation in a file: safetensors, a PyTorch or Keras checkpoint …, by the names of the spec.
 *
 * @throws model-names, model-shapes and what reading throws
 */
export async function readInitialisation(spec: RankingSpec, path: string): Promise<Float32Array[]> {
  const file = await openCheckpoint(path);
  try {
    const sources = file.tensors.filter(({ role }) => role === 'parameter' || role === 'buffer');
    const tensors = rankingTensors(spec);
    const bindings = matchParameters(tensors, sources, new Map(), path);
    const parameters: Float32Array[] = [];
    for (const [i, tensor] of tensors.entries()) {
      const source = sources[bindings[i]!.source]!;
      const values = new Float32Array(tensor.size);
      toModel(
        { ...tensor, offset: 0 },
        bindings[i]!,
        source.shape,
        (await file.read(source.name)) as ArrayLike<number>,
        values,
      );
      parameters.push(values);
    }
    return parameters;
  } finally {
    await file.close();
  }
}
