/** Views of a storage: offset, shape and strides as in PyTorch. */

import type { Dtype, TensorData } from '../../../model/checkpoint.ts';
import { diagError } from '../../../model/errors.ts';
import type { Extent } from '../../bytes/source.ts';
import { DTYPE_BYTES, decodePieces, valuesPer } from '../dtypes.ts';
import { malformed } from '../faults.ts';
import { joinPieces } from '../lazy-checkpoint.ts';

/** The bytes that one or more tensors are views of. */
export interface Storage {
  readonly byteLength: number;
  /** Bytes [start, end), in pieces. */
  pieces(start: number, end: number): AsyncIterable<Uint8Array>;
  /** Where bytes [start, end) lie in the file. */
  place(start: number, end: number): Extent;
}

/** A view; offset and strides count elements. */
export interface StridedView {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  readonly offset: number;
  readonly elements: number;
  readonly bigEndian: boolean;
}

/** Elements that a view may have beyond those of its storage (`expand` repeats entries by a stride of 0). */
const MAX_REPEATED = 2 ** 26;
const GATHERED = 2 ** 18;

/**
 * Checks that a view lies inside its storage.
 *
 * @throws checkpoint-malformed, limit-exceeded
 */
export function checkView(view: StridedView, storage: Storage, path: string, tensor: string): void {
  const { shape, stride, offset, elements, dtype } = view;
  const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  const end = offset + lastIndex(view) + (elements > 0 ? 1 : 0);
  const available = storage.byteLength / DTYPE_BYTES[dtype];
  if (shape.length !== stride.length || !stride.every(isCount) || !isCount(offset) || !(end <= available))
    throw malformed(
      'PyTorch',
      `tensor "${tensor}" reaches to element ${end} of a storage of ${Math.floor(available)}`,
      { path, tensor },
    );
  if (elements > available + MAX_REPEATED)
    throw diagError(
      'limit-exceeded',
      {
        what: `the number of elements that "${tensor}" repeats`,
        found: elements - available,
        limit: MAX_REPEATED,
        hint: 'save it with .contiguous()',
      },
      { path, tensor },
    );
}

const lastIndex = ({ shape, stride, elements }: StridedView): number =>
  elements === 0 ? 0 : shape.reduce((sum, size, axis) => sum + (size - 1) * stride[axis]!, 0);

/** Whether the elements lie one after another in row-major order; the stride of an axis of size 1 means nothing. */
function isContiguous({ shape, stride, elements }: StridedView): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return elements === 0;
    expected *= shape[axis]!;
  }
  return true;
}

/** Elements from the first to the last that a view shows, in the storage. */
const spanOf = (view: StridedView): number =>
  view.elements === 0 ? 0 : isContiguous(view) ? view.elements : lastIndex(view) + 1;

/** The part of a file that a view spans. */
export function extentOf(view: StridedView, storage: Storage): Extent {
  const size = DTYPE_BYTES[view.dtype];
  return storage.place(view.offset * size, (view.offset + spanOf(view)) * size);
}

/**
 * The values of a view in row-major order. A contiguous one is read as it lies; of another the part of the storage
 * that it spans is held in memory.
 */
export async function* streamView(view: StridedView, storage: Storage): AsyncIterable<TensorData> {
  const { dtype, shape, stride, offset, elements, bigEndian } = view;
  const size = DTYPE_BYTES[dtype];
  const contiguous = isContiguous(view);
  const span = contiguous ? elements : lastIndex(view) + 1;
  const lying = decodePieces(storage.pieces(offset * size, (offset + span) * size), dtype, bigEndian);
  if (contiguous) {
    yield* lying;
    return;
  }
  const parts = valuesPer(dtype);
  const source = (await joinPieces(lying, span * parts)) as Float64Array;
  const index = shape.map(() => 0);
  let at = 0;
  for (let done = 0; done < elements; ) {
    const count = Math.min(GATHERED, elements - done);
    const gathered = new (source.constructor as Float64ArrayConstructor)(count * parts);
    for (let i = 0; i < count; i++) {
      for (let part = 0; part < parts; part++) gathered[i * parts + part] = source[at * parts + part]!;
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        at += stride[axis]!;
        if (++index[axis]! < shape[axis]!) break;
        at -= index[axis]! * stride[axis]!;
        index[axis] = 0;
      }
    }
    done += count;
    yield gathered;
  }
}
