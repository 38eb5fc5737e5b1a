/**
 * The layers of a study's net, forward and backward, on the memory of the dense kernels. Each takes its places in the memory when
 * it is made, and adds its steps to the net's; the memory itself is there once all layers have their places.
 */
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';
import type { denseKernels, Matrix, Start } from '../../step/kernels/dense-layers.ts';
import { HEAP_START } from '../../step/kernels/heap.ts';
import { ACTIVATIONS } from './activations.ts';

/** The batch's values in a layer, and their gradients. */
export interface Signal extends Matrix {
  readonly width: number;
  /** Position of the gradients, of the same form; −1 where nothing before it learns. */
  readonly d: number;
  /** The reader that comes last, which is the first on the way back and writes where the others add. */
  last: number;
}

/** A tensor in the memory, entry after entry, and its gradient. */
export interface Place {
  readonly size: number;
  readonly at: number;
  readonly d: number;
}

interface Step {
  forward(rows: number): void;
  backward(rows: number): void;
}

export const fours = (n: number): number => (n + 3) & ~3;

/** A net that is being put together, then its memory. */
export interface Layers {
  /** The memory; there once everything has its place. */
  f: Float32Array;
  kernels: ReturnType<typeof denseKernels>;
  /** Rows that a signal has room for. */
  readonly rowsRoom: number;
  readonly places: readonly Place[];
  readonly steps: Step[];
  /** What copies parameters to where layers read them, and gradients back. */
  readonly loads: (() => void)[];
  readonly stores: (() => void)[];
  /** Entries of the memory that stay reserved; their first position. */
  reserve(entries: number): number;
  /** Entries that were reserved. */
  reserved(): number;
  signal(width: number, learns?: boolean): Signal;
  /** Says that the next step reads x; that step's number. */
  read(x: Signal): number;
  /** Whether a reader writes the gradients of x or adds to them. */
  startOf(x: Signal, reader: number): Start;
  /** Of a tensor of the spec. */
  placeOf(name: string): Place;
}

/** @param capacity rows of the largest batch */
export function layersFor(
  tensors: readonly { readonly name: string; readonly size: number }[],
  capacity: number,
): Layers {
  const rowsRoom = fours(capacity);
  const steps: Step[] = [];
  let next = HEAP_START;
  const reserve = (entries: number): number => {
    next += fours(entries);
    return next - fours(entries);
  };
  const places = tensors.map(({ size }): Place => ({ size, at: reserve(size), d: reserve(size) }));
  const byName = new Map(tensors.map(({ name }, i) => [name, places[i]!]));
  return {
    f: new Float32Array(0),
    kernels: undefined as unknown as Layers['kernels'],
    rowsRoom,
    places,
    steps,
    loads: [],
    stores: [],
    reserve,
    reserved: () => next,
    signal(width, learns = true) {
      const stride = fours(width);
      const size = rowsRoom * stride;
      return { at: reserve(size), stride, width, d: learns ? reserve(size) : -1, last: -1 };
    },
    read(x) {
      x.last = steps.length;
      return steps.length;
    },
    startOf: (x, reader) => (x.last === reader ? 'zero' : 'add'),
    placeOf: (name) => byName.get(name)!,
  };
}

/** x·K + b, and relu where asked. */
export function dense(net: Layers, x: Signal, name: string, relu = false): Signal {
  const kernel = net.placeOf(`${name}/kernel`);
  const bias = net.placeOf(`${name}/bias`);
  const width = bias.size;
  const y = net.signal(width);
  const columns = y.stride;
  // What needs no padding is used where it lies.
  const whole = x.width === x.stride && width === columns;
  const k = whole ? kernel.at : net.reserve(x.stride * columns);
  const dk = whole ? kernel.d : net.reserve(x.stride * columns);
  const turned = net.reserve(columns * x.stride);
  const weights = { at: k, stride: columns };
  const turnedWeights = { at: turned, stride: x.stride };
  const dy = { at: y.d, stride: columns };
  const dWeights = { at: dk, stride: columns };
  const dx = { at: x.d, stride: x.stride };
  net.loads.push(() => {
    const { f } = net;
    if (!whole)
      for (let i = 0; i < x.width; i++)
        f.copyWithin(k + i * columns, kernel.at + i * width, kernel.at + (i + 1) * width);
    if (x.d >= 0) net.kernels.transpose(weights, turnedWeights, x.stride, columns);
  });
  net.stores.push(() => {
    const { f } = net;
    if (!whole)
      for (let i = 0; i < x.width; i++)
        f.copyWithin(kernel.d + i * width, dk + i * columns, dk + i * columns + width);
  });
  const own = net.read(x);
  net.steps.push({
    forward(rows) {
      net.kernels.product[relu ? 'relu' : 'bias'](x, weights, y, rows, x.stride, columns, bias.at);
    },
    backward(rows) {
      if (relu) net.kernels.cut(y.d, y.at, rows * columns);
      net.kernels.sumRows(dy, rows, columns, bias.d);
      net.kernels.transposedProduct(x, dy, dWeights, x.stride, rows, columns);
      if (x.d >= 0) net.kernels.product[net.startOf(x, own)](dy, turnedWeights, dx, rows, columns, x.stride);
    },
  });
  return y;
}

/** The function of each entry of x, which nothing else reads. */
export function activated(net: Layers, x: Signal, activation: RankingSpec['shared']['activation']): Signal {
  if (activation === 'linear') return x;
  const y = net.signal(x.width);
  net.read(x);
  if (activation === 'relu')
    net.steps.push({
      forward(rows) {
        const { f } = net;
        for (let i = 0; i < rows * x.stride; i++) {
          const z = f[x.at + i]!;
          f[y.at + i] = z <= 0 ? 0 : z;
        }
      },
      backward(rows) {
        const { f } = net;
        net.kernels.cut(y.d, y.at, rows * y.stride);
        f.copyWithin(x.d, y.d, y.d + rows * y.stride);
      },
    });
  else {
    const { value, derivative } = ACTIVATIONS[activation];
    net.steps.push({
      forward(rows) {
        const { f } = net;
        for (let i = 0; i < rows; i++)
          for (let j = i * x.stride; j < i * x.stride + x.width; j++) f[y.at + j] = value(f[x.at + j]!);
      },
      backward(rows) {
        const { f } = net;
        for (let i = 0; i < rows; i++)
          for (let j = i * x.stride; j < i * x.stride + x.width; j++)
            f[x.d + j] = f[y.d + j]! * derivative(f[x.at + j]!);
      },
    });
  }
  return y;
}

/** The rows of x at mean 0 and variance 1, times γ, plus β. */
export function normalised(net: Layers, x: Signal, name: string, epsilon: number): Signal {
  const gamma = net.placeOf(`${name}/gamma`);
  const beta = net.placeOf(`${name}/beta`);
  const { width, stride } = x;
  const y = net.signal(width);
  const centred = net.reserve(net.rowsRoom * stride);
  const inverse = net.reserve(net.rowsRoom);
  net.read(x);
  net.steps.push({
    forward(rows) {
      const { f } = net;
      for (let i = 0; i < rows; i++) {
        const from = i * stride;
        let mean = 0;
        for (let j = 0; j < width; j++) mean += f[x.at + from + j]!;
        mean /= width;
        let variance = 0;
        for (let j = 0; j < width; j++) variance += (f[x.at + from + j]! - mean) ** 2;
        const scale = 1 / Math.sqrt(variance / width + epsilon);
        f[inverse + i] = scale;
        for (let j = 0; j < width; j++) {
          const hat = (f[x.at + from + j]! - mean) * scale;
          f[centred + from + j] = hat;
          f[y.at + from + j] = hat * f[gamma.at + j]! + f[beta.at + j]!;
        }
      }
    },
    backward(rows) {
      const { f } = net;
      f.fill(0, gamma.d, gamma.d + width);
      f.fill(0, beta.d, beta.d + width);
      for (let i = 0; i < rows; i++) {
        const from = i * stride;
        let mean = 0;
        let along = 0;
        for (let j = 0; j < width; j++) {
          const d = f[y.d + from + j]!;
          const hat = f[centred + from + j]!;
          f[gamma.d + j] = f[gamma.d + j]! + d * hat;
          f[beta.d + j] = f[beta.d + j]! + d;
          mean += d * f[gamma.at + j]!;
          along += d * f[gamma.at + j]! * hat;
        }
        mean /= width;
        along /= width;
        for (let j = 0; j < width; j++)
          f[x.d + from + j] =
            f[inverse + i]! * (f[y.d + from + j]! * f[gamma.at + j]! - mean - f[centred + from + j]! * along);
      }
    },
  });
  return y;
}

/** x₀ ⊙ (x·K + b) + x, where x₀ is the input. */
export function crossed(net: Layers, input: Signal, x: Signal, name: string): Signal {
  const z = dense(net, x, name);
  const y = net.signal(x.width);
  // The last reader in the forward pass is the first in the backward pass: it initialises dx, earlier readers accumulate.
  const own = net.read(x);
  net.read(input);
  net.steps.push({
    forward(rows) {
      const { f } = net;
      for (let i = 0; i < rows * x.stride; i++) f[y.at + i] = f[input.at + i]! * f[z.at + i]! + f[x.at + i]!;
    },
    backward(rows) {
      const { f } = net;
      const adds = input.last !== own;
      for (let i = 0; i < rows * x.stride; i++) {
        const d = f[y.d + i]!;
        f[z.d + i] = d * f[input.at + i]!;
        if (input.d >= 0) {
          const share = d * f[z.at + i]!;
          f[input.d + i] = adds ? f[input.d + i]! + share : share;
        }
      }
      if (x.d >= 0)
        for (let i = 0; i < rows * x.stride; i++) {
          const d = f[y.d + i]!;
          f[x.d + i] = x === input ? f[x.d + i]! + d : d;
        }
    },
  });
  return y;
}

/** Σ over the experts of softmax(gate)ₑ times its output. */
export function mixed(net: Layers, experts: readonly Signal[], gate: Signal): Signal {
  const { width, stride } = experts[0]!;
  const y = net.signal(width);
  const shares = net.reserve(net.rowsRoom * experts.length);
  const own = net.read(gate);
  for (const expert of experts) net.read(expert);
  net.steps.push({
    forward(rows) {
      const { f } = net;
      for (let i = 0; i < rows; i++) {
        let most = Number.NEGATIVE_INFINITY;
        for (let e = 0; e < experts.length; e++) most = Math.max(most, f[gate.at + i * gate.stride + e]!);
        let sum = 0;
        const at = shares + i * experts.length;
        for (let e = 0; e < experts.length; e++) {
          f[at + e] = Math.exp(f[gate.at + i * gate.stride + e]! - most);
          sum += f[at + e]!;
        }
        for (let e = 0; e < experts.length; e++) f[at + e] = f[at + e]! / sum;
        for (let j = 0; j < width; j++) {
          let value = 0;
          for (let e = 0; e < experts.length; e++) value += f[at + e]! * f[experts[e]!.at + i * stride + j]!;
          f[y.at + i * stride + j] = value;
        }
      }
    },
    backward(rows) {
      const { f } = net;
      const inner = new Float64Array(experts.length);
      for (let i = 0; i < rows; i++) {
        const at = shares + i * experts.length;
        let mean = 0;
        for (const [e, expert] of experts.entries()) {
          let product = 0;
          const adds = expert.last !== own;
          for (let j = i * stride; j < i * stride + width; j++) {
            const d = f[y.d + j]!;
            product += d * f[expert.at + j]!;
            const share = d * f[at + e]!;
            f[expert.d + j] = adds ? f[expert.d + j]! + share : share;
          }
          inner[e] = product;
          mean += product * f[at + e]!;
        }
        for (let e = 0; e < experts.length; e++)
          f[gate.d + i * gate.stride + e] = f[at + e]! * (inner[e]! - mean);
      }
    },
  });
  return y;
}
