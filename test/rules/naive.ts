/**
 * A second implementation of training steps under several rules, from the formulas on the pages and with plain arrays: slow,
 * and shares no code with src. Tensors are matrices given by rows, or vectors; a matrix has one unit for each column (`IO`),
 * an embedding table one for each row.
 */
export interface NaiveTensor {
  w: number[];
  readonly rows: number;
  readonly columns: number;
  readonly unit: 'row' | 'column' | 'whole';
  state: Record<string, number[]>;
}

export type NaiveRule = readonly [id: string, options: Readonly<Record<string, number>>];
export interface NaiveOptimizer {
  readonly id: 'sgd' | 'adagrad' | 'adam' | 'adamw';
  readonly beta: number;
  readonly momentum?: number;
}

const norm = (x: readonly number[]): number => Math.hypot(...x);
const times = (factor: number, x: readonly number[]): number[] => x.map((one) => factor * one);

/** Positions of the entries of each unit. */
function unitsOf({ w, columns, unit }: NaiveTensor): number[][] {
  const groups = new Map<number, number[]>();
  w.forEach((_, i) => {
    const key = unit === 'row' ? Math.floor(i / columns) : unit === 'column' ? i % columns : 0;
    groups.set(key, [...(groups.get(key) ?? []), i]);
  });
  return [...groups.values()];
}

/** One step of all tensors; returns the product of each tensor's smallest factors. */
export function naiveStep(
  rules: readonly NaiveRule[],
  optimizer: NaiveOptimizer,
  tensors: readonly NaiveTensor[],
  gradients: readonly (readonly number[])[],
  learningRate: number,
  step: number,
): number[] {
  const factors = tensors.map(() => 1);
  const { beta } = optimizer;
  let g = gradients.map((one) => [...one]);
  const decayInDirection = rules.some(([id]) => id === 'lamb');
  let decayed = optimizer.id === 'adamw' || decayInDirection;
  for (const [id, options] of rules) {
    const total = norm(g.flat());
    g = g.map((x, t) => {
      const tensor = tensors[t]!;
      const scaled = (factor: number): number[] => {
        factors[t]! *= factor;
        return times(factor, x);
      };
      switch (id) {
        case 'value': {
          const c = options.clipValue!;
          factors[t]! *= Math.min(1, ...x.map((one) => (Math.abs(one) > c ? c / Math.abs(one) : 1)));
          return x.map((one) => Math.max(-c, Math.min(c, one)));
        }
        case 'global-norm':
          return scaled(Math.min(1, options.maxNorm! / (total + 1e-6)));
        case 'layer-norm':
          return scaled(norm(x) === 0 ? 1 : Math.min(1, options.maxNorm! / norm(x)));
        case 'agc': {
          const out = [...x];
          let smallest = Number.POSITIVE_INFINITY;
          for (const unit of unitsOf(tensor)) {
            const size = norm(unit.map((i) => x[i]!));
            const limit = options.clipping! * Math.max(norm(unit.map((i) => tensor.w[i]!)), 1e-3);
            const factor = size < limit ? 1 : limit / Math.max(size, 1e-6);
            for (const i of unit) out[i] = factor * x[i]!;
            smallest = Math.min(smallest, factor);
          }
          factors[t]! *= smallest;
          return out;
        }
        case 'lars': {
          const own = decayed ? 0 : beta;
          const [p, q] = [norm(tensor.w), norm(x)];
          const factor = p === 0 || q === 0 ? 1 : (options.trustCoefficient! * p) / (q + own * p);
          factors[t]! *= factor;
          return x.map((one, i) => factor * (one + own * tensor.w[i]!));
        }
        default:
          return x;
      }
    });
    if (id === 'lars') decayed = true;
  }
  tensors.forEach((tensor, t) => {
    const x = decayed ? g[t]! : g[t]!.map((one, i) => one + beta * tensor.w[i]!);
    let r = directionOf(optimizer, tensor, x, step);
    if (decayInDirection) r = r.map((one, i) => one + beta * tensor.w[i]!);
    for (const [id, options] of rules) {
      const factor =
        id === 'rms'
          ? 1 / Math.max(1, norm(r) / Math.sqrt(r.length) / options.threshold!)
          : id === 'lamb' && norm(tensor.w) > 0 && norm(r) > 0
            ? norm(tensor.w) / norm(r)
            : 1;
      factors[t]! *= factor;
      r = times(factor, r);
    }
    let update = times(learningRate, r);
    for (const [id, options] of rules) {
      if (id !== 'clippy') continue;
      const bounds = update.map((one, i) =>
        one === 0
          ? 1
          : (options.variableRelativeThreshold! * Math.abs(tensor.w[i]!) + options.absoluteThreshold!) /
            Math.abs(one),
      );
      const factor = Math.min(1, ...bounds);
      factors[t]! *= factor;
      update = times(factor, update);
    }
    const shrink = optimizer.id === 'adamw' && !decayInDirection ? learningRate * beta : 0;
    tensor.w = tensor.w.map((old, i) => old - update[i]! - shrink * old);
  });
  return factors;
}

function directionOf(optimizer: NaiveOptimizer, tensor: NaiveTensor, x: number[], step: number): number[] {
  const zeros = x.map(() => 0);
  const { state } = tensor;
  if (optimizer.id === 'adagrad') {
    state.G = (state.G ?? x.map(() => 0.1)).map((G, i) => G + x[i]! ** 2);
    return x.map((one, i) => one / Math.sqrt(state.G![i]! + 1e-7));
  }
  if (optimizer.id === 'sgd') {
    const { momentum = 0 } = optimizer;
    state.sum = (state.sum ?? zeros).map((sum, i) => momentum * sum + x[i]!);
    return [...state.sum];
  }
  state.m = (state.m ?? zeros).map((m, i) => 0.9 * m + 0.1 * x[i]!);
  state.v = (state.v ?? zeros).map((v, i) => 0.999 * v + 0.001 * x[i]! ** 2);
  return state.m.map(
    (m, i) => m / (1 - 0.9 ** step) / (Math.sqrt(state.v![i]! / (1 - 0.999 ** step)) + 1e-8),
  );
}
