/** What the recorded steps tell without a model: rates, norms and surprise of each, and where the record contradicts itself. */

import type { Finding } from '../../model/finding.ts';
import type { Capture } from '../../read/captures/read.ts';
import { sumOfSquares, type Values } from '../../step/tensor/values.ts';
import { type EmptyState, emptyState } from '../replay/empty-state.ts';
import { follow, type Prepared } from '../replay/follow.ts';
import type { TensorState } from '../replay/tensors.ts';
import { type Decayed, watchDecay } from '../replay/watch-decay.ts';
import type { Change } from './change.ts';
import { recordedSettings } from './recorded-settings.ts';

/** One value for each recorded step, by position; NaN where the state before it was lost. */
export interface Observed {
  readonly steps: readonly number[];
  readonly batchIds: readonly (number | string | undefined)[];
  /** Of each row of the batch; undefined where the recorder was given none. */
  readonly rowIds?: readonly (readonly (number | string)[] | undefined)[];
  readonly loss: readonly number[];
  /** Of the first parameter group. */
  readonly learningRate: readonly number[];
  readonly gradientNorm: readonly number[];
  readonly updateNorm: readonly number[];
  /** The same of each tensor alone. */
  readonly tensors: readonly { readonly name: string; readonly updateNorm: readonly number[] }[];
  /** Largest |g|/P with the second moment before the step; empty where the optimizer has none. */
  readonly surprise: readonly number[];
  /** ‖update‖/‖gradient‖. */
  readonly effectiveRate: readonly number[];
  /** Groups whose weight decay is too strong somewhere. */
  readonly decays: readonly Decayed[];
  /** A snapshot that the recorded steps do not lead to. */
  readonly mismatches: readonly Finding[];
  /** Step of the last snapshot that they lead to; null where there is no snapshot. */
  readonly agreedAt: number | null;
  /** Options, rates of other groups and freezing that the record states to have changed. */
  readonly settings?: readonly Change[];
  /** An optimizer that had taken no step where the run goes on, or whose state is not in the capture. */
  readonly empty: EmptyState | null;
}

/** @throws what reading the capture throws */
export async function observe(capture: Capture, prepared: Prepared): Promise<Observed> {
  const { optimizers } = prepared.setup;
  const trained = prepared.tensors.map(({ name, group }) => ({ name, group, from: null as number | null }));
  const gradientNorm: number[] = [];
  const surprise: number[] = [];
  const decay = watchDecay(
    optimizers,
    capture.steps.map(({ learningRates }) => learningRates),
  );
  const followed = await follow(capture, prepared, {
    precision: 'float32',
    visit: (index, { gradients }, tensors) => {
      for (const [t, { absent }] of gradients.entries()) if (absent !== true) trained[t]!.from ??= index;
      decay.visit(tensors);
      gradientNorm.push(Math.sqrt(gradients.reduce((sum, { values }) => sum + sumOfSquares(values), 0)));
      let largest = Number.NaN;
      for (const [t, tensor] of tensors.entries()) {
        const { values, rows, absent } = gradients[t]!;
        if (absent) continue;
        const found = surpriseOf(tensor, values, rows, optimizers[tensor.group]!);
        if (!(found <= largest)) largest = Number.isNaN(found) ? largest : found;
      }
      surprise.push(largest);
    },
  });
  const { steps } = capture;
  const padded = (values: readonly number[]): number[] =>
    steps.map((_, i) => (i < values.length ? values[i]! : Number.NaN));
  const updateNorm = padded(followed.recorded.map((record) => record.updateNorm));
  const norms = padded(gradientNorm);
  return {
    steps: steps.map(({ step }) => step),
    batchIds: steps.map(({ batchId }) => batchId),
    rowIds: steps.map(({ rowIds }) => rowIds),
    loss: steps.map(({ loss }) => loss ?? Number.NaN),
    learningRate: steps.map(({ learningRates }) => learningRates[0]!),
    gradientNorm: norms,
    updateNorm,
    tensors: prepared.tensors.map(({ name }, t) => ({
      name,
      updateNorm: padded(followed.recorded.map(({ updateNorms }) => updateNorms[t]!)),
    })),
    surprise: surprise.every(Number.isNaN) ? [] : padded(surprise),
    effectiveRate: updateNorm.map((norm, i) => norm / norms[i]!),
    decays: decay.result(
      prepared.tensors,
      followed.recorded.map(({ updateNorms }) => updateNorms),
    ),
    mismatches: followed.findings,
    agreedAt: followed.agreedAt,
    settings: recordedSettings(capture, trained),
    empty: emptyState(capture, prepared, followed),
  };
}

/** Largest |g|/P over the entries that have a gradient; NaN without a preconditioner or before the first step. */
function surpriseOf(
  { slots, stepsTaken }: TensorState,
  values: Values,
  rows: Int32Array | undefined,
  { optimizer, options }: Prepared['setup']['optimizers'][number],
): number {
  if (optimizer.preconditioner === undefined || stepsTaken < 1) return Number.NaN;
  const copies = Object.fromEntries(Object.entries(slots).map(([name, slot]) => [name, slot.slice()]));
  const rootOf = optimizer.preconditioner(copies, options, { step: stepsTaken });
  const all = Object.values(slots);
  const width = rows === undefined || rows.length === 0 ? 1 : values.length / rows.length;
  let largest = Number.NaN;
  for (let k = 0; k < values.length; k++) {
    const index = rows === undefined ? k : rows[Math.floor(k / width)]! * width + (k % width);
    // An entry without a past has nothing that a gradient could be unlike.
    if (all.every((slot) => slot[index] === 0)) continue;
    const ratio = Math.abs(values[k]!) / rootOf(index, 0);
    if (ratio > largest || Number.isNaN(largest)) largest = ratio;
  }
  return largest;
}
