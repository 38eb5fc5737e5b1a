/** The ways in which a step of one tensor is made, once its gradient is known: in one pass where that gives the same. */

import { type Change, leaves, UNCHANGED } from '../../step/kernels/change.ts';
import type { DrySums, StepNumbers, UnclippedSums } from '../../step/kernels/step-at-once.ts';
import { type AtOnce, atOnce, LEAST_ENTRIES, scaledAtOnce } from '../../step/optimizers/at-once.ts';
import { largestMagnitude, ratioOfRoots, sumOfSquares, type Values } from '../../step/tensor/values.ts';
import type { Bench, Unclipped, Work } from './bench.ts';
import { factorsAt, gradientOf, move, type Schedule, type Taken, takeUpdate } from './stages.ts';
import { sumsOf } from './tensors.ts';

/** What a step of one tensor did. */
export interface Moved {
  /** ‖w before − w after‖² */
  readonly squares: number;
  /** Whether its parameters are finite afterwards. */
  readonly finite: boolean;
  /** ΣΔ² and ΣΔ·Δ₀ of a dry step, of Δ as it is stored; of others 0. */
  readonly stored: number;
  readonly product: number;
}

export interface TensorStep {
  readonly bench: Bench;
  readonly work: Work;
  /** {@link gradientAt} makes it an array. */
  taken: Taken;
  readonly schedule: Schedule;
  readonly dry: boolean;
  /** What the step without a rule would do; undefined where that is not known. */
  beside: Unclipped | undefined;
}

/**
 * A dry step of which the gradient is as without a rule, and so is the update: one factor of it may be left, which scales the
 * sums. Or one of which the gradient is that with a change that was measured in the same pass. null where the step has to be made.
 */
export function asUnclipped({ bench, work, taken, schedule, dry, beside }: TensorStep): Moved | null {
  if (!dry || beside === undefined || taken.x !== work.g) return null;
  if (schedule.share !== 1 || schedule.anew) return null;
  const { choice } = work.group;
  const { learningRate, decay, beta } = work;
  const { direction, update: parts } = bench.parts;
  if (!hasItsFormula(work, beside) || direction.length > 0 || parts.length > 1) return null;
  const [part] = parts;
  const { movement, sums } = beside;
  if (!leaves(taken.change)) {
    const changed = beside.changed.get(taken.change);
    return part !== undefined || taken.decay !== 0 || changed === undefined
      ? null
      : movedBy(changed.squares, sums.parameters, changed.stored, changed.product);
  }
  const { squares, stored, parameters } = sums;
  const same = movedBy(squares, parameters, stored, stored);
  if (part === undefined) return same;
  const shrink = decay === 'parameters' ? learningRate * beta : 0;
  const update = shrink === 0 ? movement : beside.bare;
  const { rule, position } = part;
  const { options } = work.group.parts[position]!;
  // A rule that amplifies may leave what can be stored.
  const scales = rule.scope === 'tensor' && !rule.mayAmplify && rule.seesState?.(options) === false;
  if (!scales || update === undefined) return null;
  const largest = Math.abs(learningRate) * sums.largest;
  const told = choice.optimizer.hasTrustRatio
    ? {}
    : { largest: movement instanceof Float32Array ? Math.fround(largest) : largest };
  const { pending: factor } = factorsAt(bench, 'update', work, update, {
    ...told,
    parameterSquares: () => parameters,
  });
  return factor === 1 ? same : scaledBy(factor, shrink, sums);
}

/** Sums over factor·u + shrink·w, and times u + shrink·w, of those over the latter: the decay is not scaled. */
function scaledBy(
  factor: number,
  shrink: number,
  { squares, bare, parameters, stored }: UnclippedSums,
): Moved {
  const ofDecay = shrink * shrink * parameters;
  // 2·shrink·Σuw
  const cross = shrink === 0 ? 0 : squares - bare - ofDecay;
  const scaled = factor * factor * bare + factor * cross + ofDecay;
  const plain = shrink === 0;
  return {
    squares: scaled,
    finite: [factor, squares, parameters].every(Number.isFinite),
    stored: plain ? factor * factor * stored : scaled,
    product: plain ? factor * stored : factor * bare + ((factor + 1) / 2) * cross + ofDecay,
  };
}

/** Of a real step that is the one without a rule, which was kept: that; else null. */
function keptOf({ work, taken, schedule, dry, beside }: TensorStep): Unclipped | null {
  const isIt =
    !dry &&
    beside !== undefined &&
    taken.x === work.g &&
    leaves(taken.change) &&
    schedule.share === 1 &&
    !schedule.anew &&
    hasItsFormula(work, beside) &&
    // Stages keep no movement without decay.
    (beside.bare !== undefined || work.decay !== 'parameters' || work.beta === 0);
  return isIt ? beside : null;
}

const hasItsFormula = ({ group, learningRate, decay }: Work, beside: Unclipped): boolean =>
  group.choice === beside.choice && learningRate === beside.learningRate && decay === beside.decay;

/** In one pass over the arrays, where a kernel makes the whole step; else null. */
export function inOnePass(one: TensorStep): Moved | null {
  const { bench, work, schedule, dry, beside } = one;
  if (work.g.length < LEAST_ENTRIES) return null;
  const { direction, update } = bench.parts;
  const { group, learningRate, step, slots, decay, beta, t } = work;
  const { optimizer, options } = group.choice;
  const { observer } = bench;
  const viewer = observer?.viewerOf?.(t);
  const staged =
    bench.heap !== undefined ||
    direction.length + update.length > 0 ||
    (decay === 'direction' && beta !== 0 && !optimizer.hasTrustRatio) ||
    (viewer !== undefined && (dry || optimizer.hasTrustRatio));
  if (staged || optimizer.kernel === undefined) return null;
  const kept = keptOf(one);
  // A decay that is coupled joins the gradient before.
  const { change } = one.taken;
  const factor = one.taken.decay === 0 && 'factor' in change ? change.factor : null;
  const x = factor === null ? gradientAt(one) : one.taken.x;
  if (optimizer.hasTrustRatio) return inTwoPasses(one, x, factor ?? 1, kept);
  const numbers = {
    factor: factor ?? 1,
    rate: schedule.share * learningRate,
    shrink: decay === 'parameters' ? learningRate * beta : 0,
  };
  const pass = atOnce(group.choice, x, work.w, slots, { learningRate, step }, numbers);
  if (pass === undefined) return null;
  if (observer?.unclipped !== undefined) {
    const found = keep(bench, pass, x.length, numbers, observer.changes?.(t));
    const { sums } = found;
    observer.unclipped(t, { ...found, choice: group.choice, learningRate, decay });
    return movedBy(sums.squares, sums.parameters, sums.stored, 0);
  }
  if (dry) {
    const { squares, stored, product } = pass.measure(beside?.movement ?? x);
    return movedBy(squares, beside?.sums.parameters ?? sumsOf(work.w).squares, stored, product);
  }
  const shown = kept ?? (viewer === undefined ? null : keep(bench, pass, x.length, numbers));
  if (shown !== null) pass.finish(shown);
  const { squares, parameters } = shown?.sums ?? pass.take();
  if (optimizer.settles?.(options) === true) optimizer.settle!(gradientAt(one), 1, slots, options);
  viewer?.(shown!.movement);
  return movedBy(squares, parameters, 0, 0);
}

/** The step in buffers, before it is taken. */
function keep(
  { room }: Bench,
  pass: AtOnce,
  length: number,
  { shrink }: StepNumbers,
  changes: readonly Change[] = [],
) {
  const movement = room.get('r', length);
  const bare = shrink === 0 ? undefined : room.get('bare', length);
  const { changed, ...sums } = pass.keep({ movement, bare }, changes);
  return { movement, bare, sums, changed };
}

/**
 * The same of an optimizer with a trust ratio: u = r + βw in the pass, and the update, which is a multiple of it, in another one
 * over u and w alone.
 */
function inTwoPasses(
  { bench, work, schedule, dry, beside }: TensorStep,
  x: Values,
  factor: number,
  kept: Unclipped | null,
): Moved | null {
  const { observer } = bench;
  const { group, learningRate, step, slots, decay, w, t } = work;
  const { choice } = group;
  const passOf = (shrink: number) =>
    atOnce(choice, x, w, slots, { learningRate, step }, { factor, rate: 1, shrink });
  const pass = passOf(work.beta);
  if (pass === undefined) return null;
  const { share } = schedule;
  /** Sums over c·u from those over u, given that the update without a rule is c₀·u₀ or `scale`·u₀. */
  const scaled = ({ squares, stored, product }: DrySums, parameters: number, scale = 1): DrySums => {
    const c = share * ratioOfRoots(parameters, stored) * learningRate;
    return { squares: c * c * squares, stored: c * c * stored, product: c * scale * product };
  };
  if (dry && observer?.unclipped === undefined) {
    const parameters = beside?.sums.parameters ?? sumsOf(w).squares;
    const { squares, stored, product } = scaled(pass.measure(beside?.movement ?? x), parameters);
    return movedBy(squares, parameters, stored, product);
  }
  let squares: number;
  let parameters: number;
  if (kept === null) {
    const numbers = { factor, rate: 1, shrink: work.beta };
    const { movement, changed, sums: ofU } = keep(bench, pass, x.length, numbers, observer?.changes?.(t));
    parameters = ofU.parameters;
    const c = share * ratioOfRoots(parameters, ofU.stored) * learningRate;
    const sumsOfStep = scaledAtOnce(movement, w, c);
    if (sumsOfStep === undefined) return null;
    squares = sumsOfStep.squares;
    if (observer?.unclipped !== undefined) {
      observer.unclipped(t, {
        movement,
        sums: sumsOfStep,
        bare: undefined,
        changed: new Map([...changed].map(([change, sums]) => [change, scaled(sums, parameters, c)])),
        ...{ choice, learningRate, decay },
      });
      return movedBy(squares, parameters, squares, 0);
    }
    passOf(0)!.finish({ movement, bare: undefined });
  } else {
    ({ squares, parameters } = kept.sums);
    passOf(0)!.finish({ movement: kept.movement, bare: undefined });
  }
  return movedBy(squares, parameters, 0, 0);
}

const movedBy = (squares: number, parameters: number, stored: number, product: number): Moved => ({
  squares,
  // Squares of float32 do not overflow float64.
  finite: Number.isFinite(squares) && Number.isFinite(parameters),
  stored,
  product,
});

/** Stage by stage, each over the whole tensor. */
export function inStages(one: TensorStep): Moved {
  const { bench, work, schedule, dry, beside } = one;
  const { observer } = bench;
  const { t, w, group, learningRate, decay } = work;
  const { optimizer, options } = group.choice;
  const x = gradientAt(one);
  let largest = 0;
  const r = takeUpdate(
    bench,
    work,
    x,
    schedule.share,
    observer?.unclipped &&
      ((direction) => {
        largest = largestMagnitude(direction);
      }),
  );
  const { pending, product: factor } = factorsAt(bench, 'update', work, r, { gradient: x });
  const parameters = observer?.unclipped === undefined ? 0 : sumOfSquares(w);
  const { sum: squares, finite } = move(bench, work, pending, r, dry);
  if (!dry && optimizer.settles?.(options) === true) optimizer.settle!(x, factor, work.slots, options);
  observer?.viewerOf?.(t)?.(r);
  const [stored, product] = beside === undefined || !dry ? [0, 0] : heldBeside(r, beside.movement);
  observer?.unclipped?.(t, {
    movement: r,
    sums: { squares, parameters, stored: sumOfSquares(r), bare: squares, largest },
    bare: undefined,
    changed: new Map(),
    choice: group.choice,
    learningRate,
    decay,
  });
  return { squares, finite, stored, product };
}

/** The gradient in an array; a buffer is written over once. */
function gradientAt(one: TensorStep): Values {
  const x = gradientOf(one.bench, one.work, one.taken);
  one.taken = { x, change: UNCHANGED, decay: 0 };
  return x;
}

function heldBeside(movement: Values, without: Values): readonly [stored: number, product: number] {
  let [stored, product] = [0, 0];
  for (let i = 0; i < movement.length; i++) {
    stored += movement[i]! * movement[i]!;
    product += movement[i]! * without[i]!;
  }
  return [stored, product];
}
