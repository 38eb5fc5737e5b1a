/** What every format hands back: a list of tensors, each with a way to stream its values. */

import type { Checkpoint, Dtype, TensorData, TensorInfo } from '../../model/checkpoint.ts';
import { diagError } from '../../model/errors.ts';
import type { LossReason } from '../../model/log.ts';
import type { Extent } from '../bytes/source.ts';
import { isHalf, valuesPer } from './dtypes.ts';
import { ambiguous } from './faults.ts';
import { accountOf, type LostTensors, type StoredBytes } from './stored-bytes.ts';

export interface LazyTensor {
  readonly info: TensorInfo;
  /** Where its bytes lie in the file, or files, of the checkpoint. Reads no more than headers. */
  extents(): readonly Extent[] | Promise<readonly Extent[]>;
  /**
   * The values in row-major order, in one or more pieces of at most a few MiB, all of one array type.
   *
   * @param as another type, of the same width, that the bytes are read as; a format may leave it out of account
   */
  stream(as?: Dtype): AsyncIterable<TensorData>;
}

interface Parts extends Omit<Checkpoint, 'kind' | 'tensors' | 'read' | 'stream' | 'account'> {
  /** The bytes of its files; a function where it takes reading to know them. */
  readonly stored: StoredBytes | (() => Promise<StoredBytes>);
}

/**
 * A checkpoint over lazily read tensors.
 *
 * @throws checkpoint-ambiguous where two tensors have one name. `read` and `stream` throw tensor-missing for a name that is not there, and what the format finds wrong.
 */
export function lazyCheckpoint({ stored, ...parts }: Parts, tensors: readonly LazyTensor[]): Checkpoint {
  const byName = new Map(tensors.map((tensor) => [tensor.info.name, tensor]));
  const seen = new Set<string>();
  for (const { info } of tensors) {
    if (seen.has(info.name))
      throw ambiguous(`two tensors are called "${info.name}"`, { path: parts.path, tensor: info.name });
    seen.add(info.name);
  }
  const find = (name: string): LazyTensor => {
    const tensor = byName.get(name);
    if (tensor === undefined)
      throw diagError(
        'tensor-missing',
        { name, found: firstNames([...byName.keys()]) },
        { path: parts.path },
      );
    return tensor;
  };
  return {
    ...parts,
    kind: 'checkpoint',
    tensors: tensors.map((tensor) => tensor.info),
    read: async (name) => {
      const { info, stream } = find(name);
      return joinPieces(stream(), info.elements * valuesPer(info.dtype));
    },
    stream: (name, as) => {
      const { info, stream } = find(name);
      return stream(as === 'bits' && isHalf(info.dtype) ? 'U16' : undefined);
    },
    account: async (unreadable = new Map()) => {
      const read: Extent[] = [];
      const damaged: LostTensors[] = [];
      for (const { info, extents } of tensors) {
        const own = await extents();
        const reason = unreadable.get(info.name);
        if (reason === undefined) read.push(...own);
        else damaged.push(...lostAt(reason, own));
      }
      return accountOf(typeof stored === 'function' ? await stored() : stored, read, damaged);
    },
  };
}

/** A tensor that was lost, which may lie in several places. */
const lostAt = (reason: LossReason, extents: readonly Extent[]): LostTensors[] =>
  (extents.length === 0 ? [{ start: 0, end: 0 }] : extents).map((extent, k) => ({
    reason,
    tensors: k === 0 ? 1 : 0,
    extent,
  }));

/** Some names for a message. */
export const firstNames = (names: readonly string[]): string[] =>
  names.length <= 8 ? [...names] : [...names.slice(0, 8), `… (${names.length} in all)`];

/** The `length` values of a tensor. Each piece is put in its place as it comes: all of them at once would take as much memory again. */
export async function joinPieces(pieces: AsyncIterable<TensorData>, length: number): Promise<TensorData> {
  let whole: TensorData | undefined;
  let at = 0;
  for await (const piece of pieces) {
    if (piece.length === length) whole = piece;
    else {
      whole ??= new (piece.constructor as new (length: number) => TensorData)(length);
      // All pieces of a tensor are of one type, which TypeScript cannot know of a union.
      (whole as Float64Array).set(piece as Float64Array, at);
    }
    at += piece.length;
  }
  return whole!;
}

/** Metadata keys that hold the training step, best first. An epoch is not a step. */
const STEP_KEYS = ['global_step', 'step', 'iteration', 'iter', 'num_updates', 'iter_num'];

/** Puts the count of steps that an optimizer keeps as a tensor of one element, where there is one, with the metadata. */
export async function addCountedSteps(
  tensors: readonly LazyTensor[],
  metadata: Map<string, string | number | boolean | null>,
): Promise<void> {
  const counter = tensors.find(({ info }) => info.slot === 'step' && info.elements === 1);
  if (counter !== undefined)
    for await (const values of counter.stream()) metadata.set('step', Number(values[0]));
}

/** `step-00000300`, `checkpoint-500`, `model.ckpt-1000`, `epoch=3-step=400`, `iter_20`. */
const STEP_IN_NAME =
  /(?:^|[^a-z])(?:global[-_]?step|step|steps|iter|iteration|checkpoint|ckpt)[-_=]?(\d{1,15})(?!\d)/gi;

/** The training step that a file's own metadata, else its name, else its folder's name says; null where none does. */
export function stepOf(path: string, metadata: Checkpoint['metadata']): number | null {
  for (const key of STEP_KEYS) {
    const value = metadata.get(key);
    const step = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
    if (typeof step === 'number' && Number.isSafeInteger(step) && step >= 0) return step;
  }
  for (const part of path.split(/[\\/]/).slice(-2).reverse()) {
    const found = [...part.matchAll(STEP_IN_NAME)].at(-1)?.[1];
    if (found !== undefined) return Number(found);
  }
  return null;
}
