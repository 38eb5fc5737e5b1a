/**
 * A small training in float32 that is recorded step by step, with one fault or none. Its optimizers are written a second time
 * here, operation by operation as PyTorch rounds them, so that the audit is not compared with itself.
 */
import { createCapture } from '../../src/read/captures/write.ts';

const f = Math.fround;

export interface Plan {
  /** Every seventh entry has no gradient of its own, another one at each step. */
  readonly unitsOff?: true;
  readonly optimizer: 'adamw' | 'adam' | 'sgd' | 'plain' | 'adagrad' | 'rmsprop';
  readonly seed: number;
  /** Limit of the global norm that is declared; none where it is left out. */
  readonly clip?: number;
  readonly weightDecay?: number;
  readonly rate?: number;
  readonly steps?: number;
  /** Every how many steps the weights are recorded. */
  readonly every?: number;
  /** Share of a gradient that the next one has too, as where rows are sorted; absent: none. */
  readonly alike?: number;
  readonly fault?: Fault;
}

/** What the training does otherwise than declared. */
export interface Fault {
  /** What lasts begins at this step; absent: at the first. */
  readonly since?: number;
  readonly clipInactive?: true;
  /** The clip sees so many times the norm. */
  readonly normTimes?: number;
  readonly rateTimes?: number;
  /** Coupled for decoupled, and the other way round. */
  readonly otherDecay?: true;
  readonly decayTimes?: number;
  readonly gradientTimes?: number;
  /** The state begins anew before this step. */
  readonly freshAt?: number;
  readonly keepsCounter?: true;
  /** Before this step the second moments are multiplied. */
  readonly momentTimes?: { readonly at: number; readonly times: number };
  /** Before this step one entry of the first tensor is multiplied. */
  readonly entry?: { readonly at: number; readonly place: number; readonly times: number };
  /** Before this step all weights are multiplied. */
  readonly scaled?: { readonly at: number; readonly times: number };
  readonly noZeroGrad?: true;
  /** One entry of a gradient is multiplied. */
  readonly gradient?: { readonly at: number; readonly place: number; readonly times: number };
  /** Weights are rounded to bfloat16 after each step. */
  readonly rounded?: true;
  /** The two kernels of one shape have each other's state at the start. */
  readonly stateSwapped?: true;
}

const SHAPES = [
  { name: 'first.weight', shape: [12, 10] },
  { name: 'second.weight', shape: [12, 10] },
  { name: 'bias', shape: [12] },
] as const;

/** Uniform in [0, 1): mulberry32. */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const toBfloat16 = (x: number): number => {
  const words = new Uint32Array(Float32Array.of(x).buffer);
  words[0] = (words[0]! + 0x7fff + ((words[0]! >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(words.buffer)[0]!;
};

interface Tensor {
  w: Float32Array;
  m: Float32Array;
  v: Float32Array;
}

const FIRST = 100;
const [BETA1, BETA2, RHO, MOMENTUM] = [0.9, 0.999, 0.99, 0.9];

/** The step of one entry, rounding after every operation. */
function moveEntry(plan: Plan, tensor: Tensor, i: number, gradient: number, t: number): void {
  const { optimizer, fault = {} } = plan;
  const rate = (plan.rate ?? 0.01) * (fault.rateTimes ?? 1);
  const decay = (plan.weightDecay ?? 0) * (fault.decayTimes ?? 1);
  const decoupled = (optimizer === 'adamw') !== (fault.otherDecay === true);
  const { w, m, v } = tensor;
  let g = gradient;
  if (decoupled) w[i] = f(w[i]! * f(1 - f(rate * decay)));
  else g = f(g + f(decay * w[i]!));
  if (optimizer === 'sgd') {
    m[i] = f(f(MOMENTUM * m[i]!) + g);
    w[i] = f(w[i]! - f(rate * m[i]!));
    return;
  }
  if (optimizer === 'plain') {
    w[i] = f(w[i]! - f(rate * g));
    return;
  }
  if (optimizer === 'adagrad') {
    v[i] = f(v[i]! + f(g * g));
    w[i] = f(w[i]! - f(rate * f(g / f(f(Math.sqrt(v[i]!)) + 1e-10))));
    return;
  }
  if (optimizer === 'rmsprop') {
    v[i] = f(f(RHO * v[i]!) + f((1 - RHO) * f(g * g)));
    w[i] = f(w[i]! - f(rate * f(g / f(f(Math.sqrt(v[i]!)) + 1e-8))));
    return;
  }
  m[i] = f(m[i]! + f((g - m[i]!) * (1 - BETA1)));
  v[i] = f(f(BETA2 * v[i]!) + f(f(1 - BETA2) * f(g * g)));
  const root = f(f(f(Math.sqrt(v[i]!)) / f(Math.sqrt(1 - BETA2 ** t))) + 1e-8);
  w[i] = f(w[i]! - f(f(rate / (1 - BETA1 ** t)) * f(m[i]! / root)));
}

/** `plain` is SGD without momentum. */
const DECLARED: Record<Plan['optimizer'], Record<string, number | boolean | string>> = {
  plain: {},
  adamw: { beta1: BETA1, beta2: BETA2, epsilon: 1e-8 },
  adam: { beta1: BETA1, beta2: BETA2, epsilon: 1e-8 },
  sgd: { momentum: MOMENTUM },
  adagrad: { initialAccumulatorValue: 0, epsilon: 1e-10, epsilonInside: false, accumulator: 'standard' },
  rmsprop: { rho: RHO, epsilon: 1e-8 },
};

/** What the optimizer keeps of a tensor, under the capture's names. */
function slotsOf(optimizer: Plan['optimizer'], { m, v }: Tensor): Record<string, Float32Array> {
  if (optimizer === 'plain') return {};
  if (optimizer === 'sgd') return { momentum: m.slice() };
  if (optimizer === 'adagrad') return { accumulator: v.slice() };
  if (optimizer === 'rmsprop') return { v: v.slice() };
  return { m: m.slice(), v: v.slice(), step: Float32Array.of(FIRST) };
}

/** Writes the capture of a training. */
export async function record(folder: string, plan: Plan): Promise<void> {
  const { optimizer, steps = 30, every = 10 } = plan;
  const next = uniform(plan.seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const sizes = SHAPES.map(({ shape }) => shape.reduce((product: number, size) => product * size, 1));
  const draw = (n: number, scale: number): Float32Array =>
    Float32Array.from({ length: n }, () => scale * normal());
  const mean = sizes.map((n) => draw(n, 0.3));
  const tensors = sizes.map(
    (n): Tensor => ({ w: draw(n, 0.3), m: draw(n, 0.05), v: draw(n, 0.1).map((x) => f(x * x + 0.01)) }),
  );
  const capture = await createCapture(
    folder,
    {
      framework: 'test',
      optimizer: {
        name: optimizer === 'plain' ? 'sgd' : optimizer,
        weightDecay: plan.weightDecay ?? 0,
        ...DECLARED[optimizer],
      },
      ...(plan.clip === undefined ? {} : { clipping: { rule: 'global-norm', maxNorm: plan.clip } }),
      parameters: SHAPES.map(({ name, shape }) => ({
        name,
        shape,
        layout: 'none' as const,
        embedding: false,
      })),
    },
    tensors.map(({ w }) => w.slice()),
    tensors.map((tensor) => slotsOf(optimizer, tensor)),
  );
  if (plan.fault?.stateSwapped) {
    [tensors[0]!.m, tensors[1]!.m] = [tensors[1]!.m, tensors[0]!.m];
    [tensors[0]!.v, tensors[1]!.v] = [tensors[1]!.v, tensors[0]!.v];
  }
  const left = sizes.map((n) => new Float32Array(n));
  const before = sizes.map((n) => new Float64Array(n));
  let taken = FIRST;
  for (let k = 0; k < steps; k++) {
    const at = FIRST + k;
    const hasBegun = at >= (plan.fault?.since ?? FIRST);
    const fault = (hasBegun && plan.fault) || {};
    const asTaken = { ...plan, fault };
    if (fault.scaled?.at === at)
      for (const { w } of tensors) for (let i = 0; i < w.length; i++) w[i] = f(w[i]! * fault.scaled.times);
    if (fault.entry?.at === at) {
      const { w } = tensors[0]!;
      w[fault.entry.place] = f(w[fault.entry.place]! * fault.entry.times);
    }
    // Two norms, so that a limit between them acts at every other step.
    const size = k % 3 === 0 && plan.alike === undefined ? 0.2 : 1;
    const gradients = sizes.map((n, j) =>
      draw(n, size).map((drawn, i) => {
        const alike = plan.alike ?? 0;
        const x = alike * before[j]![i]! + Math.sqrt(1 - alike * alike) * drawn;
        before[j]![i] = x;
        const fresh = plan.unitsOff && (i + 3 * k) % 7 === 0 ? 0 : f(x + size * mean[j]![i]!);
        return f(fresh + (fault.noZeroGrad ? left[j]![i]! : 0));
      }),
    );
    if (fault.gradient?.at === at) gradients[0]![fault.gradient.place]! *= fault.gradient.times;
    await capture.step({
      step: at,
      learningRate: plan.rate ?? 0.01,
      loss: 1,
      gradients: gradients.map((values) => ({ values: values.slice() })),
      ...(k > 0 && k % every === 0 ? { parameters: tensors.map(({ w }) => w.slice()) } : {}),
    });
    if (fault.freshAt === at) {
      for (const { m, v } of tensors) {
        m.fill(0);
        v.fill(0);
      }
      if (!fault.keepsCounter) taken = 0;
    }
    if (plan.fault?.momentTimes?.at === at)
      for (const { v } of tensors)
        for (let i = 0; i < v.length; i++) v[i] = f(v[i]! * plan.fault.momentTimes.times);
    taken++;
    const used = gradients.map((g) => g.map((x) => f(x * (fault.gradientTimes ?? 1))));
    const norm = f(Math.sqrt(used.reduce((sum, g) => sum + g.reduce((part, x) => part + x * x, 0), 0)));
    const limit = fault.clipInactive ? undefined : plan.clip;
    const factor =
      limit === undefined ? 1 : f(Math.min(1, f(limit / f(f(norm * (fault.normTimes ?? 1)) + 1e-6))));
    for (const [j, tensor] of tensors.entries())
      for (let i = 0; i < tensor.w.length; i++) {
        const g = f(used[j]![i]! * factor);
        left[j]![i] = g;
        moveEntry(asTaken, tensor, i, g, taken);
        if (fault.rounded) tensor.w[i] = toBfloat16(tensor.w[i]!);
      }
  }
  await capture.finish();
}
