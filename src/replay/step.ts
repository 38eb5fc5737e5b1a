/**
 * One training step under a clipping rule: where rules (which only measure) and optimizers (which own their state) meet.
 *
 *     gradient ─ rule ─ + βw ─ optimizer → r ─ rule ─ · η → Δ ─ rule ─ w ← w − σΔ
 *
 * Every replay takes its steps here, the closed loop too. At each place the parts of the rule act one after the other.
 * Measuring and applying are separate passes over typed arrays; buffers are made once and used again, so that a step
 * allocates nothing that grows with the model.
 */
import { chooseOptimizer, type OptimizerChoice } from '../optimizers/registry.ts';
import { type RuleChoice, type RulePart, ruleForOptimizer } from '../rules/choice.ts';
import type {
  ClipRule,
  ModelRule,
  OptimizerTraits,
  RuleState,
  SeenNorm,
  SeenTensor,
  TensorRule,
} from '../rules/rule.ts';
import {
  elementsOf,
  normRatio,
  type Precision,
  scaleByUnit,
  sumOfSquares,
  type TensorMeta,
  type Units,
  unitsOf,
  type Values,
} from '../tensor/values.ts';
import { type Bottleneck, createFactors } from './factors.ts';
import { createRoom, type View } from './room.ts';
import type { Gradient, TensorState } from './tensors.ts';

/** What one step did. */
export interface StepRecord {
  /** Smallest factor of the rule over all tensors and units; 1 where it did nothing, NaN if one is. */
  readonly minFactor: number;
  /** Smallest factor of each tensor; of several parts the product of their smallest. Overwritten by the next step. */
  readonly factors: Float64Array;
  /** Where the smallest factor is; of several parts the place of the one that is smallest there. */
  readonly bottleneck: Bottleneck;
  /** Whether any factor is not 1. */
  readonly engaged: boolean;
  /** ‖w before − w after‖ over all tensors. */
  readonly updateNorm: number;
  /** Whether all parameters that moved are finite after the step. */
  readonly finite: boolean;
}

/** Looks at a tensor during a step; what it is shown is overwritten afterwards. */
export interface StepObserver {
  /** The direction r, before any factor of a direction-stage rule and the learning rate. */
  directed?(tensor: number, direction: Values): void;
  /** What a part of the rule saw of a tensor, before it scales, and its factor. */
  measured?(part: number, tensor: number, seen: SeenTensor, factor: number): void;
  /** The movement w before − w after, of the touched rows only if the gradient was applied by rows. */
  moved?(tensor: number, movement: Values): void;
}

export interface Stepper {
  readonly rule: RuleChoice;
  readonly optimizers: readonly OptimizerChoice[];
  /** State of each part of the rule, null before its first step; may be saved and put back. */
  ruleStates: readonly (RuleState | null)[];
  /**
   * Takes one step.
   *
   * @param tensors parameters and state; moved on unless `dry`
   * @param gradients one for each tensor, not written to
   * @param learningRates one for each group
   * @param dry measure what the step would do and leave the tensors as they are; the rule's own state moves on
   */
  step(
    tensors: readonly TensorState[],
    gradients: readonly Gradient[],
    learningRates: readonly number[],
    dry?: boolean,
    observer?: StepObserver,
  ): StepRecord;
}

export interface StepperOptions {
  readonly rule: RuleChoice;
  /** One for each parameter group. */
  readonly optimizers: readonly OptimizerChoice[];
  readonly precision: Precision;
  /** Multiplies every learning rate, the rule's own too. */
  readonly learningRateMultiplier?: number;
}

/** What rules ask about an optimizer. */
export const traitsOf = ({ optimizer, options }: OptimizerChoice): OptimizerTraits => {
  const slots = optimizer.slots(options).map((slot) => slot.name);
  return {
    id: optimizer.id,
    hasAccumulator: slots.includes('accumulator'),
    hasSecondMoment: slots.includes('v'),
    hasTrustRatio: optimizer.hasTrustRatio === true,
  };
};

/** A parameter group: its optimizer, with the options that the rule replaces, and the rule as it applies to that. */
interface Group {
  readonly choice: OptimizerChoice;
  readonly parts: readonly RulePart[];
  /** The rule's own; undefined where it leaves the optimizer's. */
  readonly learningRate: number | undefined;
}

/** A part of the rule that does something, by its position. */
interface Part<Rule extends ClipRule = ClipRule> {
  readonly rule: Rule;
  readonly position: number;
}

/** One tensor on the bench. */
interface Work extends View {
  readonly t: number;
  readonly tensor: TensorState;
  readonly group: Group;
  readonly units: Units;
  /** η of this step, multiplied. */
  readonly learningRate: number;
  /** Steps of this tensor, this one included. */
  readonly step: number;
  /** β, and where it joins. */
  readonly beta: number;
  readonly decay: 'gradient' | 'direction' | 'parameters';
}

/**
 * The stepper of a rule and the optimizers of the groups. A rule's own options (accumulator, ε, learningRate) win over
 * the optimizer's.
 *
 * @throws rule-undefined for a combination that has no meaning, rule-conflict
 */
export function createStepper(settings: StepperOptions): Stepper {
  const { rule, precision, learningRateMultiplier = 1 } = settings;
  const applied = settings.optimizers.map((choice) => ruleForOptimizer(rule, traitsOf(choice)));
  const groups = applied.map(({ choice, overrides, learningRate }, g): Group => {
    const given = settings.optimizers[g]!;
    const replaced = Object.keys(overrides).length > 0;
    return {
      choice: replaced ? chooseOptimizer(given.optimizer.id, { ...given.options, ...overrides }) : given,
      parts: choice.parts,
      learningRate,
    };
  });
  const parts = rule.parts.flatMap(({ rule: definition }, position): Part[] =>
    definition.identity ? [] : [{ rule: definition, position }],
  );
  const at = (stage: ClipRule['stage']): Part[] => parts.filter((part) => part.rule.stage === stage);
  const [onGradient, onDirection, onUpdate] = [at('gradient'), at('direction'), at('update')];
  const decayInDirection = parts.some((part) => part.rule.decayInDirection);

  const room = createRoom(precision);
  const unitsFor = createUnits(parts.some((part) => part.rule.scope === 'unit'));
  const factors = createFactors();
  let measured = new Float64Array(1024);
  let observer: StepObserver | undefined;

  const optionsOf = (part: Part, { parts: own }: Group) => own[part.position]!.options;
  const takesPart = (part: Part, tensor: TensorState): boolean =>
    !tensor.embedding || optionsOf(part, groups[tensor.group]!).embeddings !== false;

  const openWork = (
    t: number,
    tensor: TensorState,
    gradient: Gradient,
    learningRates: readonly number[],
    dry: boolean,
  ): Work => {
    const group = groups[tensor.group]!;
    const { optimizer, options } = group.choice;
    const beta = options.weightDecay;
    const view = room.view(tensor, gradient, beta === 0 && optimizer.rowwise(options), dry);
    return {
      ...view,
      t,
      tensor,
      group,
      units: unitsFor(tensor, view.g.length),
      learningRate: (group.learningRate ?? learningRates[tensor.group]!) * learningRateMultiplier,
      step: tensor.stepsTaken + 1,
      beta,
      decay: decayInDirection ? 'direction' : optimizer.decay,
    };
  };

  /** Keeps the factor of a part, and shows it. */
  const note = (part: Part, { t, entry, unit }: Work, seen: SeenTensor, factor: number, index: number) => {
    const { place } = part.rule;
    const whole = place === 'unit' ? unit(index) : place === 'entry' ? entry(index) : 0;
    factors.note({ tensor: t, index: whole, factor, place });
    observer?.measured?.(part.position, t, seen, factor);
  };

  /** The factors of a tensor-wise or unit-wise part into `measured`, and the smallest. */
  const measure = (rule: TensorRule, part: Part, work: Work, seen: SeenTensor) => {
    const units = rule.scope === 'unit' ? work.units : { count: 1, stride: Math.max(seen.x.length, 1) };
    if (measured.length < units.count) measured = new Float64Array(units.count);
    const index = rule.measure(seen, optionsOf(part, work.group), measured, units);
    return { units, index, factor: measured[rule.scope === 'unit' ? index : 0]! };
  };

  /**
   * The gradient as the parts of its stage leave it, in a buffer: all of them, or those before `until`.
   *
   * @param shared factors of the model-wide parts by position
   */
  const takeGradient = (
    work: Work,
    shared: ReadonlyMap<number, Float64Array>,
    until: Part | null,
    noted: boolean,
  ): Values => {
    const { g, w, beta, group, t } = work;
    const x = room.get('x', g.length);
    let from = g;
    let awaited = work.decay === 'gradient' && beta !== 0;
    const addDecay = (share: number): void => {
      for (let i = 0; i < x.length; i++) x[i] = x[i]! + share * w[i]!;
      awaited = false;
    };
    for (const part of onGradient) {
      if (part === until) break;
      if (!takesPart(part, work.tensor)) continue;
      const seen = seenAt(work, from, { weightDecay: awaited ? beta : 0 });
      const { rule: definition } = part;
      let factor = shared.get(part.position)?.[t] ?? 1;
      let index = 0;
      if (definition.scope === 'tensor' || definition.scope === 'unit') {
        const found = measure(definition, part, work, seen);
        ({ factor, index } = found);
        if (noted) note(part, work, seen, factor, index);
        scaleByUnit(from, found.units, measured, x);
      } else if (definition.scope === 'entry') {
        const clamped = definition.clamp(seen, optionsOf(part, group), x);
        ({ factor, index } = clamped);
        if (noted) note(part, work, seen, factor, index);
      } else {
        if (noted) note(part, work, seen, factor, index);
        scaleBy(factor, from, x);
      }
      from = x;
      // LARS scales the decayed gradient; what comes after it sees the decay.
      if (part.rule.afterWeightDecay && awaited) addDecay(beta * factor);
    }
    if (from !== x) x.set(from);
    if (awaited && until === null) addDecay(beta);
    return x;
  };

  /** The factors of the model-wide parts, in order: each sees the norms that the parts before it have left. */
  const measureShared = (
    states: (RuleState | null)[],
    tensors: readonly TensorState[],
    gradients: readonly Gradient[],
    learningRates: readonly number[],
  ): Map<number, Float64Array> => {
    const shared = new Map<number, Float64Array>();
    for (const part of onGradient) {
      if (!isShared(part)) continue;
      const { rule: definition, position } = part;
      const members = tensors.flatMap((tensor, t) =>
        takesPart(part, tensor) && !gradients[t]!.absent ? [t] : [],
      );
      const seen = members.map((t): SeenNorm => {
        const { name, shape, layout, embedding } = tensors[t]!;
        const x =
          part === onGradient[0]
            ? gradients[t]!.values
            : takeGradient(
                openWork(t, tensors[t]!, gradients[t]!, learningRates, false),
                shared,
                part,
                false,
              );
        return { name, shape, layout, embedding, position: t, sumOfSquares: sumOfSquares(x) };
      });
      const found = new Float64Array(seen.length);
      const state = states[position] ?? definition.initialState(tensors.length);
      const { options } = groups[0]!.parts[position]!;
      states[position] = definition.measure(state, seen, options, found);
      const all = new Float64Array(tensors.length).fill(1);
      for (const [k, t] of members.entries()) all[t] = found[k]!;
      shared.set(position, all);
    }
    return shared;
  };

  /** The parts of a later stage, each on what the one before has left in `r`: their product, and what of it is yet to apply. */
  const factorsAt = (stage: readonly Part[], work: Work, r: Values, more: Partial<SeenTensor>) => {
    let pending = 1;
    let product = 1;
    for (const part of stage) {
      const { rule: definition } = part;
      if (definition.scope !== 'tensor' || !takesPart(part, work.tensor)) continue;
      if (pending !== 1) scaleBy(pending, r, r);
      const seen = seenAt(work, r, more);
      const { factor, index } = measure(definition, part, work, seen);
      note(part, work, seen, factor, index);
      pending = factor;
      product *= factor;
    }
    return { pending, product };
  };

  /** The update Δ of a gradient, in a buffer. */
  const takeUpdate = (work: Work, x: Values): Values => {
    const { w, slots, beta, step, learningRate, group, t } = work;
    const { optimizer, options } = group.choice;
    const r = room.get('r', x.length);
    optimizer.direction(x, r, slots, options, { learningRate, step });
    if (work.decay === 'direction' && beta !== 0)
      for (let i = 0; i < r.length; i++) r[i] = r[i]! + beta * w[i]!;
    observer?.directed?.(t, r);
    let { pending: scale } = factorsAt(onDirection, work, r, {
      gradient: x,
      secondMomentCorrection: optimizer.secondMomentCorrection?.(options, step) ?? 1,
    });
    if (optimizer.hasTrustRatio) scale *= normRatio(w, r);
    scaleBy(scale * learningRate, r, r);
    return r;
  };

  const stepper: Stepper = {
    rule: applied[0]!.choice,
    optimizers: groups.map(({ choice }) => choice),
    ruleStates: rule.parts.map(() => null),
    step(tensors, gradients, learningRates, dry = false, watcher) {
      observer = watcher;
      factors.begin(tensors.length);
      const states = [...stepper.ruleStates];
      const shared = measureShared(states, tensors, gradients, learningRates);
      stepper.ruleStates = states;
      let movement = 0;
      let finite = true;
      for (const [t, tensor] of tensors.entries()) {
        if (gradients[t]!.absent) continue;
        const work = openWork(t, tensor, gradients[t]!, learningRates, dry);
        const x = takeGradient(work, shared, null, true);
        const r = takeUpdate(work, x);
        const { pending, product } = factorsAt(onUpdate, work, r, { gradient: x });
        const moved = move(work, pending, r, dry);
        movement += moved.sum;
        finite &&= moved.finite;
        const { optimizer, options } = work.group.choice;
        optimizer.settle?.(x, product, work.slots, options);
        factors.close(t);
        observer?.moved?.(t, r);
        if (dry) continue;
        work.store();
        tensor.stepsTaken = work.step;
      }
      return { ...factors.result(), updateNorm: Math.sqrt(movement), finite };
    },
  };
  return stepper;
}

const isShared = (part: Part): part is Part<ModelRule> => part.rule.scope === 'model';

function scaleBy(factor: number, x: Values, out: Values): void {
  for (let i = 0; i < x.length; i++) out[i] = factor * x[i]!;
}

/** What a part may see of a tensor when `x` is what it scales. */
function seenAt(work: Work, x: Values, more: Partial<SeenTensor>): SeenTensor {
  const { tensor, w, slots, group, decay, beta } = work;
  const { options } = group.choice;
  const epsilon = Number(options.epsilon ?? 0);
  return {
    name: tensor.name,
    shape: tensor.shape,
    layout: tensor.layout,
    embedding: tensor.embedding,
    w,
    x,
    weightDecay: decay === 'gradient' ? beta : 0,
    epsilonInRoot: options.epsilonInside ? epsilon : 0,
    epsilon,
    secondMomentCorrection: 1,
    stepsTaken: tensor.stepsTaken,
    ...(slots.accumulator ? { accumulator: slots.accumulator } : {}),
    ...(slots.v ? { secondMoment: slots.v } : {}),
    ...more,
  };
}

/** Takes the movement off the parameters; it is in `r` afterwards. */
function move({ w, decay, beta, learningRate }: Work, factor: number, r: Values, dry: boolean) {
  const shrink = decay === 'parameters' ? learningRate * beta : 0;
  let sum = 0;
  let check = 0;
  for (let i = 0; i < r.length; i++) {
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

/** The units of a tensor, or of the rows that its view has; kept, since they need the shape alone. */
function createUnits(needed: boolean) {
  const known = new Map<string, Units>();
  return (tensor: TensorMeta, length: number): Units => {
    if (!needed) return { count: 1, stride: Math.max(length, 1) };
    const whole = known.get(tensor.name) ?? unitsOf(tensor);
    known.set(tensor.name, whole);
    // Rows of an embedding: as many units as rows were touched.
    return length === elementsOf(tensor.shape)
      ? whole
      : { count: length / whole.stride, stride: whole.stride };
  };
}
