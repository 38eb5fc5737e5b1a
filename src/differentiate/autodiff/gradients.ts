/**
 * Gradients of tfjs kernels that can be differentiated again.
 *
 * tfjs 4.22 saves the **output** of sigmoid, tanh, exp, elu, softmax, max, min, pow for their gradients; the gradient
 * of such a gradient loses the path through it, so a Hessian-vector product is off by 10 % to 140 % without any error
 * (tfjs issue 3252). Here they are registered again saving inputs only, and recomputing. Comparisons and logical
 * kernels get zero gradients, without which where() and the like throw at second order. What is neither listed here
 * nor in {@link RIGHT_IN_TFJS} is refused by name.
 */
import type * as Core from '@tensorflow/tfjs-core';
import { diagError } from '../../model/errors.ts';

export type Tf = typeof Core;
type Tensor = Core.Tensor;

/** Kernels whose gradients in tfjs 4.22 are right at first and second order (test/autodiff/op-table.test.ts). */
const RIGHT_IN_TFJS: ReadonlySet<string> = new Set([
  'Abs',
  'Add',
  'AddN',
  'BatchMatMul',
  'BroadcastTo',
  'ClipByValue',
  'Concat',
  'Conv2D',
  'Conv2DBackpropInput',
  'Cos',
  'DepthwiseConv2dNative',
  'Erf',
  'ExpandDims',
  'Floor',
  'FusedBatchNorm',
  'GatherV2',
  'Identity',
  'LeakyRelu',
  'Log',
  'Log1p',
  'Maximum',
  'Mean',
  'Minimum',
  'Multiply',
  'Neg',
  'OneHot',
  'OnesLike',
  'Pack',
  'PadV2',
  'Prelu',
  'RealDiv',
  'Reciprocal',
  'Relu6',
  'Reshape',
  'Reverse',
  'Rsqrt',
  'Select',
  'Selu',
  'Sign',
  'Sin',
  'Slice',
  'Softplus',
  'SplitV',
  'Sqrt',
  'Square',
  'Step',
  'Sub',
  'Tile',
  'Transpose',
  'Unpack',
  'UnsortedSegmentSum',
  'ZerosLike',
]);

/** A kernel of ours (wasm-kernels.ts): of `dy` and `x`, dy where x > 0 and 0 elsewhere. */
export const RELU_GRADIENT = 'ReluGradient';

/** Kernels that are constant almost everywhere: zero gradients, of one or of two inputs. */
const FLAT_UNARY = ['LogicalNot', 'IsNan', 'IsInf', 'IsFinite', 'ArgMax', 'ArgMin', 'Round', 'Ceil'] as const;
const FLAT_BINARY = [
  'Greater',
  'GreaterEqual',
  'Less',
  'LessEqual',
  'Equal',
  'NotEqual',
  'LogicalAnd',
  'LogicalOr',
] as const;

const cured = new WeakSet<Tf>();

/** Registers the gradients, once for an instance of tfjs. */
export function cureGradients(tf: Tf): void {
  if (cured.has(tf)) return;
  cured.add(tf);
  saveLightly(tf);
  const ours = new Set<string>();
  const register: Register = (kernelName, inputsToSave, gradFunc) => {
    ours.add(kernelName);
    if (tf.getGradient(kernelName)) tf.unregisterGradient(kernelName);
    tf.registerGradient({
      kernelName,
      inputsToSave,
      outputsToSave: [],
      gradFunc: (dy, saved, attrs) =>
        gradFunc(dy as Tensor, saved, attrs as unknown as Record<string, unknown>),
    });
  };
  cureElementwise(tf, register);
  cureReductions(tf, register);
  cureProduct(tf, register);
  addFlat(tf, register);
  addConvolutions(tf, register);
  curePooling(tf, register);
  for (const name of Object.values(tf) as unknown[])
    if (typeof name === 'string' && tf.getGradient(name) && !ours.has(name) && !RIGHT_IN_TFJS.has(name))
      register(name, [], () => {
        throw diagError('op-not-differentiable', { op: name });
      });
}

/** Registers the gradient of a kernel in place of that of tfjs. */
type Register = (
  kernelName: string,
  inputsToSave: string[],
  gradFunc: (dy: Tensor, saved: Tensor[], attrs: Record<string, unknown>) => Record<string, () => Tensor>,
) => void;

/**
 * tfjs's own are wrong at first order: AvgPoolGrad divides by the whole window at the edges too (cpu, wasm),
 * MaxPoolGrad loses windows without a positive entry (wasm). Here both are convolutions of single channels, which can
 * be differentiated again.
 */
function curePooling(tf: Tf, register: Register): void {
  register('AvgPool', ['x'], (dy, [x], attrs) => ({
    x: () => {
      const windows = attrs as unknown as Windows;
      const [n, height, width, channels] = x!.shape as [number, number, number, number];
      const ones = tf.ones([...pairOf(windows.filterSize), 1, 1]) as Core.Tensor4D;
      const inside = tf.conv2d(
        tf.ones<Core.Rank.R4>([1, height, width, 1]),
        ones,
        windows.strides,
        windows.pad,
      );
      const shares = channelsApart(tf, tf.div(dy, inside));
      const each = [n * channels, height, width, 1];
      return channelsTogether(tf, conv2dInputGradient(tf, each, shares, ones, attrs), channels);
    },
  }));
  // The gradient goes to the first of the largest in a window, as in TensorFlow and PyTorch.
  register('MaxPool', ['x'], (dy, [x], attrs) => ({
    x: () => {
      const { filterSize, strides, pad } = attrs as unknown as Windows;
      const shape = x!.shape as [number, number, number, number];
      const { padInfo } = tf.backend_util.computePool2DInfo(shape, filterSize, strides, 1, pad);
      const [height, width] = pairOf(filterSize);
      const margins: [number, number][] = [
        [0, 0],
        [padInfo.top, padInfo.bottom],
        [padInfo.left, padInfo.right],
        [0, 0],
      ];
      const padded = channelsApart(tf, tf.pad(x!, margins, -LARGEST));
      const places = height * width;
      const place = tf.reshape(tf.eye(places), [height, width, 1, places]) as Core.Tensor4D;
      const entries = tf.conv2d(padded as Core.Tensor4D, place, strides, 'valid');
      const chosen = tf.cast(tf.oneHot(tf.argMax(entries, 3), places), 'float32');
      const spread = tf.mul(channelsApart(tf, dy), chosen);
      const whole = conv2dInputGradient(tf, padded.shape, spread, place, { strides, pad: 'valid' });
      return tf.slice(channelsTogether(tf, whole, shape[3]), [0, padInfo.top, padInfo.left, 0], shape);
    },
  }));
}

function cureElementwise(tf: Tf, register: Register): void {
  const unary = (kernel: string, derivative: (x: Tensor, attrs: Record<string, unknown>) => Tensor): void =>
    register(kernel, ['x'], (dy, [x], attrs) => ({ x: () => tf.mul(dy, derivative(x!, attrs)) }));

  // Not y(1 − y): above 10 float32 has no digits left of 1 − y.
  unary('Sigmoid', (x) => tf.mul(tf.sigmoid(x), tf.sigmoid(tf.neg(x))));
  unary('Tanh', (x) => tf.sub(1, tf.square(tf.tanh(x))));
  unary('Exp', (x) => tf.exp(x));
  unary('Expm1', (x) => tf.exp(x));
  // exp of the negative side only: the other side would overflow and 0·Inf is NaN.
  unary('Elu', (x) => {
    const positive = tf.step(x);
    return tf.add(positive, tf.mul(tf.sub(1, positive), tf.exp(tf.minimum(x, 0))));
  });

  register('Relu', ['x'], (dy, [x]) => ({ x: () => reluGradient(tf, dy, x!) }));
  register(RELU_GRADIENT, ['x'], (ddx, [x]) => ({
    dy: () => reluGradient(tf, ddx, x!),
    x: () => tf.zerosLike(x!),
  }));

  // tfjs forgets to sum over broadcast axes.
  register('SquaredDifference', ['a', 'b'], (dy, [a, b]) => ({
    a: () => unbroadcast(tf, tf.mul(dy, tf.mul(tf.sub(a!, b!), 2)), a!.shape),
    b: () => unbroadcast(tf, tf.mul(dy, tf.mul(tf.sub(b!, a!), 2)), b!.shape),
  }));

  register('Pow', ['a', 'b'], (dy, [a, b]) => ({
    a: () => unbroadcast(tf, tf.mul(dy, tf.mul(b!, tf.pow(a!, tf.sub(tf.cast(b!, 'float32'), 1)))), a!.shape),
    b: () => {
      const positive = tf.greater(a!, 0);
      const log = tf.log(tf.where(positive, a!, tf.onesLike(a!)));
      return unbroadcast(tf, tf.mul(dy, tf.mul(tf.pow(a!, b!), log)), b!.shape);
    },
  }));
}

function cureReductions(tf: Tf, register: Register): void {
  register('Softmax', ['logits'], (dy, [x], attrs) => ({
    logits: () => {
      const y = tf.softmax(x!, attrs.dim as number);
      const scaled = tf.mul(dy, y);
      return tf.sub(scaled, tf.mul(tf.sum(scaled, [attrs.dim as number], true), y));
    },
  }));
  register('LogSoftmax', ['logits'], (dy, [x], attrs) => ({
    logits: () =>
      tf.sub(dy, tf.mul(tf.sum(dy, attrs.axis as number, true), tf.softmax(x!, attrs.axis as number))),
  }));

  // tfjs multiplies with a tensor of ones, which it makes anew each time.
  register('Sum', ['x'], (dy, [x], attrs) => ({
    x: () => {
      const axes = tf.util.parseAxisParam(attrs.axis as number[], x!.shape);
      const kept = x!.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
      return broadcast(tf, tf.reshape(dy, kept), x!.shape);
    },
  }));

  // Ties share the gradient, as in TensorFlow and torch.amax; tfjs gives each of them all of it.
  const extreme = (kernel: 'Max' | 'Min'): void =>
    register(kernel, ['x'], (dy, [x], attrs) => ({
      x: () => {
        const axes = tf.util.parseAxisParam((attrs.reductionIndices ?? attrs.axis) as number[], x!.shape);
        const y = kernel === 'Max' ? tf.max(x!, axes, true) : tf.min(x!, axes, true);
        const chosen = tf.cast(tf.equal(x!, y), 'float32');
        return tf.mul(tf.reshape(dy, y.shape), tf.div(chosen, tf.sum(chosen, axes, true)));
      },
    }));
  extreme('Max');
  extreme('Min');
}

/** Product of the others by prefix and suffix products: right where an entry is 0, unlike y/x. */
function cureProduct(tf: Tf, register: Register): void {
  register('Prod', ['x'], (dy, [x], attrs) => ({
    x: () => {
      const axes = tf.util.parseAxisParam((attrs.axis ?? []) as number[], x!.shape);
      const all = axes.length === 0 ? x!.shape.map((_, i) => i) : axes;
      const kept = x!.shape.map((_, i) => i).filter((i) => !all.includes(i));
      const order = [...kept, ...all];
      const n = all.reduce((product, axis) => product * x!.shape[axis]!, 1);
      const rows = tf.reshape(tf.transpose(x!, order), [-1, n]);
      const column = (i: number): Tensor => tf.slice(rows, [0, i], [-1, 1]);
      const one = tf.ones([rows.shape[0]!, 1]) as Tensor;
      const prefix = [one];
      const suffix = [one];
      for (let i = 0; i < n - 1; i++) {
        prefix.push(tf.mul(prefix[i]!, column(i)));
        suffix.push(tf.mul(suffix[i]!, column(n - 1 - i)));
      }
      const others = tf.concat(
        prefix.map((p, i) => tf.mul(p, suffix[n - 1 - i]!)),
        1,
      );
      const gradient = tf.mul(tf.reshape(dy, [-1, 1]), others);
      const inverse = order.map((_, i) => order.indexOf(i));
      return tf.transpose(
        tf.reshape(
          gradient,
          order.map((axis) => x!.shape[axis]!),
        ),
        inverse,
      );
    },
  }));
}

function addFlat(tf: Tf, register: Register): void {
  for (const kernel of FLAT_UNARY) register(kernel, ['x'], (_dy, [x]) => ({ x: () => tf.zeros(x!.shape) }));
  for (const kernel of FLAT_BINARY)
    register(kernel, ['a', 'b'], (_dy, [a, b]) => ({
      a: () => tf.zeros(a!.shape),
      b: () => tf.zeros(b!.shape),
    }));

  // tfjs passes the gradient through a cast to whole numbers as if it changed nothing.
  register('Cast', [], (dy, _saved, { dtype }) => ({
    x: () => (dtype === 'int32' || dtype === 'bool' ? tf.zerosLike(dy) : tf.cast(dy, 'float32')),
  }));
}

/** Linear in each input: the gradients of what the gradients of convolutions run. */
function addConvolutions(tf: Tf, register: Register): void {
  register('Conv2DBackpropFilter', ['x', 'dy'], (ddw, [x, dy], attrs) => {
    const { strides, pad } = attrs as unknown as Windows;
    return {
      x: () => conv2dInputGradient(tf, x!.shape, dy!, ddw, attrs),
      dy: () => tf.conv2d(x as Core.Tensor4D, ddw as Core.Tensor4D, strides, pad),
    };
  });
  const depthwise = (kernel: 'Input' | 'Filter', inputs: Core.NamedTensorMap, attrs: object): Tensor =>
    tf.engine().runKernel(`DepthwiseConv2dNativeBackprop${kernel}`, inputs, attrs as Core.NamedAttrMap);
  const depthwiseForward = (x: Tensor, filter: Tensor, attrs: object): Tensor => {
    const { strides, pad } = attrs as Windows;
    return tf.depthwiseConv2d(x as Core.Tensor4D, filter as Core.Tensor4D, strides, pad);
  };
  register('DepthwiseConv2dNativeBackpropFilter', ['x', 'dy'], (ddw, [x, dy], attrs) => ({
    x: () => depthwise('Input', { dy: dy!, filter: ddw }, { ...attrs, inputShape: x!.shape }),
    dy: () => depthwiseForward(x!, ddw, attrs),
  }));
  register('DepthwiseConv2dNativeBackpropInput', ['dy', 'filter'], (ddx, [dy, filter], attrs) => ({
    dy: () => depthwiseForward(ddx, filter!, attrs),
    filter: () => depthwise('Filter', { x: ddx, dy: dy! }, { ...attrs, filterShape: filter!.shape }),
  }));
}

/** What kernels of convolutions and pools are given. */
interface Windows {
  readonly filterSize: number | [number, number];
  readonly strides: number | [number, number];
  readonly pad: 'same' | 'valid' | number;
}
/** Of float32. */
const LARGEST = 3.4028234e38;
const pairOf = (size: number | [number, number]): [number, number] =>
  typeof size === 'number' ? [size, size] : size;

function conv2dInputGradient(
  tf: Tf,
  shape: readonly number[],
  dy: Tensor,
  filter: Tensor,
  { strides, pad, dimRoundingMode }: Record<string, unknown>,
): Tensor {
  return tf.engine().runKernel('Conv2DBackpropInput', { dy, filter }, {
    strides,
    pad,
    dimRoundingMode,
    dataFormat: 'NHWC',
    inputShape: [...shape],
  } as Core.NamedAttrMap) as Tensor;
}

/** [n, h, w, c] as n·c images of one channel. */
function channelsApart(tf: Tf, x: Tensor): Tensor {
  const [n, height, width, channels] = x.shape as [number, number, number, number];
  return tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [n * channels, height, width, 1]);
}
/** Back from {@link channelsApart}. */
function channelsTogether(tf: Tf, x: Tensor, channels: number): Tensor {
  const [n, height, width] = x.shape as [number, number, number, number];
  return tf.transpose(tf.reshape(x, [n / channels, channels, height, width]), [0, 2, 3, 1]);
}

/** Kernels that are constant almost everywhere: what depends on an input only through one of them has no derivative by it. */
const FLAT: ReadonlySet<string> = new Set([
  ...FLAT_UNARY,
  ...FLAT_BINARY,
  'Step',
  'Sign',
  'Floor',
  'OnesLike',
  'ZerosLike',
]);

/** Whether what comes out of a kernel has a derivative by what went in. */
const leadsFrom = (kernelName: string, input: string): boolean =>
  !FLAT.has(kernelName) && !(kernelName === RELU_GRADIENT && input === 'x');

/** What tfjs notes of one operation, as far as it is used here. */
interface TapeNode {
  readonly kernelName: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: readonly Tensor[];
  readonly saved: readonly Tensor[];
  readonly gradient?: (dys: readonly (Tensor | null)[]) => Readonly<Record<string, () => Tensor>>;
}
/** The parts of the engine that its own `gradients` is made of, which tfjs declares private. */
interface Recorder {
  readonly state: {
    gradientDepth: number;
    activeTape: TapeNode[] | null;
    readonly activeScope: { readonly id: number } | null;
  };
  startTape(): void;
  endTape(): void;
}
const recorderOf = (tf: Tf): Recorder => tf.engine() as unknown as Recorder;

/**
 * What a kernel saves for its gradient is a second handle of the tensor: the same data and the same id, by which the tape
 * knows it. tfjs runs a kernel for each and notes it on the tape, a third of all that a gradient runs.
 */
function saveLightly(tf: Tf): void {
  const engine = tf.engine() as unknown as {
    readonly backend: { incRef(dataId: object): void };
    makeTensorFromDataId(dataId: object, shape: number[], dtype: Core.DataType, backend: object): Tensor;
    clone(x: Tensor): Tensor;
  };
  // Only saving calls it: a kernel's inputs and outputs, and those that a customGrad names.
  engine.clone = ({ id, dataId, shape, dtype }) => {
    const { backend } = engine;
    backend.incRef(dataId);
    return Object.assign(engine.makeTensorFromDataId(dataId, shape, dtype, backend), { id });
  };
}

/** Runs `f` with a tape; after an error the engine is left as it was. */
function recorded<T>(tf: Tf, f: () => T): T {
  const engine = recorderOf(tf);
  engine.startTape();
  try {
    return f();
  } catch (error) {
    if (engine.state.gradientDepth === 1) freeTape(engine);
    throw error;
  } finally {
    engine.endTape();
  }
}
function freeTape({ state }: Recorder): void {
  freeSaved(state.activeTape);
  state.activeTape = null;
}
function freeSaved(tape: readonly TapeNode[] | null): void {
  for (const node of tape ?? []) for (const tensor of node.saved) tensor.dispose();
}

/**
 * Value and gradients of a scalar function; undefined for an input that the value does not depend on. May be nested.
 * Call it within `tf.tidy`.
 */
export function gradientsOf(
  tf: Tf,
  f: () => Tensor,
  xs: readonly Tensor[],
): { readonly value: Tensor; readonly grads: readonly (Tensor | undefined)[] } {
  const engine = recorderOf(tf);
  const value = recorded(tf, () => tf.tidy(f));
  const outermost = engine.state.gradientDepth === 0;
  try {
    const one = tf.ones(value.shape);
    const grads = backward(tf, engine.state.activeTape!, [value], [one], xs);
    return { value, grads };
  } finally {
    if (outermost) freeTape(engine);
  }
}

/** Values of a function with what its derivative needs, so that each further product costs one backward pass. */
export interface Tape {
  /**
   * Σᵢ vᵢᵀ·∂yᵢ/∂x for each x; undefined for an x that no y depends on. Call it within `tf.tidy`.
   *
   * @param vs one of the shape of its y for each y; the places of undefined ones are not looked at
   */
  transposedProduct(vs: readonly Tensor[]): readonly (Tensor | undefined)[];
  dispose(): void;
}

/**
 * Computes `f` once and keeps what was saved on the way. What `f` closes over has to live as long as the tape does.
 * It may differentiate ({@link gradientsOf}); it must not run within a function that is differentiated.
 */
export function recordTape(tf: Tf, f: () => readonly (Tensor | undefined)[], xs: readonly Tensor[]): Tape {
  let ys: readonly (Tensor | undefined)[] = [];
  recorded(tf, () =>
    tf.tidy(() => {
      ys = f();
      for (const y of ys) if (y !== undefined) tf.keep(y);
    }),
  );
  const { state } = recorderOf(tf);
  const nodes = state.activeTape ?? [];
  state.activeTape = null;
  return {
    transposedProduct: (vs) => backward(tf, nodes, ys, vs, xs),
    dispose: () => {
      freeSaved(nodes);
      for (const y of ys) y?.dispose();
    },
  };
}

/**
 * Reverse mode: Σᵢ vᵢᵀ·∂yᵢ/∂x for each x. As tfjs's own, but from many outputs at once, and what leads nowhere is not
 * computed: an output without a gradient, and an input of a kernel that is flat.
 */
function backward(
  tf: Tf,
  tape: readonly TapeNode[],
  ys: readonly (Tensor | undefined)[],
  vs: readonly Tensor[],
  xs: readonly Tensor[],
): readonly (Tensor | undefined)[] {
  const dependent = new Set(xs.map((x) => x.id));
  const nodes = tape.filter(({ kernelName, inputs, outputs }) => {
    if (!Object.entries(inputs).some(([name, { id }]) => leadsFrom(kernelName, name) && dependent.has(id)))
      return false;
    for (const { id } of outputs) dependent.add(id);
    return true;
  });
  return tf.tidy(() => {
    const sums = new GradientSums(tf);
    for (const [i, y] of ys.entries()) if (y !== undefined) sums.add(y.id, vs[i]!);
    const wanted = new Set(xs.map((x) => x.id));
    for (const node of nodes.reverse()) {
      const dys = node.outputs.map(({ id }) => sums.get(id) ?? null);
      if (dys.every((dy) => dy === null)) continue;
      const terms = termsOf(tf, node, dys, dependent);
      sums.take(terms, dys);
      for (const { id } of node.outputs) if (!wanted.has(id)) sums.free(id);
    }
    return xs.map((x) => sums.get(x.id));
  });
}

/** By the id of a tensor, the sum of the gradients that have come to it. */
class GradientSums {
  readonly #sums = new Map<number, Tensor>();
  /** Tensors made here that nothing but one sum refers to. */
  readonly #own = new Set<Tensor>();
  readonly #scope: number;

  constructor(private readonly tf: Tf) {
    this.#scope = recorderOf(tf).state.activeScope!.id;
  }

  get(id: number): Tensor | undefined {
    return this.#sums.get(id);
  }

  add(id: number, term: Tensor): void {
    const before = this.#sums.get(id);
    if (before === undefined) this.#sums.set(id, term);
    else {
      const sum = this.tf.add(before, term);
      for (const tensor of [before, term]) if (this.#own.delete(tensor)) tensor.dispose();
      this.#own.add(sum);
      this.#sums.set(id, sum);
    }
  }

  /** Adds what the gradient of one kernel made of `dys`. */
  take(terms: readonly Term[], dys: readonly (Tensor | null)[]): void {
    // A gradient may hand on what it was given or had saved, and the same one to two inputs.
    for (const [, dx] of terms) {
      if (dx.kept || dx.scopeId !== this.#scope || dys.includes(dx)) continue;
      const isShared = this.#own.has(dx) || terms.filter(([, other]) => other === dx).length > 1;
      if (isShared) this.#own.delete(dx);
      else this.#own.add(dx);
    }
    for (const [id, dx] of terms) this.add(id, dx);
  }

  /** Freed at once: the next ones find their memory in the cache. */
  free(id: number): void {
    const sum = this.#sums.get(id);
    if (sum === undefined) return;
    this.#sums.delete(id);
    if (this.#own.delete(sum)) sum.dispose();
  }
}

/** The id of an input, and the gradient that a kernel hands to it. */
type Term = readonly [number, Tensor];

/** @throws Error where tfjs has no gradient, or one of another shape or type than its input */
function termsOf(
  tf: Tf,
  { kernelName, inputs, gradient }: TapeNode,
  dys: (Tensor | null)[],
  dependent: ReadonlySet<number>,
): Term[] {
  if (gradient === undefined)
    throw new Error(`Cannot compute gradient: gradient function not found for ${kernelName}.`);
  const gradients = gradient(dys);
  return Object.entries(inputs)
    .filter(([name, { id }]) => leadsFrom(kernelName, name) && dependent.has(id))
    .map(([name, x]) => {
      const make = gradients[name];
      if (make === undefined) throw new Error(`Cannot backprop through input ${name} of ${kernelName}.`);
      const dx = tf.tidy(make);
      if (dx.dtype !== 'float32' || !tf.util.arraysEqual(dx.shape, x.shape))
        throw new Error(
          `Error in gradient for op ${kernelName}: that of ${name} is ${dx.dtype} of ${dx.shape}, not float32 of ${x.shape}`,
        );
      return [x.id, dx];
    });
}

/** dy where x > 0 and 0 elsewhere, in one pass where the backend has a kernel for that. */
function reluGradient(tf: Tf, dy: Tensor, x: Tensor): Tensor {
  if (tf.getKernel(RELU_GRADIENT, tf.getBackend()) == null) return tf.mul(dy, tf.step(x));
  return tf.engine().runKernel(RELU_GRADIENT, { dy, x });
}

/** A tensor repeated along its axes of length 1; a backend without a kernel for that multiplies with ones. */
function broadcast(tf: Tf, x: Tensor, shape: readonly number[]): Tensor {
  if (tf.getKernel('BroadcastTo', tf.getBackend()) == null) return tf.mul(x, tf.ones([...shape]));
  return tf.engine().runKernel('BroadcastTo', { x }, {
    shape: [...shape],
    inputShape: x.shape,
  } as unknown as Core.NamedAttrMap);
}

/** Sums over the axes along which a tensor of `shape` was broadcast. */
function unbroadcast(tf: Tf, x: Tensor, shape: readonly number[]): Tensor {
  const axes = tf.broadcast_util.getReductionAxes([...shape], x.shape);
  return tf.reshape(axes.length > 0 ? tf.sum(x, axes) : x, [...shape]);
}

/**
 * tfjs with functions replaced that the registry does not reach: two whose wrong second derivatives are closures, and the
 * fused product, of which wasm computes something else where an argument is transposed. What every model here gets as `tf`.
 */
export function curedFunctions(tf: Tf): Tf {
  const logSoftmax = <T extends Tensor>(logits: T, axis = -1): T =>
    tf.sub(logits, tf.logSumExp(logits, axis, true)) as T;
  const softmaxCrossEntropy = (
    labels: Tensor,
    logits: Tensor,
    weights?: Tensor,
    labelSmoothing = 0,
    reduction?: Core.Reduction,
  ): Tensor => {
    const smooth = tf.add(tf.mul(labels, 1 - labelSmoothing), labelSmoothing / logits.shape[1]!);
    const each = tf.neg(tf.sum(tf.mul(smooth, logSoftmax(logits)), -1));
    return tf.losses.computeWeightedLoss(each, weights, reduction);
  };
  const matMul: Tf['fused']['matMul'] = (call) => {
    const product = tf.matMul(call.a, call.b, call.transposeA, call.transposeB);
    return tf.backend_util.applyActivation(
      call.bias == null ? product : tf.add(product, call.bias),
      call.activation ?? 'linear',
      call.preluActivationWeights,
      call.leakyreluAlpha ?? 0.2,
    );
  };
  return {
    ...tf,
    fused: { ...tf.fused, matMul },
    logSoftmax: logSoftmax as Tf['logSoftmax'],
    losses: { ...tf.losses, softmaxCrossEntropy: softmaxCrossEntropy as Tf['losses']['softmaxCrossEntropy'] },
  };
}
