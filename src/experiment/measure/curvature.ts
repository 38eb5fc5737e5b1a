/** Top eigenvalues at a point, plain and preconditioned, against the stability limit of the optimizer. */
import type { Batch, Objective } from '../../differentiate/autodiff/objective.ts';
import {
  type CriticalSharpness,
  criticalSharpness,
} from '../../differentiate/curvature/critical-sharpness.ts';
import { MISSED } from '../../differentiate/curvature/exclusion.ts';
import {
  blockOperator,
  type LinearOperator,
  type Range,
  scaledOperator,
} from '../../differentiate/curvature/operator.ts';
import { randomVectors } from '../../differentiate/curvature/random.ts';
import {
  type EigenMethod,
  type EigenResult,
  topEigenpairs,
} from '../../differentiate/curvature/top-eigenpairs.ts';
import { hutchinsonTrace, spectralDensity } from '../../differentiate/curvature/trace.ts';
import type { CurvatureEntry, LabelledDensity } from '../../model/curvature.ts';
import { diagError } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import { type GlobSyntax, starsOf } from '../../model/glob.ts';
import { didYouMean, nearest } from '../../model/nearest.ts';
import { type OptionValue, parseOption } from '../../model/options.ts';
import type { StabilityLimit } from '../../step/optimizers/optimizer.ts';
import { preconditioner } from '../../step/optimizers/preconditioner.ts';
import {
  chooseOptimizer,
  decayOf,
  OPTIMIZERS,
  type OptimizerChoice,
  optimizerOptions,
} from '../../step/optimizers/registry.ts';
import { NO_CLIPPING } from '../../step/rules/choice.ts';
import { createStepper } from '../replay/step.ts';
import { copyTensors } from '../replay/tensors.ts';
import { type CurvaturePoint, decayLeftOut } from './point.ts';

export type CurvatureOperator = CurvatureEntry['operator'];
export interface CurvatureOptions {
  /** Default: the Hessian, and the preconditioned one where the optimizer has a preconditioner. */
  readonly operator?: CurvatureOperator;
  readonly method: EigenMethod;
  readonly count: number;
  readonly tolerance: number;
  readonly seed: number;
  readonly maxProducts?: number;
  /** As many random starts; left out, one where that can exclude a larger eigenvalue, else two (top-eigenpairs.ts). */
  readonly starts?: number;
  /** A further start searches until it converges, not for as many products as the first search took. */
  readonly thorough?: boolean;
  /** Name of a tensor, or a pattern with `*`; default all. */
  readonly block?: string;
  /** A task, or `each`; default all together. */
  readonly task?: string;
  /** Vectors of an earlier checkpoint by operator, task and block; filled for the next. */
  readonly warm?: Map<string, readonly Float64Array[]>;
  /** Also the trace and the spectral density, with so many products each. */
  readonly density?: boolean;
  /** Called before each product of a search; what it throws ends the measurement. */
  readonly beforeProduct?: () => void;
  /** Called where a search begins: its products at most, and the certified eigenvalue of the one before, with its residual. */
  readonly onSearch?: (
    most: number,
    known: {
      readonly operator: CurvatureOperator;
      readonly value: number;
      readonly residualNorm: number;
    } | null,
  ) => void;
}

export interface CurvatureMeasurement {
  /** Without a limit where the point is not that of the run. */
  readonly entries: readonly CurvatureEntry[];
  /** Why the point is not that of the run; null where nothing speaks against it. */
  readonly strayed: string | null;
  /** What the limit leaves out; also among the notes of the entries. */
  readonly caveats: readonly string[];
  /** Of the last operator. */
  readonly density: LabelledDensity | null;
}

/** Largest relative difference of repeated products, and of uᵀHv and vᵀHu, that counts as rounding in float32. */
const REPEATABLE = 1e-5;
const SYMMETRIC = 1e-3;
/** Relative difference to the recorded loss; states rebuilt from recorded gradients meet it to 5e-7 on our fixtures. */
const SAME_LOSS = 1e-3;

/** What is known of a point before a search begins. */
interface Ground {
  /** The parameters, one after the other. */
  readonly w: Float32Array;
  readonly gradient: Float32Array;
  readonly isPreconditioned: boolean;
  /** Why the point is not that of the run; null where nothing speaks against it. */
  readonly strayed: string | null;
  readonly learningRate: number | undefined;
  /** What the optimizer tolerates; undefined where that is not known, or the point is not that of the run. */
  readonly limit: StabilityLimit | undefined;
  readonly caveats: readonly string[];
  readonly notes: readonly string[];
}

/** @throws curvature-empty, curvature-loss, curvature-not-repeatable, curvature-not-symmetric, curvature-non-finite */
async function groundOf(point: CurvaturePoint, options: CurvatureOptions): Promise<Ground> {
  const { model, batches, tensors } = point;
  const { objective } = model;
  if (objective.size === 0) throw diagError('curvature-empty', {}, { path: point.name });
  await objective.check(batches);
  const w = model.flatten(tensors.map((tensor) => tensor.w));
  const { loss, gradient } = await objective.gradient(w, batches);
  if (!Number.isFinite(loss) || gradient.some((g) => !Number.isFinite(g)))
    throw diagError('curvature-loss', { loss }, { path: point.name });
  await probe(point, w, options.seed);
  const strayed = await strayedFrom(point, w, loss);
  const { limit: known, learningRate, note } = limitOf(point);
  const limit = strayed === null ? known : undefined;
  const caveats = [
    ...(note === undefined ? [] : [note]),
    ...(limit === undefined ? [] : [...point.caveats, ...decayCaveats(point)]),
  ];
  const notes = [
    ...(strayed === null ? [] : [strayed]),
    ...point.notes,
    ...objective.notes,
    ...caveats,
    ...(gradient.every((g) => g === 0)
      ? ['the gradient is 0 in every entry: does the loss depend on the parameters?']
      : []),
  ];
  const preconditioned = isPreconditioned(point);
  if (options.operator === undefined && preconditioned && point.missingState.length > 0)
    notes.push(
      `the checkpoint has no ${point.missingState.join(', ')}: without it there is no preconditioned curvature, and plain λ says nothing about the stability of ${point.optimizers![0]!.optimizer.id}`,
    );
  return { w, gradient, isPreconditioned: preconditioned, strayed, learningRate, limit, caveats, notes };
}

function operatorsFor(
  { missingState }: CurvaturePoint,
  { isPreconditioned }: Ground,
  asked: CurvatureOperator | undefined,
): readonly CurvatureOperator[] {
  if (asked !== undefined) return [asked];
  return isPreconditioned && missingState.length === 0 ? ['hessian', 'preconditioned-hessian'] : ['hessian'];
}

/** Undefined is all together: a task may have the name `all`. */
function tasksFor(objective: Objective, asked: string | undefined): readonly (string | undefined)[] {
  if (asked === 'each') return [undefined, ...objective.tasks];
  return [asked === 'all' ? undefined : asked];
}

/**
 * @throws curvature-empty, curvature-loss, curvature-not-repeatable, curvature-not-symmetric, curvature-non-finite,
 *   block-unknown, task-unknown, preconditioner-state, preconditioner-values, preconditioner-unknown
 */
export async function measureCurvature(
  point: CurvaturePoint,
  options: CurvatureOptions,
): Promise<CurvatureMeasurement> {
  const ground = await groundOf(point, options);
  const ranges = blockRanges(point, options.block);
  const entries: CurvatureEntry[] = [];
  let density: LabelledDensity | null = null;
  for (const operator of operatorsFor(point, ground, options.operator)) {
    const scale = operator === 'preconditioned-hessian' ? scaleOf(point, ground.gradient) : undefined;
    for (const task of tasksFor(point.model.objective, options.task)) {
      const whole = productsAt(point.model.objective, ground.w, point.batches, {
        product: operator === 'gauss-newton' ? 'gaussNewton' : 'hvp',
        ...(task === undefined ? {} : { task }),
        ...(options.beforeProduct === undefined ? {} : { beforeProduct: options.beforeProduct }),
      });
      const full = scale === undefined ? whole : scaledOperator(whole, scale);
      const linear = ranges === undefined ? full : blockOperator(full, ranges);
      const entry = await entryOf(linear, { operator, task }, point, ground, options);
      if (options.density !== true || task !== undefined) entries.push(entry);
      else {
        const { value, standardError } = await hutchinsonTrace(linear, 20, options.seed);
        entries.push({ ...entry, trace: { value, standardError } });
        const { checkpoint, step, block } = entry;
        density = {
          checkpoint,
          step,
          operator,
          block,
          ...(await spectralDensity(linear, { seed: options.seed })),
        };
      }
    }
  }
  const critical = ground.strayed === null ? await criticalAlongUpdate(point, ground.gradient) : null;
  return {
    entries: entries.map((entry) =>
      critical === null || entry.stability.ratio === null ? entry : { ...entry, criticalSharpness: critical },
    ),
    strayed: ground.strayed,
    caveats: ground.caveats,
    density,
  };
}

/** The largest eigenvalues of one operator for one task. The limit applies to the operator that the optimizer steps in. */
async function entryOf(
  linear: LinearOperator,
  { operator, task }: { operator: CurvatureOperator; task: string | undefined },
  point: CurvaturePoint,
  ground: Ground,
  options: CurvatureOptions,
): Promise<CurvatureEntry> {
  const found = await searchWarm(linear, operator, task, options);
  const operatorOfLimit = ground.isPreconditioned ? 'preconditioned-hessian' : 'hessian';
  const limit = task === undefined && operatorOfLimit === operator ? ground.limit : undefined;
  return {
    checkpoint: point.name,
    step: point.step,
    method: options.method,
    operator,
    block: options.block ?? 'all',
    task: task ?? 'all',
    eigenvalues: found.pairs.map(({ value, residualNorm, converged, iterations }) => ({
      value,
      residualNorm,
      converged,
      iterations,
    })),
    largestMagnitude: found.largestMagnitude,
    hvpCount: found.products,
    hvpMethod: operator === 'gauss-newton' ? 'double-backward-jacobian' : 'double-backward',
    stability: {
      learningRate: ground.learningRate ?? null,
      limit: limit?.limit ?? null,
      ratio: limit === undefined ? null : found.pairs[0]!.value / limit.limit,
      ...(limit === undefined ? {} : { rule: limit.rule, forecast: limit.forecast }),
    },
    seed: options.seed,
    backend: point.model.objective.backend,
    source: 'computed',
    notes: [
      ...ground.notes,
      `an eigenvalue is certified within residualNorm of each value, to the rounding of float32; that the first is the largest rests on ${restsOn(found, options)}`,
    ],
  };
}

/** A search that begins with the vectors of an earlier checkpoint, and keeps its own for the next. */
async function searchWarm(
  linear: LinearOperator,
  operator: CurvatureOperator,
  task: string | undefined,
  options: CurvatureOptions,
): Promise<EigenResult> {
  const key = `${operator} ${task ?? 'all'} ${options.block ?? 'all'}`;
  const warmStart = options.warm?.get(key);
  const { method, count, tolerance, seed, starts, maxProducts, thorough } = options;
  const found = await topEigenpairs(linear, {
    method,
    count,
    tolerance,
    seed,
    ...(starts === undefined ? {} : { starts }),
    ...(maxProducts === undefined ? {} : { maxProducts }),
    ...(warmStart === undefined ? {} : { warmStart }),
    ...(thorough === undefined ? {} : { thorough }),
    onSearch: (most, known) =>
      options.onSearch?.(
        most,
        known?.converged === true ? { operator, value: known.value, residualNorm: known.residualNorm } : null,
      ),
  });
  options.warm?.set(
    key,
    found.pairs.map((pair) => pair.vector),
  );
  return found;
}

/** The matrix whose products an objective makes at `w`, one at a time: they share the memory that they need. */
export function productsAt(
  objective: Objective,
  w: Float32Array,
  batches: readonly Batch[],
  {
    product = 'hvp',
    task,
    beforeProduct,
  }: { product?: 'hvp' | 'gaussNewton'; task?: string; beforeProduct?: () => void } = {},
): LinearOperator {
  const direction = new Float32Array(objective.size);
  const result = new Float32Array(objective.size);
  return {
    size: objective.size,
    apply: async (v, out) => {
      beforeProduct?.();
      direction.set(v);
      out.set(await objective[product](w, direction, batches, task, result));
    },
  };
}

/** What is behind "the largest": what the search excludes, or further ones, which are short unless asked for in full. */
function restsOn(
  { confirmations, confirmationProducts, excludedAbove }: EigenResult,
  { thorough }: CurvatureOptions,
): string {
  if (excludedAbove !== null)
    return `1 random start: fewer than 1 in ${1 / MISSED} such starts would miss an eigenvalue above ${formatNumber(excludedAbove, 'lookup')}`;
  if (confirmations === 0) return '1 random start';
  const starts = `${confirmations + 1} random starts`;
  return thorough === true
    ? starts
    : `${starts}, of which all but the first had ${confirmationProducts} products to find a larger one (--thorough: until they converge)`;
}

/** Whether the loss of the first batch is the recorded one: the model, the batch or the rebuilt state may be others. */
async function strayedFrom(point: CurvaturePoint, w: Float32Array, loss: number): Promise<string | null> {
  const { model, batches, recordedLoss } = point;
  if (recordedLoss === null) return null;
  const first = batches.length === 1 ? loss : (await model.objective.loss(w, batches.slice(0, 1))).loss;
  if (Math.abs(first - recordedLoss) <= SAME_LOSS * Math.abs(recordedLoss)) return null;
  return `the loss at this point is ${first} where ${recordedLoss} was recorded: the model, the batches or the optimizer are not those of the run, and its curvature is not compared with the limit`;
}

/**
 * `--optimizer` text: `adagrad:learningRate=0.1,epsilon=1e-7`.
 *
 * @throws option-unknown, option-range, usage
 */
export function parseOptimizer(text: string): {
  optimizer: OptimizerChoice;
  learningRate?: number;
  stated: ReadonlySet<string>;
} {
  const [name = '', ...rest] = text.split(':');
  const known = Object.keys(OPTIMIZERS);
  if (!Object.hasOwn(OPTIMIZERS, name))
    throw diagError('usage', {
      problem: `--optimizer ${name} is not known`,
      hint: `${didYouMean(name, known)}There are ${known.join(', ')}`,
    });
  const specs = optimizerOptions(OPTIMIZERS[name as keyof typeof OPTIMIZERS]);
  const given: Record<string, OptionValue> = {};
  let learningRate: number | undefined;
  for (const part of rest
    .join(':')
    .split(',')
    .filter((p) => p !== '')) {
    const [key = '', value = ''] = part.split('=');
    if (key === 'learningRate') {
      learningRate = value === '' ? Number.NaN : Number(value);
      if (!(learningRate > 0 && Number.isFinite(learningRate)))
        throw diagError('usage', {
          problem: `learningRate=${value} is no finite number above 0`,
          hint: 'e.g. learningRate=0.1',
        });
      continue;
    }
    const spec = specs.find((option) => option.name === key);
    if (spec === undefined) {
      const names = ['learningRate', ...specs.map((option) => option.name)];
      const meant = key === 'lr' ? 'learningRate' : nearest(key, names);
      throw diagError('option-unknown', {
        owner: `optimizer "${name}"`,
        name: key,
        nearest: meant,
        known: names,
      });
    }
    given[key] = parseOption(spec, value);
  }
  const optimizer = chooseOptimizer(name, given);
  const stated = new Set(Object.keys(given));
  return learningRate === undefined
    ? { optimizer, stated }
    : { optimizer, learningRate, stated: stated.add('learningRate') };
}

/** Repeats a product and exchanges two vectors: dropout that is on, or wrong derivatives, show here. */
async function probe(point: CurvaturePoint, w: Float32Array, seed: number): Promise<void> {
  const { objective } = point.model;
  const random = randomVectors(seed + 1);
  const u = Float32Array.from(random.gaussian(objective.size));
  const v = Float32Array.from(random.gaussian(objective.size));
  const hv = await objective.hvp(w, v, point.batches);
  const again = await objective.hvp(w, v, point.batches);
  const hu = await objective.hvp(w, u, point.batches);
  let size = 0;
  let difference = 0;
  let uhv = 0;
  let vhu = 0;
  let terms = 0;
  for (let i = 0; i < hv.length; i++) {
    size += hv[i]! ** 2;
    difference += (hv[i]! - again[i]!) ** 2;
    uhv += u[i]! * hv[i]!;
    vhu += v[i]! * hu[i]!;
    // Rounding of the two sums is relative to their terms, not to a result in which these cancel.
    terms += (u[i]! * hv[i]!) ** 2 + (v[i]! * hu[i]!) ** 2;
  }
  const repeat = size === 0 ? 0 : Math.sqrt(difference / size);
  if (!(repeat <= REPEATABLE))
    throw diagError('curvature-not-repeatable', { difference: repeat }, { path: point.name });
  const skew = terms === 0 ? 0 : Math.abs(uhv - vhu) / Math.sqrt(terms);
  if (!(skew <= SYMMETRIC)) throw diagError('curvature-not-symmetric', { uhv, vhu }, { path: point.name });
}

/** `*` of a block matches any text. */
const ANYTHING: GlobSyntax = { stops: '', least: 0, paths: false };

function blockRanges(point: CurvaturePoint, block: string | undefined): readonly Range[] | undefined {
  if (block === undefined || block === 'all') return undefined;
  const { tensors } = point.model.objective;
  const ranges = tensors
    .filter(({ name }) => starsOf(name, block, ANYTHING) !== null)
    .map(({ offset, size }): Range => [offset, offset + size]);
  if (ranges.length === 0)
    throw diagError('block-unknown', { block, known: tensors.map(({ name }) => name) });
  return ranges;
}

/** Weight decay that acts on the step but is no part of the loss. */
function decayCaveats({ optimizers }: CurvaturePoint): string[] {
  const decays = new Set(optimizers?.map(({ options }) => options.weightDecay));
  return [...decays].filter((decay) => decay > 0).map(decayLeftOut);
}

/** Whether the optimizers of all parameters divide their step by a P. */
export const isPreconditioned = ({
  optimizers,
  tensors,
}: Pick<CurvaturePoint, 'optimizers' | 'tensors'>): boolean =>
  optimizers !== null &&
  tensors.every(({ group }) => optimizers[group]!.optimizer.preconditioner !== undefined);

/**
 * P^(-1/2) of each tensor. An entry with P = 0 (no gradient so far, ε = 0) is not moved by the step: its scale is 0, which
 * leaves it out.
 *
 * @param taken the gradient of each tensor as the optimizer takes it: clipped, with weight decay that is added to it
 */
export function inverseRoots(
  { name, tensors, optimizers }: CurvaturePoint,
  taken: readonly (Float32Array | Float64Array)[],
): Float64Array[] {
  return tensors.map((tensor, t) => {
    const divisor = preconditioner(
      optimizers![tensor.group]!,
      taken[t]!,
      tensor.slots,
      tensor.stepsTaken + 1,
    );
    const broken = divisor.findIndex((p) => !Number.isFinite(p));
    if (broken >= 0)
      throw diagError(
        'preconditioner-values',
        { tensor: tensor.name, index: broken, value: divisor[broken]! },
        { path: name },
      );
    return divisor.map((p) => (p === 0 ? 0 : 1 / Math.sqrt(p)));
  });
}

/** The same over all parameters, in the model's order, with the batch's own gradient. */
function scaleOf(point: CurvaturePoint, gradient: Float32Array): Float64Array {
  const { model, tensors, optimizers } = point;
  if (optimizers === null) throw diagError('preconditioner-optimizer', {});
  if (point.missingState.length > 0)
    throw diagError('preconditioner-state', { slots: point.missingState }, { path: point.name });
  const gradients = tensors.map(({ w }) => new Float32Array(w.length));
  model.unflatten(gradient, gradients);
  const taken = tensors.map(({ group, w }, t) => {
    const { options } = optimizers[group]!;
    // Decay that is added to the gradient is in the squares, too.
    const decay = decayOf(optimizers[group]!) === 'gradient' ? options.weightDecay : 0;
    return decay === 0 ? gradients[t]! : gradients[t]!.map((g, i) => g + decay * w[i]!);
  });
  return Float64Array.from(model.flatten(inverseRoots(point, taken)));
}

interface LimitOfPoint {
  readonly limit?: StabilityLimit;
  readonly learningRate?: number;
  readonly note?: string;
}

/**
 * The limit of the groups whose parameters take part. With several learning rates the largest counts; where parameters have
 * taken different numbers of steps, the smallest number. That makes the ratio an upper bound. Optimizers that differ have no
 * common limit.
 */
export function limitOf(point: CurvaturePoint): LimitOfPoint {
  const { optimizers, learningRates, tensors, missingState } = point;
  if (optimizers === null || learningRates === null) return {};
  const groups = [...new Set(tensors.map((tensor) => tensor.group))];
  const rates = groups.map((group) => learningRates[group]!);
  const learningRate = Math.max(...rates);
  // Without the number of steps the coefficients of the next one are unknown.
  if (missingState.includes('step')) return { learningRate };
  const limitsAt = (step: number) =>
    groups.map((group) => {
      const { optimizer, options } = optimizers[group]!;
      return optimizer.stabilityLimit?.(options, { learningRate, step });
    });
  const steps = tensors.map(({ stepsTaken }) => stepsTaken + 1);
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  const limits = limitsAt(first);
  const limit = limits[0];
  if (!(learningRate > 0) || limit === undefined || !Number.isFinite(limit.limit)) return { learningRate };
  const preconditioned = groups.map((group) => optimizers[group]!.optimizer.preconditioner !== undefined);
  if (limits.some((other, k) => other?.limit !== limit.limit || preconditioned[k] !== preconditioned[0]))
    return {
      learningRate,
      note: 'the parameter groups have optimizers with different limits: there is no ratio for all together',
    };
  const smallest = Math.min(...rates);
  const notes = [
    ...(smallest === learningRate
      ? []
      : [
          `the parameter groups have learning rates from ${smallest} to ${learningRate}: the limit is that of the largest, so that the ratio is an upper bound`,
        ]),
    ...(limitsAt(last)[0]?.limit === limit.limit
      ? []
      : [
          `the parameters have taken from ${first - 1} to ${last - 1} steps: the limit is that of the fewest, so that the ratio is an upper bound`,
        ]),
  ];
  return { limit, learningRate, ...(notes.length === 0 ? {} : { note: notes.join('; ') }) };
}

/** Forward passes along the update that the optimizer would take next, unclipped. */
async function criticalAlongUpdate(
  point: CurvaturePoint,
  gradient: Float32Array,
): Promise<CriticalSharpness | null> {
  const { model, tensors, optimizers, learningRates, batches } = point;
  const { learningRate } = limitOf(point);
  if (optimizers === null || learningRate === undefined || !(learningRate > 0)) return null;
  if (point.missingState.length > 0) return null;
  const moved = copyTensors(tensors);
  const gradients = moved.map(({ w }) => ({ values: new Float32Array(w.length) }));
  model.unflatten(
    gradient,
    gradients.map(({ values }) => values),
  );
  createStepper({ rule: NO_CLIPPING, optimizers, precision: 'float32' }).step(
    moved,
    gradients,
    learningRates!,
  );
  const from = model.flatten(tensors.map(({ w }) => w));
  const to = model.flatten(moved.map(({ w }) => w));
  const lossAt = async (multiple: number): Promise<number> =>
    (
      await model.objective.loss(
        from.map((x, i) => x + multiple * (to[i]! - x)),
        batches,
      )
    ).loss;
  return criticalSharpness(lossAt, learningRate);
}
