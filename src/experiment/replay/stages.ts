/** The stages of a step: what the parts of a rule and the optimizer make of one tensor, each in a buffer of the bench. */

import { type Change, leaves, UNCHANGED } from '../../step/kernels/change.ts';
import type { ModelRule, RuleState, SeenNorm, SeenTensor, TensorRule } from '../../step/rules/rule.ts';
import { largestMagnitude, ratioOfRoots, sumOfSquares, type Values } from '../../step/tensor/values.ts';
import { type Bench, openWork, optionsOfPart, ownSlots, type Part, takesPart, type Work } from './bench.ts';
import { makeChange } from './make-change.ts';
import { type Gradient, sumsOf, type TensorState } from './tensors.ts';

/** Keeps the factor of a part, and shows it. */
function note(
  bench: Bench,
  part: Part,
  { t, entry, unit }: Work,
  seen: SeenTensor,
  factor: number,
  index: number,
): void {
  const { place } = part.rule;
  const whole = place === 'unit' ? unit(index) : place === 'entry' ? entry(index) : 0;
  bench.factors.note({ tensor: t, index: whole, factor, place });
  bench.observer?.measured?.(part.position, t, seen, factor);
}

/** The factors of a tensor-wise or unit-wise part into `bench.measured`, and the smallest. */
function measure(bench: Bench, rule: TensorRule, part: Part, work: Work, seen: SeenTensor) {
  const units = rule.scope === 'unit' ? work.units : { count: 1, stride: Math.max(seen.x.length, 1) };
  if (bench.measured.length < units.count) bench.measured = new Float64Array(units.count);
  const index = rule.measure(seen, optionsOfPart(part, work.group), bench.measured, units);
  return { units, index, factor: bench.measured[rule.scope === 'unit' ? index : 0]! };
}

/** The gradient that the optimizer takes: x as it is changed, and decay·w. */
export interface Taken {
  readonly x: Values;
  readonly change: Change;
  readonly decay: number;
}

/**
 * The gradient as the parts of its stage leave it: all of them, or those before `until`. Where none changes it, `x` is the
 * gradient itself; nobody writes to it.
 *
 * @param shared factors of the model-wide parts by position
 */
export function takeGradient(
  bench: Bench,
  work: Work,
  shared: ReadonlyMap<number, Float64Array>,
  until: Part | null,
  noted: boolean,
): Taken {
  const { beta, t } = work;
  let awaited = work.decay === 'gradient' ? beta : 0;
  let x = work.g;
  let change: Change = UNCHANGED;
  if (bench.parts.gradient.length === 0) return { x, change, decay: awaited };
  for (const part of bench.parts.gradient) {
    if (part === until) break;
    if (!takesPart(bench, part, work.tensor)) continue;
    x = gradientOf(bench, work, { x, change, decay: 0 });
    change = UNCHANGED;
    const seen = seenAt(work, x, { weightDecay: awaited });
    const found = partOf(bench, part, work, seen, shared.get(part.position)?.[t] ?? 1);
    const { smallest, index } = found;
    ({ x, change } = found);
    if (noted) note(bench, part, work, seen, smallest, index);
    // LARS scales the decayed gradient; what comes after it sees the decay.
    if (part.rule.afterWeightDecay && awaited !== 0) {
      x = gradientOf(bench, work, { x, change, decay: awaited * smallest });
      change = UNCHANGED;
      awaited = 0;
    }
  }
  return { x, change, decay: until === null ? awaited : 0 };
}

/**
 * What one part makes of the gradient that it sees: a change that is yet to be made, or for an entry-wise rule without a bound the
 * clamped gradient in a buffer.
 *
 * @param shared factor of a model-wide part
 */
function partOf(bench: Bench, part: Part, work: Work, seen: SeenTensor, shared: number) {
  const { rule } = part;
  const { x } = seen;
  if (rule.scope === 'model')
    return { x, change: { factor: shared } satisfies Change, smallest: shared, index: 0 };
  if (rule.scope === 'entry') {
    const options = optionsOfPart(part, work.group);
    const bound = rule.bound?.(options);
    if (bound !== undefined && Number.isFinite(seen.largest)) {
      const largest = seen.largest!;
      return largest > bound
        ? { x, change: { bound }, smallest: bound / largest, index: indexOfLargest(x, largest) }
        : { x, change: UNCHANGED, smallest: shared, index: 0 };
    }
    const out = bench.room.get('x', x.length);
    const { factor, index } = rule.clamp(seen, options, out);
    return { x: factor === 1 ? x : out, change: UNCHANGED, smallest: factor, index };
  }
  const { units, factor, index } = measure(bench, rule, part, work, seen);
  const change: Change =
    units.count === 1
      ? { factor }
      : areOnes(bench.measured, units.count)
        ? UNCHANGED
        : { units, factors: bench.measured.slice(0, units.count) };
  return { x, change, smallest: factor, index };
}

function indexOfLargest(x: Values, largest: number): number {
  const [above, below] = [x.indexOf(largest), x.indexOf(-largest)];
  return above < 0 || (below >= 0 && below < above) ? below : above;
}

/** Whether a rule says what it makes of a tensor's gradient, and needs no buffer for it: steppers share these. */
export function leavesArrays(bench: Bench, { decay, beta, gradient }: Work): boolean {
  if (bench.parts.gradient.length !== 1) return false;
  const { rule } = bench.parts.gradient[0]!;
  return (
    (rule.scope !== 'entry' || (rule.bound !== undefined && Number.isFinite(gradient.sums?.().largest))) &&
    rule.schedule === undefined &&
    !(rule.afterWeightDecay && decay === 'gradient' && beta !== 0)
  );
}

/** A gradient as an array: in a buffer, unless it is one. */
export function gradientOf(bench: Bench, { w }: Work, { x, change, decay }: Taken): Values {
  if (leaves(change) && decay === 0) return x;
  const out = bench.room.get('x', x.length);
  if (leaves(change)) {
    if (x !== out) out.set(x);
  } else if ('factor' in change) scaleBy(bench, change.factor, x, out);
  else makeChange(change, x, out);
  if (decay !== 0) for (let i = 0; i < out.length; i++) out[i] = out[i]! + decay * w[i]!;
  return out;
}

function areOnes(values: Float64Array, count: number): boolean {
  for (let i = 0; i < count; i++) if (values[i] !== 1) return false;
  return true;
}

/** The factors of the model-wide parts, in order: each sees the norms that the parts before it have left. */
export function measureShared(
  bench: Bench,
  states: (RuleState | null)[],
  tensors: readonly TensorState[],
  gradients: readonly Gradient[],
  learningRates: readonly number[],
  loss: number | null,
): Map<number, Float64Array> {
  const shared = new Map<number, Float64Array>();
  for (const part of bench.parts.gradient) {
    if (!isShared(part)) continue;
    const { rule: definition, position } = part;
    const { options } = bench.groups[0]!.parts[position]!;
    const seesLargest = definition.seesLargest?.(options) === true;
    const members = tensors.flatMap((tensor, t) =>
      takesPart(bench, part, tensor) && !gradients[t]!.absent ? [t] : [],
    );
    const seen = members.map((t): SeenNorm => {
      const { name, shape, layout, embedding } = tensors[t]!;
      const { values, sums } = gradients[t]!;
      let x = values;
      if (part !== bench.parts.gradient[0]) {
        const work = openWork(bench, t, tensors[t]!, gradients[t]!, learningRates, false);
        const taken = takeGradient(bench, work, shared, part, false);
        x = taken.x === work.g && leaves(taken.change) ? values : gradientOf(bench, work, taken);
      }
      const known = x === values ? sums?.() : undefined;
      return {
        name,
        shape,
        layout,
        embedding,
        position: t,
        sumOfSquares: known?.squares ?? sumOfSquares(x),
        ...(seesLargest ? { largest: known?.largest ?? largestMagnitude(x) } : {}),
      };
    });
    const found = new Float64Array(seen.length);
    const state = states[position] ?? definition.initialState(tensors.length);
    states[position] = definition.measure(state, seen, options, found, loss);
    const all = new Float64Array(tensors.length).fill(1);
    for (const [k, t] of members.entries()) all[t] = found[k]!;
    shared.set(position, all);
  }
  return shared;
}

/** The part that leaves the step out, where one does. */
export const skippingPart = (bench: Bench, shared: ReadonlyMap<number, Float64Array>): Part | undefined =>
  bench.parts.gradient.find(
    (one) => isShared(one) && one.rule.skips === true && shared.get(one.position)!.includes(0),
  );

/**
 * A tensor in a step that a part leaves out: nothing moves, neither parameters nor the optimizer's state nor its count of
 * steps. A gradient of 0 would not do: momentum and weight decay move on.
 */
export function leaveOut(bench: Bench, part: Part, work: Work): void {
  note(bench, part, work, seenAt(work, work.g, {}), 0, 0);
  bench.factors.close(work.t);
  bench.observer?.viewerOf?.(work.t)?.(bench.room.get('r', work.g.length).fill(0));
}

/** The parts of a later stage, each on what the one before has left in `r`: their product, and what of it is yet to apply. */
export function factorsAt(bench: Bench, stage: 'direction' | 'update', work: Work, r: Values, told: Told) {
  let pending = 1;
  let product = 1;
  for (const part of bench.parts[stage]) {
    const { rule: definition } = part;
    if (definition.scope !== 'tensor' || !takesPart(bench, part, work.tensor)) continue;
    if (pending !== 1) scaleBy(bench, pending, r, r);
    const seen = seenAt(work, r, told);
    const { factor, index } = measure(bench, definition, part, work, seen);
    note(bench, part, work, seen, factor, index);
    pending = factor;
    product *= factor;
  }
  return { pending, product };
}

export interface Schedule {
  /** Of the size of the update. */
  readonly share: number;
  readonly anew: boolean;
}
const AS_EVER: Schedule = { share: 1, anew: false };

/**
 * What the parts of a rule do to the optimizer itself at this step: its state begins anew where one of them says so.
 *
 * @returns what multiplies the update, and whether the state began anew
 */
export function keepSchedule(bench: Bench, work: Work): Schedule {
  const { group, step, t } = work;
  let scale = 1;
  let anew = false;
  for (const part of bench.parts.gradient) {
    if (part.rule.schedule === undefined || !takesPart(bench, part, work.tensor)) continue;
    const found = part.rule.schedule(optionsOfPart(part, group), step);
    scale *= found.scale;
    bench.observer?.scheduled?.(t, found);
    if (found.scale !== 1) bench.factors.note({ tensor: t, index: 0, factor: found.scale, place: 'tensor' });
    if (!found.reset) continue;
    anew = true;
    const { optimizer, options } = group.choice;
    const slots = ownSlots(work);
    for (const { name, initial } of optimizer.slots(options)) slots[name]!.fill(initial);
  }
  return scale === 1 && !anew ? AS_EVER : { share: scale, anew };
}

/**
 * The update Δ of a gradient, in a buffer.
 *
 * @param share of its size, as {@link keepSchedule} has it
 * @param directed sees the direction r, before any factor and the learning rate
 */
export function takeUpdate(
  bench: Bench,
  work: Work,
  x: Values,
  share: number,
  directed?: (direction: Values) => void,
): Values {
  const { w, beta, step, learningRate, group } = work;
  const { optimizer, options } = group.choice;
  const slots = ownSlots(work);
  const r = bench.room.get('r', x.length);
  optimizer.direction(x, r, slots, options, { learningRate, step, heap: bench.heap });
  if (work.decay === 'direction' && beta !== 0)
    for (let i = 0; i < r.length; i++) r[i] = r[i]! + beta * w[i]!;
  directed?.(r);
  let { pending: scale } = factorsAt(bench, 'direction', work, r, {
    gradient: x,
    secondMomentCorrection: optimizer.secondMomentCorrection?.(options, step) ?? 1,
  });
  if (optimizer.hasTrustRatio) scale *= ratioOfRoots(sumsOf(w).squares, sumsOf(r).squares);
  scaleBy(bench, share * scale * learningRate, r, r);
  return r;
}

const isShared = (part: Part): part is Part<ModelRule> => part.rule.scope === 'model';

function scaleBy({ heap }: Bench, factor: number, x: Values, out: Values): void {
  // On a heap everything is float32.
  const done = heap?.scale(factor, x as Float32Array, out as Float32Array) ?? 0;
  for (let i = done; i < x.length; i++) out[i] = factor * x[i]!;
}

type Told = Partial<
  Pick<SeenTensor, 'weightDecay' | 'gradient' | 'secondMomentCorrection' | 'largest' | 'parameterSquares'>
>;

/** What a part may see of a tensor when `x` is what it scales. */
function seenAt(work: Work, x: Values, told: Told): SeenTensor {
  const { tensor, w, slots, group, decay, beta } = work;
  const known = x === work.g ? work.gradient.sums?.() : undefined;
  const { options } = group.choice;
  const epsilon = Number(options.epsilon ?? 0);
  // One object without spreads, which cost as much as the rule on a small tensor.
  return {
    name: tensor.name,
    shape: tensor.shape,
    layout: tensor.layout,
    embedding: tensor.embedding,
    w,
    x,
    weightDecay: told.weightDecay ?? (decay === 'gradient' ? beta : 0),
    epsilonInRoot: options.epsilonInside ? epsilon : 0,
    epsilon,
    secondMomentCorrection: told.secondMomentCorrection ?? 1,
    stepsTaken: tensor.stepsTaken,
    accumulator: slots.accumulator,
    secondMoment: slots.v,
    gradient: told.gradient,
    squares: known?.squares,
    largest: told.largest ?? known?.largest,
    parameterSquares: told.parameterSquares ?? work.parameterSquares,
  };
}

/** Takes the movement off the parameters; it is in `r` afterwards. */
export function move(
  { heap }: Bench,
  { w, decay, beta, learningRate }: Work,
  factor: number,
  r: Values,
  dry: boolean,
) {
  const shrink = decay === 'parameters' ? learningRate * beta : 0;
  let sum = 0;
  let check = 0;
  let done = 0;
  if (heap !== undefined && !dry) {
    done = heap.move(w as Float32Array, r as Float32Array, factor, shrink);
    if (done > 0) {
      sum = heap.moved[0]!;
      check = heap.moved[1]!;
    }
  }
  for (let i = done; i < r.length; i++) {
    const old = w[i]!;
    const moved = factor * r[i]! + shrink * old;
    r[i] = moved;
    sum += moved * moved;
    const next = old - moved;
    // NaN and ±Infinity times 0 are NaN.
    check += next * 0;
    if (!dry) w[i] = next;
  }
  return { sum, finite: check === 0 };
}
