/**
 * A user's JavaScript module as a network.
 *
 *     export function loss(tf, parameters, batch) { … return scalar; }
 *     export const tasks = ['click', 'watch'];        // optional: loss then returns one scalar for each, in order
 *
 * `tf` is tfjs with right second derivatives, `parameters` and `batch` are objects of tensors by name; the parameters
 * are those of the checkpoint or capture, in its layout.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { diagError } from '../../model/errors.ts';
import type { Network, TensorMap } from './differentiate.ts';
import type { Tf } from './gradients.ts';
import { checkRows } from './losses.ts';
import { layOut } from './objective.ts';
import type { SourceTensor } from './parameters.ts';

type UserLoss = (
  tf: Tf,
  parameters: Readonly<Record<string, Tensor>>,
  batch: Readonly<Record<string, Tensor>>,
) => Tensor | readonly Tensor[];

/** @throws user-model-shape where the module does not export what it has to */
export function moduleNetwork(tf: Tf, module: unknown, sources: readonly SourceTensor[]): Network {
  const { loss, tasks = ['loss'] } = module as { loss?: unknown; tasks?: unknown };
  if (typeof loss !== 'function')
    throw diagError('user-model-shape', { problem: 'it exports no function "loss"' });
  if (!Array.isArray(tasks) || tasks.length === 0 || tasks.some((task) => typeof task !== 'string'))
    throw diagError('user-model-shape', { problem: 'its "tasks" is no array of names' });
  const tensors = layOut(
    sources.map(({ name, shape, layout }) => ({ name, shape, layout, embedding: false })),
  );
  const byName = (entries: Iterable<readonly [string, Tensor]>): Record<string, Tensor> =>
    Object.assign(Object.create(null) as Record<string, Tensor>, Object.fromEntries(entries));
  return {
    tensors,
    tasks: (tasks as string[]).map((name) => ({ name, weight: 1 })),
    // What the loss does with its rows is not known.
    rowsIndependent: false,
    notes: [],
    inputs: [],
    withoutOutputs: 'a module says what the loss is, not what its outputs are',
    check: (batch) => void checkRows(batch),
    outputs: (parameters, batch: TensorMap) => {
      const value = (loss as UserLoss)(
        tf,
        byName(tensors.map(({ name }, i) => [name, parameters[i]!] as const)),
        byName(batch),
      );
      const values = Array.isArray(value) ? (value as readonly Tensor[]) : [value as Tensor];
      if (value instanceof Promise)
        throw diagError('user-model-shape', { problem: 'its loss returned a promise: it must not be async' });
      const wrong = values.find((x) => !(x instanceof tf.Tensor) || x.size !== 1 || x.dtype !== 'float32');
      if (values.length !== tasks.length || wrong !== undefined)
        throw diagError('user-model-shape', {
          problem: `its loss returned ${values.length === tasks.length ? 'something that is no scalar tensor of floating numbers' : `${values.length} values for ${tasks.length} tasks`}`,
        });
      return values.map((x) => tf.reshape(x, []));
    },
    losses: (outputs) => outputs,
  };
}
