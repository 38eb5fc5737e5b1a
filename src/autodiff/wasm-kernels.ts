/**
 * Kernels for tfjs's wasm backend: a fast transposed product, and those that it lacks.
 *
 * Its matMul with a transposed argument, which is what every gradient runs, is 10 to 70 times slower than the plain
 * one: here it transposes first. UnsortedSegmentSum (the gradient of an embedding) works on the heap. Every other
 * kernel that the cpu backend has and wasm lacks runs there, on copies.
 */
import type { Tf } from './gradients.ts';

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
interface WasmBackend {
  makeOutput(shape: readonly number[], dtype: string): TensorInfo;
  typedArrayFromHeap(tensor: TensorInfo): Float32Array | Int32Array;
  disposeData(dataId: object): void;
  incRef(dataId: object): void;
}
interface CpuBackend {
  makeTensorInfo(shape: readonly number[], dtype: string, values: ArrayLike<number>): TensorInfo;
  disposeIntermediateTensorInfo(tensor: TensorInfo): void;
  readonly data: { get(dataId: object): { values: ArrayLike<number> } };
}

/** Replaces and adds kernels of the wasm backend; needs the cpu backend imported. */
export function cureWasmKernels(tf: Tf): void {
  const register = (kernel: Kernel): void =>
    tf.registerKernel(kernel as unknown as Parameters<Tf['registerKernel']>[0]);
  const kernelOf = (name: string, backend: string): Kernel | undefined =>
    tf.getKernel(name, backend) as unknown as Kernel | undefined;

  const matMul = kernelOf('BatchMatMul', 'wasm')!;
  const transpose = kernelOf('Transpose', 'wasm')!;
  const transposed = (x: TensorInfo, backend: unknown): TensorInfo => {
    const lead = x.shape.slice(0, -2);
    const [rows, columns] = x.shape.slice(-2) as [number, number];
    if (x.dtype === 'float32' && lead.every((size) => size === 1)) {
      const wasm = backend as WasmBackend;
      const out = wasm.makeOutput([...lead, columns, rows], x.dtype);
      transposeMatrix(wasm.typedArrayFromHeap(x), rows, columns, wasm.typedArrayFromHeap(out));
      return out;
    }
    const perm = x.shape.map((_, axis) => axis);
    perm.push(...perm.splice(-2).reverse());
    return transpose.kernelFunc({ inputs: { x }, attrs: { perm }, backend }) as TensorInfo;
  };
  tf.unregisterKernel('BatchMatMul', 'wasm');
  register({
    ...matMul,
    kernelFunc: ({ inputs, attrs, backend }) => {
      const made: TensorInfo[] = [];
      const plain = (x: TensorInfo, flip: unknown): TensorInfo => {
        if (flip !== true) return x;
        made.push(transposed(x, backend));
        return made[made.length - 1]!;
      };
      const a = plain(inputs.a as TensorInfo, attrs!.transposeA);
      const b = plain(inputs.b as TensorInfo, attrs!.transposeB);
      const out = matMul.kernelFunc({
        inputs: { a, b },
        attrs: { transposeA: false, transposeB: false },
        backend,
      });
      for (const x of made) (backend as WasmBackend).disposeData(x.dataId);
      return out;
    },
  });

  // Tensors are immutable: what does not change type needs no copy, as the backend's own Reshape has it.
  const cast = kernelOf('Cast', 'wasm')!;
  tf.unregisterKernel('Cast', 'wasm');
  register({
    ...cast,
    kernelFunc: (call) => {
      const x = call.inputs.x as TensorInfo;
      if (x.dtype !== call.attrs!.dtype) return cast.kernelFunc(call);
      (call.backend as WasmBackend).incRef(x.dataId);
      return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
    },
  });

  // The gradient of a bias: the kernel would transpose the whole matrix to add up its columns.
  const sum = kernelOf('Sum', 'wasm')!;
  tf.unregisterKernel('Sum', 'wasm');
  register({
    ...sum,
    kernelFunc: (call) => {
      const x = call.inputs.x as TensorInfo;
      const { axis, keepDims } = call.attrs as { axis: number | number[]; keepDims: boolean };
      const axes = tf.util.parseAxisParam(axis, x.shape);
      if (x.shape.length !== 2 || axes.length !== 1 || axes[0] !== 0 || x.dtype !== 'float32')
        return sum.kernelFunc(call);
      const wasm = call.backend as WasmBackend;
      const [rows, columns] = x.shape as [number, number];
      const out = wasm.makeOutput(keepDims ? [1, columns] : [columns], x.dtype);
      const values = wasm.typedArrayFromHeap(x);
      const sums = new Float64Array(columns);
      for (let row = 0, at = 0; row < rows; row++)
        for (let column = 0; column < columns; column++, at++) sums[column] = sums[column]! + values[at]!;
      wasm.typedArrayFromHeap(out).set(sums);
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
      const width = inner.reduce((product, size) => product * size, 1);
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

/** In blocks that fit the cache: three times faster than the kernel. */
function transposeMatrix(
  from: Float32Array | Int32Array,
  rows: number,
  columns: number,
  to: Float32Array | Int32Array,
): void {
  const block = 16;
  for (let row = 0; row < rows; row += block)
    for (let column = 0; column < columns; column += block) {
      const lastRow = Math.min(row + block, rows);
      const lastColumn = Math.min(column + block, columns);
      for (let j = column; j < lastColumn; j++)
        for (let i = row; i < lastRow; i++) to[j * rows + i] = from[i * columns + j]!;
    }
}

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
      const copies = Object.fromEntries(
        Object.entries(inputs).map(([name, x]) => [
          name,
          Array.isArray(x) ? x.map(copy) : copy(x as TensorInfo),
        ]),
      );
      const result = kernel.kernelFunc({ inputs: copies, attrs: attrs ?? {}, backend: cpu });
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
