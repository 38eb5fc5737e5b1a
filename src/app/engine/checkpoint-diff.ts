/** What moved between two checkpoints of a run, and how far. */

import type { Checkpoint, TensorData, TensorInfo } from '../../model/checkpoint.ts';
import type { CheckpointDiff, LayerChange, TensorChange } from '../../model/inspection.ts';
import { openCheckpoint } from '../../read/checkpoints/registry.ts';
import { layerOf } from './checkpoint-inspect.ts';

/**
 * Compares two checkpoints tensor by tensor, streaming; tensors are matched by name.
 *
 * @throws what opening and reading throw
 */
export async function diffCheckpoints(pathBefore: string, pathAfter: string): Promise<CheckpointDiff> {
  const before = await openCheckpoint(pathBefore);
  try {
    const after = await openCheckpoint(pathAfter);
    try {
      return await diffOpen(before, after);
    } finally {
      await after.close();
    }
  } finally {
    await before.close();
  }
}

async function diffOpen(before: Checkpoint, after: Checkpoint): Promise<CheckpointDiff> {
  const [inBefore, inAfter] = [byName(before), byName(after)];
  const tensors: TensorChange[] = [];
  const reshaped: string[] = [];
  for (const info of before.tensors) {
    const other = inAfter.get(info.name);
    if (other === undefined) continue;
    if (other.shape.join() !== info.shape.join()) reshaped.push(info.name);
    else if (/^(F|BF)/.test(info.dtype) && /^(F|BF)/.test(other.dtype))
      tensors.push(await changeOf(info, before, after, accumulatorOf(info.name, before, after)));
  }
  tensors.sort((a, b) => byChange(a, b) || (a.name < b.name ? -1 : 1));
  return {
    before: { path: before.path, step: before.step },
    after: { path: after.path, step: after.step },
    tensors,
    layers: layersOf(tensors),
    onlyBefore: [...inBefore.keys()].filter((name) => !inAfter.has(name)),
    onlyAfter: [...inAfter.keys()].filter((name) => !inBefore.has(name)),
    reshaped,
  };
}

const byName = (checkpoint: Checkpoint): ReadonlyMap<string, TensorInfo> =>
  new Map(checkpoint.tensors.map((info) => [info.name, info]));

/** Largest first; what is not finite before everything. */
const byChange = (a: { relative: number }, b: { relative: number }): number => {
  const rank = (value: number): number => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value);
  return rank(a.relative) === rank(b.relative) ? 0 : rank(b.relative) - rank(a.relative);
};

/** Name of the Adagrad accumulator of a parameter, where both checkpoints have it in the parameter's shape. */
function accumulatorOf(parameter: string, before: Checkpoint, after: Checkpoint): string | undefined {
  // Captures call the parameter itself `param/<name>`.
  const owns = (name: string | undefined): boolean => name === parameter || `param/${name}` === parameter;
  const find = (checkpoint: Checkpoint): TensorInfo | undefined =>
    checkpoint.tensors.find((info) => info.slot === 'accumulator' && owns(info.parameter));
  const [a, b] = [find(before), find(after)];
  const shape = before.tensors.find((info) => info.name === parameter)!.shape.join();
  return a !== undefined && a.name === b?.name && a.shape.join() === shape && b.shape.join() === shape
    ? a.name
    : undefined;
}

async function changeOf(
  info: TensorInfo,
  before: Checkpoint,
  after: Checkpoint,
  accumulator: string | undefined,
): Promise<TensorChange> {
  const streams = [before.stream(info.name), after.stream(info.name)];
  if (accumulator !== undefined) streams.push(before.stream(accumulator), after.stream(accumulator));
  let [squaresBefore, squaresAfter, squaresChange, largestChange, preconditioned, growth] = [
    0, 0, 0, 0, 0, 0,
  ];
  for await (const [a, b, ga, gb] of inStep(streams))
    for (let i = 0; i < a!.length; i++) {
      const x = Number(a![i]);
      const y = Number(b![i]);
      const moved = y - x;
      squaresBefore += x * x;
      squaresAfter += y * y;
      squaresChange += moved * moved;
      // Written so that NaN wins.
      if (!(Math.abs(moved) <= largestChange)) largestChange = Math.abs(moved);
      if (gb === undefined) continue;
      preconditioned += moved * moved * Number(gb[i]);
      growth += Number(gb[i]) - Number(ga![i]);
    }
  const [normBefore, normAfter, change] = [squaresBefore, squaresAfter, squaresChange].map(Math.sqrt);
  return {
    name: info.name,
    layer: layerOf(info.name),
    role: info.role,
    elements: info.elements,
    normBefore: normBefore!,
    normAfter: normAfter!,
    change: change!,
    relative: relativeChange(change!, normBefore!),
    largestChange,
    effectiveLearningRate: growth > 0 ? Math.sqrt(preconditioned / growth) : null,
  };
}

const relativeChange = (change: number, norm: number): number => (change === 0 ? 0 : change / norm);

function layersOf(tensors: readonly TensorChange[]): LayerChange[] {
  const layers = new Map<string, { tensors: number; change: number; norm: number }>();
  for (const { layer, role, change, normBefore } of tensors) {
    if (role !== 'parameter') continue;
    const sums = layers.get(layer) ?? { tensors: 0, change: 0, norm: 0 };
    sums.tensors++;
    sums.change += change * change;
    sums.norm += normBefore * normBefore;
    layers.set(layer, sums);
  }
  return [...layers]
    .map(([layer, sums]) => ({
      layer,
      tensors: sums.tensors,
      change: Math.sqrt(sums.change),
      relative: relativeChange(Math.sqrt(sums.change), Math.sqrt(sums.norm)),
    }))
    .sort((a, b) => byChange(a, b) || (a.layer < b.layer ? -1 : 1));
}

/** Streams of equally many values, cut into pieces that begin and end together. */
async function* inStep(streams: readonly AsyncIterable<TensorData>[]): AsyncIterable<TensorData[]> {
  const iterators = streams.map((stream) => stream[Symbol.asyncIterator]());
  const rests: (TensorData | undefined)[] = iterators.map(() => undefined);
  try {
    for (;;) {
      for (const [k, iterator] of iterators.entries())
        while (rests[k] === undefined || rests[k].length === 0) {
          const { done, value } = await iterator.next();
          if (done === true) return;
          rests[k] = value;
        }
      const length = Math.min(...rests.map((rest) => rest!.length));
      yield rests.map((rest) => rest!.subarray(0, length));
      for (const [k, rest] of rests.entries()) rests[k] = rest!.subarray(length);
    }
  } finally {
    for (const iterator of iterators) await iterator.return?.();
  }
}
