/**
 * Kernels for tfjs's wasm backend: fast products of matrices, and those that it lacks.
 *
 * Its matMul with a transposed argument, which is what every gradient runs, is 10 to 70 times slower than the plain
 * one, and that is not fast: matrix-product.ts replaces both. UnsortedSegmentSum (the gradient of an embedding) works on
 * the heap. Every other kernel that the cpu backend has and wasm lacks runs there, on copies.
 */

import type { Tensor } from '@tensorflow/tfjs-core';
import { type Elementwise, elementwise } from '../../step/kernels/elementwise.ts';
import {
  type MatrixProduct,
  matrixProduct,
  SCRATCH_BYTES,
  type Strided,
} from '../../step/kernels/matrix-product.ts';
import type { WasmMemory } from '../../step/kernels/wasm-assembler.ts';
import { RELU_GRADIENT, type Tf } from './gradients.ts';

interface TensorInfo {
  readonly dataId: object;
  readonly shape: number[];
  readonly dtype: 'float32' | 'int32' | 'bool';
}
interface KernelCall {
  readonly inputs: Readonly<Record<string, TensorInfo | readonly TensorInfo[]>>;
  readonly attrs?: Readonly<Record<string, unknown>>;
  readonly backend: unknown;
}
interface Kernel {
  readonly kernelName: string;
  readonly backendName: string;
  kernelFunc(call: KernelCall): TensorInfo | TensorInfo[];
}
type HeapArray = Float32Array | Int32Array;
interface WasmBackend {
  makeOutput(shape: readonly number[], dtype: string): TensorInfo;
  typedArrayFromHeap(tensor: TensorInfo): HeapArray;
  disposeData(dataId: object): void;
  incRef(dataId: object): void;
  /** Where the data of a tensor lie, in bytes. */
  readonly dataIdMap: { get(dataId: object): { readonly memoryOffset: number } };
  readonly wasm: { readonly asm: { readonly memory: WasmMemory; malloc(bytes: number): number } };
}
interface CpuBackend {
  makeTensorInfo(shape: readonly number[], dtype: string, values: ArrayLike<number>): TensorInfo;
  disposeIntermediateTensorInfo(tensor: TensorInfo): void;
  readonly data: { get(dataId: object): { values: ArrayLike<number> } };
}

/** Whether matrix products use fused multiply-add, which needs to be there. */
let fused = false;
export function multiplyFused(on: boolean): void {
  fused = on;
}

/** Rows that are summed before their sum is added to the others'. */
const SUM_ROWS = 256;

/** Replaces and adds kernels of the wasm backend, which has to be the current one; needs the cpu backend imported. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: kernels share one scratch memory and what is compiled for it.
export function cureWasmKernels(tf: Tf): void {
  refuseWhenFull(tf.backend() as unknown as WasmBackend);
  const register = (kernel: Kernel): void =>
    tf.registerKernel(kernel as unknown as Parameters<Tf['registerKernel']>[0]);
  const kernelOf = (name: string, backend: string): Kernel | undefined =>
    tf.getKernel(name, backend) as unknown as Kernel | undefined;

  const replace = (name: string, kernelFunc: (call: KernelCall, old: Kernel) => TensorInfo): void => {
    const old = kernelOf(name, 'wasm')!;
    tf.unregisterKernel(name, 'wasm');
    register({ ...old, kernelFunc: (call) => kernelFunc(call, old) });
  };

  let scratch: number | undefined;
  const products = new Map<boolean, MatrixProduct>();
  /** a · b into `out`, given the byte addresses of its dense or strided matrices. */
  const multiply = (wasm: WasmBackend, ...args: Parameters<MatrixProduct>): void => {
    let product = products.get(fused);
    if (product === undefined) {
      scratch ??= addressOf(wasm, wasm.makeOutput([SCRATCH_BYTES / 4], 'float32'));
      product = matrixProduct(wasm.wasm.asm.memory, scratch, fused);
      products.set(fused, product);
    }
    product(...args);
  };

  let compiled: Elementwise | undefined;
  const loops = (wasm: WasmBackend): Elementwise => {
    compiled ??= elementwise(wasm.wasm.asm.memory);
    return compiled;
  };
  /** sums += rows of values; both on the heap. */
  const addRows = (wasm: WasmBackend, sums: HeapArray, values: HeapArray): void => {
    const width = sums.length;
    const { byteOffset, byteLength } = values;
    if (width % 4 === 0 && byteLength > 0)
      loops(wasm).addRows(byteOffset, byteOffset + byteLength, 4 * width, sums.byteOffset, 0);
    else
      for (let from = 0; from < values.length; from += width)
        for (let i = 0; i < width; i++) sums[i] = sums[i]! + values[from + i]!;
  };

  replace('BatchMatMul', (call, old) => {
    const [a, b] = [call.inputs.a as TensorInfo, call.inputs.b as TensorInfo];
    const wasm = call.backend as WasmBackend;
    const matrices = [
      { of: a, flip: call.attrs!.transposeA === true },
      { of: b, flip: call.attrs!.transposeB === true },
    ].map(({ of, flip }) => {
      const [rows, columns] = of.shape.slice(-2) as [number, number];
      const count = sizeOf(of.shape.slice(0, -2));
      return flip
        ? { rows: columns, columns: rows, rowStep: 4, columnStep: 4 * columns, count }
        : { rows, columns, rowStep: 4 * columns, columnStep: 4, count };
    });
    const [x, y] = matrices as [(typeof matrices)[0], (typeof matrices)[0]];
    const lead = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
    const count = sizeOf(lead);
    const plain = matrices.every((m) => m.count === 1 || m.count === count);
    if (a.dtype !== 'float32' || b.dtype !== 'float32' || x.columns !== y.rows || !plain)
      return old.kernelFunc(call) as TensorInfo;
    const out = wasm.makeOutput([...lead, x.rows, y.columns], 'float32');
    const from = (tensor: TensorInfo, m: typeof x, i: number): Strided => ({
      start: addressOf(wasm, tensor) + (m.count === 1 ? 0 : 4 * i * m.rows * m.columns),
      rowStep: m.rowStep,
      columnStep: m.columnStep,
    });
    for (let i = 0; i < count; i++) {
      const to = addressOf(wasm, out) + 4 * i * x.rows * y.columns;
      multiply(wasm, from(a, x, i), from(b, y, i), to, x.rows, x.columns, y.columns);
    }
    return out;
  });

  // Tensors are immutable: what does not change needs no copy, as the backend's own Reshape has it.
  const same = ({ inputs, backend }: KernelCall): TensorInfo => {
    const { dataId, shape, dtype } = inputs.x as TensorInfo;
    (backend as WasmBackend).incRef(dataId);
    return { dataId, shape, dtype };
  };
  replace('Identity', same);
  replace('Cast', (call, old) => {
    const x = call.inputs.x as TensorInfo;
    const { dtype } = call.attrs!;
    if (x.dtype === dtype) return same(call);
    if (dtype !== 'bool') return old.kernelFunc(call) as TensorInfo;
    // The backend's own makes 2 of 2.6 and 255 of −1.2.
    const wasm = call.backend as WasmBackend;
    const out = wasm.makeOutput(x.shape, 'bool');
    const values = wasm.typedArrayFromHeap(x);
    const flags = wasm.typedArrayFromHeap(out);
    for (let i = 0; i < values.length; i++) flags[i] = values[i] === 0 ? 0 : 1;
    return out;
  });

  // The backend's own make a number of NaN: 0, or the lower bound.
  replace('Relu', (call, old) => {
    const x = call.inputs.x as TensorInfo;
    if (x.dtype !== 'float32') return old.kernelFunc(call) as TensorInfo;
    const wasm = call.backend as WasmBackend;
    const out = wasm.makeOutput(x.shape, x.dtype);
    const whole = sizeOf(x.shape) & ~3;
    if (whole > 0) loops(wasm).relu(addressOf(wasm, x), addressOf(wasm, x) + 4 * whole, addressOf(wasm, out));
    const [values, cut] = [x, out].map((tensor) => wasm.typedArrayFromHeap(tensor));
    for (let i = whole; i < values!.length; i++) cut![i] = values![i]! < 0 ? 0 : values![i]! + 0;
    return out;
  });
  register({
    kernelName: RELU_GRADIENT,
    backendName: 'wasm',
    kernelFunc: ({ inputs, backend }) => {
      const [x, dy] = [inputs.x as TensorInfo, inputs.dy as TensorInfo];
      const wasm = backend as WasmBackend;
      const dx = wasm.makeOutput(x.shape, 'float32');
      const whole = sizeOf(x.shape) & ~3;
      const [atX, atDy, atDx] = [x, dy, dx].map((tensor) => addressOf(wasm, tensor)) as [
        number,
        number,
        number,
      ];
      if (whole > 0) loops(wasm).reluGradient(atX, atX + 4 * whole, atDy, atDx);
      const [values, given, cut] = [x, dy, dx].map((tensor) => wasm.typedArrayFromHeap(tensor));
      for (let i = whole; i < values!.length; i++) cut![i] = values![i]! <= 0 ? 0 : given![i]!;
      return dx;
    },
  });
  for (const name of ['Relu6', 'ClipByValue'])
    replace(name, (call, old) => {
      const out = old.kernelFunc(call) as TensorInfo;
      const wasm = call.backend as WasmBackend;
      const values = wasm.typedArrayFromHeap(call.inputs.x as TensorInfo);
      const cut = wasm.typedArrayFromHeap(out);
      for (let i = 0; i < values.length; i++) if (Number.isNaN(values[i]!)) cut[i] = Number.NaN;
      return out;
    });

  // These make −Infinity of NaN, or 0 with a relu in them. Where one comes in, nothing that comes out is a number.
  for (const name of [
    'Conv2D',
    'DepthwiseConv2dNative',
    'FusedConv2D',
    'FusedDepthwiseConv2D',
    '_FusedMatMul',
    'AvgPool',
    'MaxPool',
  ])
    replace(name, (call, old) => {
      const out = old.kernelFunc(call) as TensorInfo;
      const wasm = call.backend as WasmBackend;
      // A product alone keeps NaN.
      if (name === '_FusedMatMul' && call.attrs!.activation === 'linear') return out;
      const broken = Object.values(call.inputs).some(
        (x) => x != null && hasNaN(wasm.typedArrayFromHeap(x as TensorInfo)),
      );
      if (broken) wasm.typedArrayFromHeap(out).fill(Number.NaN);
      return out;
    });

  // The backend's own reads past its argument where several batches have indices of their own.
  const gatherOnCpu = onCpu(tf, kernelOf('GatherV2', 'cpu')!);
  replace('GatherV2', (call, old) => {
    const kernel = (call.attrs!.batchDims as number) > 0 ? gatherOnCpu : old;
    return kernel.kernelFunc(call) as TensorInfo;
  });

  // The gradient of a bias, of which the kernel would transpose the whole matrix.
  replace('Sum', (call, old) => {
    const x = call.inputs.x as TensorInfo;
    const { axis, keepDims } = call.attrs as { axis: number | number[]; keepDims: boolean };
    const axes = tf.util.parseAxisParam(axis, x.shape);
    if (x.shape.length !== 2 || axes.length !== 1 || axes[0] !== 0 || x.dtype !== 'float32')
      return old.kernelFunc(call) as TensorInfo;
    const wasm = call.backend as WasmBackend;
    const [rows, columns] = x.shape as [number, number];
    const out = wasm.makeOutput(keepDims ? [1, columns] : [columns], x.dtype);
    const block = wasm.makeOutput([columns], x.dtype);
    const [sums, part, values] = [out, block, x].map((tensor) => wasm.typedArrayFromHeap(tensor));
    sums!.fill(0);
    // In blocks, which keep the sums of many rows exact to more digits.
    for (let top = 0; top < rows; top += SUM_ROWS) {
      part!.fill(0);
      addRows(wasm, part!, values!.subarray(top * columns, (top + SUM_ROWS) * columns));
      addRows(wasm, sums!, part!);
    }
    wasm.disposeData(block.dataId);
    return out;
  });

  // Of the gradient of a sum.
  register({
    kernelName: 'BroadcastTo',
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs, backend }) => {
      const x = inputs.x as TensorInfo;
      const shape = attrs!.shape as number[];
      const wasm = backend as WasmBackend;
      const out = wasm.makeOutput(shape, x.dtype);
      const [from, to] = [x, out].map((tensor) => wasm.typedArrayFromHeap(tensor));
      const repeated = shape.map((size, axis) => size !== x.shape[axis]);
      const last = repeated.lastIndexOf(true);
      /** Entries of x and of the result behind one entry of an axis. */
      const steps = shape.map((_, axis) => [sizeOf(x.shape.slice(axis + 1)), sizeOf(shape.slice(axis + 1))]);
      const spread = (axis: number, read: number, write: number): void => {
        const [inner, step] = steps[axis]! as [number, number];
        const size = shape[axis]!;
        if (axis === last) {
          if (inner === 1) {
            to!.fill(from![read]!, write, write + size * step);
            return;
          }
          to!.set(from!.subarray(read, read + inner), write);
          // What is there is copied behind itself, twice as much each time.
          for (let done = inner; done < size * inner; done *= 2)
            to!.copyWithin(write + done, write, write + Math.min(done, size * inner - done));
        } else
          for (let i = 0; i < size; i++)
            spread(axis + 1, repeated[axis] ? read : read + i * inner, write + i * step);
      };
      if (last < 0) to!.set(from!);
      else if (to!.length > 0) spread(0, 0, 0);
      return out;
    },
  });

  register({
    kernelName: 'UnsortedSegmentSum',
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs, backend }) => {
      const x = inputs.x as TensorInfo;
      const segmentIds = inputs.segmentIds as TensorInfo;
      const inner = x.shape.slice(segmentIds.shape.length);
      const width = sizeOf(inner);
      const wasm = backend as WasmBackend;
      const out = wasm.makeOutput([attrs!.numSegments as number, ...inner], x.dtype);
      // After makeOutput: growing the heap detaches earlier views of it.
      const values = wasm.typedArrayFromHeap(x);
      const ids = wasm.typedArrayFromHeap(segmentIds);
      const sums = wasm.typedArrayFromHeap(out).fill(0);
      for (let i = 0; i < ids.length; i++) {
        const id = ids[i]!;
        // As in TensorFlow, a negative id drops its row.
        if (id < 0) continue;
        const to = id * width;
        const from = i * width;
        for (let j = 0; j < width; j++) sums[to + j] = sums[to + j]! + values[from + j]!;
      }
      return out;
    },
  });

  for (const { kernelName } of tf.getKernelsForBackend('cpu'))
    if (kernelOf(kernelName, 'wasm') === undefined) register(onCpu(tf, kernelOf(kernelName, 'cpu')!));
}

/** The numbers of a tensor of float32 where they lie, until the next operation; needs the wasm backend as the current one. */
export const onHeap =
  (tf: Tf) =>
  (tensor: Tensor): Float32Array =>
    (tf.backend() as unknown as WasmBackend).typedArrayFromHeap(tensor as TensorInfo) as Float32Array;

/** tfjs takes the address 0, which says that the heap is full, for memory: it goes on and computes rubbish. */
function refuseWhenFull({ wasm }: WasmBackend): void {
  const malloc = (bytes: number): number => {
    // The size is a 32-bit number on the other side.
    const address = bytes < 2 ** 32 ? wasm.asm.malloc(bytes) : 0;
    if (address === 0) throw new Error(`allocation failed: ${bytes} bytes on the heap of the wasm backend`);
    return address;
  };
  // Its loader sets the property anew on the first call.
  Object.defineProperty(wasm, '_malloc', { get: () => malloc, set: () => {} });
}

function hasNaN(values: ArrayLike<number>): boolean {
  for (let i = 0; i < values.length; i++) if (Number.isNaN(values[i]!)) return true;
  return false;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const addressOf = (wasm: WasmBackend, x: TensorInfo): number => wasm.dataIdMap.get(x.dataId).memoryOffset;

/** A kernel of the cpu backend, run on copies of wasm's tensors. */
function onCpu(tf: Tf, kernel: Kernel): Kernel {
  return {
    kernelName: kernel.kernelName,
    backendName: 'wasm',
    kernelFunc: ({ inputs, attrs, backend }) => {
      const wasm = backend as WasmBackend;
      const cpu = tf.findBackend('cpu') as unknown as CpuBackend;
      const made: TensorInfo[] = [];
      const copy = (x: TensorInfo): TensorInfo => {
        made.push(cpu.makeTensorInfo(x.shape, x.dtype, wasm.typedArrayFromHeap(x).slice()));
        return made[made.length - 1]!;
      };
      const copyAll = (x: TensorInfo | readonly TensorInfo[]): TensorInfo | TensorInfo[] =>
        Array.isArray(x) ? x.map(copy) : copy(x as TensorInfo);
      // Of some kernels, such as Einsum, the inputs are a list.
      const copies = Array.isArray(inputs)
        ? inputs.map(copyAll)
        : Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, copyAll(x)]));
      const result = kernel.kernelFunc({
        inputs: copies as KernelCall['inputs'],
        attrs: attrs ?? {},
        backend: cpu,
      });
      const back = (x: TensorInfo): TensorInfo => {
        const out = wasm.makeOutput(x.shape, x.dtype);
        wasm.typedArrayFromHeap(out).set(cpu.data.get(x.dataId).values);
        made.push(x);
        return out;
      };
      const out = Array.isArray(result) ? result.map(back) : back(result);
      for (const x of made) cpu.disposeIntermediateTensorInfo(x);
      return out;
    },
  };
}
