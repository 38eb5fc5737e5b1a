/**
 * One training step under a clipping rule: where rules (which only measure) and optimizers (which own their state) meet.
 *
 *     gradient ─ rule ─ + βw ─ optimizer → r ─ rule ─ · η → Δ ─ rule ─ w ← w − σΔ
 *
 * Every replay takes its steps here, the closed loop too. Measuring and applying are separate passes over typed arrays;
 * buffers are made once and reused, so that a step allocates nothing that grows with the model.
 */
import type { Options } from '../model/options.ts';
import type { Slots } from '../optimizers/optimizer.ts';
import { chooseOptimizer, type OptimizerChoice } from '../optimizers/registry.ts';
import { trustRatio } from '../rules/lamb.ts';
import { type RuleChoice, ruleForOptimizer } from '../rules/parse.ts';
import type { OptimizerTraits, RuleState, SeenTensor } from '../rules/rule.ts';
import {
  allocate,
  elementsOf,
  type Precision,
  scaleByUnit,
  type TensorMeta,
  type Units,
  unitsOf,
  type Values,
} from '../tensor/values.ts';

/** A trainable tensor with the optimizer's state. Steps write to `w`, `slots` and `stepsTaken`. */
export interface TensorState extends TensorMeta {
  readonly w: Values;
  readonly slots: Slots;
  stepsTaken: number;
  /** Index into the stepper's optimizers. */
  readonly group: number;
}

/** Gradient of one tensor: whole, or the rows of an embedding (each once) with their values. */
export interface Gradient {
  readonly values: Values;
  readonly rows?: Int32Array;
}

/** What one step did. */
export interface StepRecord {
  /** Smallest factor of the rule over all tensors and units; 1 where it did nothing, NaN if one is. */
  readonly minFactor: number;
  /** Smallest factor of each tensor. Overwritten by the next step. */
  readonly factors: Float64Array;
  /** Where the smallest factor is: the entry for `clippy` and clamps, the unit for unit-wise rules, else 0. */
  readonly bottleneck: { readonly tensor: number; readonly index: number; readonly factor: number };
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
  /** At an update-stage rule, with Δ before scaling and the factor. */
  measured?(tensor: number, seen: SeenTensor, factor: number): void;
  /** The movement w before − w after, of the touched rows only if the gradient was applied by rows. */
  moved?(tensor: number, movement: Values): void;
}

export interface Stepper {
  readonly rule: RuleChoice;
  readonly optimizers: readonly OptimizerChoice[];
  /** State of a stateful rule; may be saved and put back. */
  ruleState: RuleState;
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

/** A tensor with fresh state. */
export function freshTensor(
  meta: TensorMeta,
  w: Values,
  { optimizer, options }: OptimizerChoice,
  precision: Precision,
  group = 0,
): TensorState {
  const slots: Record<string, Values> = {};
  for (const slot of optimizer.slots(options))
    slots[slot.name] = allocate(precision, w.length).fill(slot.initial);
  return { ...meta, w, slots, stepsTaken: 0, group };
}

/**
 * The stepper of a rule and the optimizers of the groups. A rule's own options (accumulator, ε, learningRate) win over
 * the optimizer's.
 *
 * @throws rule-undefined for a combination that has no meaning
 */
export function createStepper(settings: StepperOptions): Stepper {
  const { precision, learningRateMultiplier: multiplier = 1 } = settings;
  // Checked against every group; what a preset drops is the same for all or an error.
  const choices = settings.optimizers.map((choice) => ruleForOptimizer(settings.rule, traitsOf(choice)));
  const rule = choices[0]!;
  const { rule: definition } = rule;
  const optimizers = settings.optimizers.map((choice, group) => overridden(choice, choices[group]!));
  const room = createRoom(precision);
  const unitCache = new Map<string, Units>();
  let factors = new Float64Array(0);
  let unitFactors = new Float64Array(1024);

  const unitsFor = (tensor: TensorMeta, length: number): Units => {
    if (definition.scope !== 'unit') return { count: 1, stride: Math.max(length, 1) };
    const whole = unitCache.get(tensor.name) ?? unitsOf(tensor);
    unitCache.set(tensor.name, whole);
    // Rows of an embedding: as many units as rows were touched.
    const units =
      length === elementsOf(tensor.shape) ? whole : { count: length / whole.stride, stride: whole.stride };
    if (unitFactors.length < units.count) unitFactors = new Float64Array(units.count);
    return units;
  };

  const stepper: Stepper = {
    rule,
    optimizers,
    ruleState: {},
    step(tensors, gradients, learningRates, dry = false, observer) {
      if (factors.length !== tensors.length) {
        factors = new Float64Array(tensors.length);
        if (definition.scope === 'model' && Object.keys(stepper.ruleState).length === 0)
          stepper.ruleState = definition.initialState(tensors.length);
      }
      factors.fill(1);
      let bottleneck = { tensor: 0, index: 0, factor: 1 };
      let known = false;
      const note = (tensor: number, factor: number, index: number): void => {
        factors[tensor] = factor;
        if (
          !known ||
          factor < bottleneck.factor ||
          (Number.isNaN(factor) && !Number.isNaN(bottleneck.factor))
        )
          bottleneck = { tensor, index, factor };
        known = true;
      };
      const takesPart = (tensor: TensorMeta): boolean =>
        definition.id !== 'none' && (rule.options.embeddings !== false || !tensor.embedding);

      if (definition.scope === 'model') {
        const members = tensors.flatMap((tensor, t) => (takesPart(tensor) ? [t] : []));
        const seen = members.map((t) => {
          const { values } = gradients[t]!;
          return { ...tensors[t]!, ...NOTHING_SEEN, x: values, stepsTaken: tensors[t]!.stepsTaken };
        });
        const measured = new Float64Array(seen.length);
        stepper.ruleState = definition.measure(stepper.ruleState, seen, rule.options, measured);
        for (const [k, t] of members.entries()) note(t, measured[k]!, 0);
      }

      let movement = 0;
      let finite = true;
      for (let t = 0; t < tensors.length; t++) {
        const tensor = tensors[t]!;
        const choice = optimizers[tensor.group]!;
        const { optimizer, options } = choice;
        const ruleOptions = choices[tensor.group]!.options;
        const beta = options.weightDecay as number;
        const decay = definition.decayInDirection ? 'direction' : optimizer.decay;
        const learningRate =
          ((ruleOptions.learningRate as number | undefined) ?? learningRates[tensor.group]!) * multiplier;
        const part = takesPart(tensor);
        const view = room.view(tensor, gradients[t]!, beta === 0 && optimizer.rowwise(options), dry);
        const { g, w, slots } = view;
        const n = g.length;
        const x = room.get('x', n);
        const r = room.get('r', n);
        const seen: SeenTensor = {
          name: tensor.name,
          shape: tensor.shape,
          layout: tensor.layout,
          embedding: tensor.embedding,
          w,
          x: g,
          weightDecay: decay === 'gradient' ? beta : 0,
          epsilonInRoot: options.epsilonInside ? (options.epsilon as number) : 0,
          epsilon: (options.epsilon as number | undefined) ?? 0,
          secondMomentCorrection: 1,
          stepsTaken: tensor.stepsTaken,
          ...(slots.accumulator ? { accumulator: slots.accumulator } : {}),
          ...(slots.v ? { secondMoment: slots.v } : {}),
        };
        const units = unitsFor(tensor, n);
        /** Factor of a tensor-wise rule at its stage; 1 at the others. */
        const factorAt = (stage: 'direction' | 'update', more: Partial<SeenTensor>): number => {
          if (!part || definition.stage !== stage || definition.scope !== 'tensor') return 1;
          const shown = { ...seen, ...more };
          const index = definition.measure(shown, ruleOptions, unitFactors, units);
          note(t, unitFactors[0]!, view.entry(index));
          if (stage === 'update') observer?.measured?.(t, shown, unitFactors[0]!);
          return unitFactors[0]!;
        };

        // 1. The gradient that the optimizer takes, in x.
        if (part && definition.scope === 'entry') {
          const { index, factor } = definition.clamp(seen, ruleOptions, x);
          note(t, factor, view.entry(index));
        } else if (
          part &&
          (definition.scope === 'tensor' || definition.scope === 'unit') &&
          definition.stage === 'gradient'
        ) {
          const index = definition.measure(seen, ruleOptions, unitFactors, units);
          note(t, unitFactors[index]!, definition.scope === 'unit' ? view.unit(index) : 0);
          scaleByUnit(g, units, unitFactors, x);
        } else {
          const factor = definition.scope === 'model' ? factors[t]! : 1;
          for (let i = 0; i < n; i++) x[i] = factor * g[i]!;
        }
        if (decay === 'gradient' && beta !== 0) {
          // LARS scales the decayed gradient, the others the gradient alone.
          const share = definition.afterWeightDecay && part ? beta * factors[t]! : beta;
          for (let i = 0; i < n; i++) x[i] = x[i]! + share * w[i]!;
        }

        // 2. The direction, in r; 3. its factor; 4. the update Δ, in r; 5. its factor.
        const step = tensor.stepsTaken + 1;
        optimizer.direction(x, r, slots, options, { learningRate, step });
        if (decay === 'direction' && beta !== 0) for (let i = 0; i < n; i++) r[i] = r[i]! + beta * w[i]!;
        observer?.directed?.(t, r);
        let scale = factorAt('direction', {
          x: r,
          gradient: x,
          secondMomentCorrection: optimizer.secondMomentCorrection?.(options, step) ?? 1,
        });
        if (optimizer.hasTrustRatio) scale *= trustRatio(w, r);
        scale *= learningRate;
        for (let i = 0; i < n; i++) r[i] = scale * r[i]!;
        const factor = factorAt('update', { x: r, gradient: x });

        // 6. The movement, in r.
        const shrink = decay === 'parameters' ? learningRate * beta : 0;
        let sum = 0;
        let check = 0;
        for (let i = 0; i < n; i++) {
          const old = w[i]!;
          const move = factor * r[i]! + shrink * old;
          r[i] = move;
          sum += move * move;
          const next = old - move;
          check += next * 0;
          if (!dry) w[i] = next;
        }
        movement += sum;
        finite &&= check === 0;
        optimizer.settle?.(x, factor, slots, options);
        observer?.moved?.(t, r);
        if (!dry) {
          view.store();
          tensor.stepsTaken = step;
        }
      }
      return {
        minFactor: bottleneck.factor,
        factors,
        bottleneck,
        engaged: factors.some((factor) => factor !== 1),
        updateNorm: Math.sqrt(movement),
        finite,
      };
    },
  };
  return stepper;
}

const NOTHING_SEEN = { weightDecay: 0, epsilonInRoot: 0, epsilon: 0, secondMomentCorrection: 1 } as const;

/** The optimizer with the options that the rule's own replace. */
function overridden(choice: OptimizerChoice, { rule, options }: RuleChoice): OptimizerChoice {
  const own: Options = rule.overrides?.(options) ?? {};
  return Object.keys(own).length === 0
    ? choice
    : chooseOptimizer(choice.optimizer.id, { ...choice.options, ...own });
}

/** The arrays that a step works on for one tensor. */
interface View {
  readonly g: Values;
  readonly w: Values;
  readonly slots: Slots;
  /** Index in the whole tensor of an entry, or of a unit, of this view. */
  entry(index: number): number;
  unit(index: number): number;
  /** Puts gathered rows back. */
  store(): void;
}

const same = (index: number): number => index;
const nothing = (): void => {};

/** Buffers by name that grow to the largest tensor and stay. */
function createRoom(precision: Precision) {
  const buffers = new Map<string, Values>();
  const get = (name: string, length: number): Values => {
    let buffer = buffers.get(name);
    if (buffer === undefined || buffer.length < length) {
      buffer = allocate(precision, length);
      buffers.set(name, buffer);
    }
    return buffer.length === length ? buffer : buffer.subarray(0, length);
  };

  /** Rows of an array, gathered into a buffer. */
  const gather = (name: string, from: Values, rows: Int32Array, width: number): Values => {
    const to = get(name, rows.length * width);
    for (let k = 0; k < rows.length; k++) {
      const start = rows[k]! * width;
      to.set(from.subarray(start, start + width), k * width);
    }
    return to;
  };

  const slotNames = (tensor: TensorState): string[] => Object.keys(tensor.slots);
  const mapSlots = (tensor: TensorState, map: (name: string, slot: Values) => Values): Slots =>
    Object.fromEntries(slotNames(tensor).map((name) => [name, map(name, tensor.slots[name]!)]));

  /** A tensor as its step sees it. `byRows`: a sparse gradient touches its rows alone. */
  function view(tensor: TensorState, gradient: Gradient, byRows: boolean, dry: boolean): View {
    const { values, rows } = gradient;
    const copied = (name: string, slot: Values): Values => {
      const copy = get(`slot/${name}`, slot.length);
      copy.set(slot);
      return copy;
    };
    if (rows === undefined || !byRows) {
      const slots = dry ? mapSlots(tensor, copied) : tensor.slots;
      let g = values;
      if (rows !== undefined) {
        const width = rows.length === 0 ? 0 : values.length / rows.length;
        g = get('dense', tensor.w.length).fill(0);
        for (let k = 0; k < rows.length; k++)
          g.set(values.subarray(k * width, (k + 1) * width), rows[k]! * width);
      }
      return { g, w: tensor.w, slots, entry: same, unit: same, store: nothing };
    }
    const width = elementsOf(tensor.shape.slice(1));
    const w = gather('w', tensor.w, rows, width);
    const slots = mapSlots(tensor, (name, slot) => gather(`slot/${name}`, slot, rows, width));
    const scatter = (from: Values, to: Values): void => {
      for (let k = 0; k < rows.length; k++)
        to.set(from.subarray(k * width, (k + 1) * width), rows[k]! * width);
    };
    return {
      g: values,
      w,
      slots,
      entry: (index) => (rows.length === 0 ? 0 : rows[Math.floor(index / width)]! * width + (index % width)),
      unit: (index) => rows[index] ?? 0,
      store: () => {
        scatter(w, tensor.w);
        for (const name of slotNames(tensor)) scatter(slots[name]!, tensor.slots[name]!);
      },
    };
  }
  return { get, view };
}
