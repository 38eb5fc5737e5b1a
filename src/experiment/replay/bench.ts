/** What a stepper keeps from step to step: the groups, the parts of the rule by stage, and buffers. */

import type { Units } from '../../model/units.ts';
import type { Change } from '../../step/kernels/change.ts';
import type { Heap } from '../../step/kernels/heap.ts';
import type { DrySums, UnclippedSums } from '../../step/kernels/step-at-once.ts';
import type { Slots } from '../../step/optimizers/optimizer.ts';
import { chooseOptimizer, decayOf, type OptimizerChoice } from '../../step/optimizers/registry.ts';
import { type RuleChoice, type RulePart, ruleForOptimizer } from '../../step/rules/choice.ts';
import type { ClipRule, OptimizerTraits, SeenTensor } from '../../step/rules/rule.ts';
import {
  elementsOf,
  type Precision,
  type TensorMeta,
  unitsOf,
  type Values,
} from '../../step/tensor/values.ts';
import { createFactors } from './factors.ts';
import { createRoom, type Room, type View } from './room.ts';
import type { Gradient, TensorState } from './tensors.ts';

export interface StepperOptions {
  readonly rule: RuleChoice;
  /** One for each parameter group. */
  readonly optimizers: readonly OptimizerChoice[];
  readonly precision: Precision;
  /** Multiplies every learning rate, the rule's own too. */
  readonly learningRateMultiplier?: number;
  /** The arrays that it works on, of that precision, where steppers share them: their steps are taken one tensor at a time. */
  readonly room?: Room;
  /** The memory of all arrays of the tensors and their gradients, in float32. */
  readonly heap?: Heap | undefined;
}

/** Looks at a tensor during a step; what it is shown is overwritten afterwards. */
export interface StepObserver {
  /** What a part of the rule does to the optimizer itself. */
  scheduled?(tensor: number, what: { readonly reset: boolean; readonly scale: number }): void;
  /** What a part of the rule saw of a tensor, before it scales, and its factor. */
  measured?(part: number, tensor: number, seen: SeenTensor, factor: number): void;
  /**
   * Who is shown how a tensor moves, or nobody: w before − w after, of the touched rows only if the gradient was applied by
   * rows.
   */
  viewerOf?(tensor: number): ((movement: Values) => void) | undefined;
  /** The same with sums over it, of a step without a rule, which steps under rules are compared with. */
  unclipped?(tensor: number, what: Unclipped): void;
  /** Changes of the gradient for {@link Unclipped.changed}, asked for before. */
  changes?(tensor: number): readonly Change[];
}

/** What a step without a rule would do to a tensor, and what it follows from besides the gradient and the state. */
export interface Unclipped {
  readonly movement: Values;
  /** The movement without the decay of parameters, where there is some and a kernel kept it. */
  readonly bare: Values | undefined;
  readonly sums: UnclippedSums;
  /** The same step with the gradient changed; not every change that was asked for need be there. */
  readonly changed: ReadonlyMap<Change, DrySums>;
  readonly choice: OptimizerChoice;
  readonly learningRate: number;
  readonly decay: Work['decay'];
}

/** What rules ask about an optimizer. */
export const traitsOf = ({ optimizer, options }: OptimizerChoice): OptimizerTraits => {
  const slots = optimizer.slots(options).map((slot) => slot.name);
  return {
    id: optimizer.id,
    hasAccumulator: slots.includes('accumulator'),
    hasSecondMoment: slots.includes('v'),
    hasFirstMoment: slots.includes('m'),
    hasTrustRatio: optimizer.hasTrustRatio === true,
  };
};

/** A parameter group: its optimizer, with the options that the rule replaces, and the rule as it applies to that. */
export interface Group {
  readonly choice: OptimizerChoice;
  readonly parts: readonly RulePart[];
  /** The rule's own; undefined where it leaves the optimizer's. */
  readonly learningRate: number | undefined;
}

/** A part of the rule that does something, by its position. */
export interface Part<Rule extends ClipRule = ClipRule> {
  readonly rule: Rule;
  readonly position: number;
}

/** One tensor on the bench. */
export interface Work extends Omit<View, 'slots' | 'copySlots'> {
  /** To read; {@link ownSlots} may be written to. */
  slots: Slots;
  copySlots: View['copySlots'];
  readonly gradient: Gradient;
  /** Σw², where several steps share it. */
  parameterSquares: (() => number) | undefined;
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

export interface Bench {
  /** The rule, with the options that it has for the first group. */
  readonly rule: RuleChoice;
  readonly groups: readonly Group[];
  /** The parts that do something, within a stage in the order as written. */
  readonly parts: Readonly<Record<ClipRule['stage'], readonly Part[]>>;
  readonly decayInDirection: boolean;
  readonly multiplier: number;
  readonly room: Room;
  readonly heap: Heap | undefined;
  readonly factors: ReturnType<typeof createFactors>;
  unitsFor(tensor: TensorMeta, length: number): Units;
  /** Factors of the part at hand, one or one for each unit; grows. */
  measured: Float64Array;
  observer: StepObserver | undefined;
}

/** @throws rule-undefined, rule-conflict */
export function createBench({
  rule,
  optimizers,
  precision,
  learningRateMultiplier: multiplier = 1,
  heap,
  room = createRoom(precision, heap),
}: StepperOptions): Bench {
  const applied = optimizers.map((choice) => ruleForOptimizer(rule, traitsOf(choice)));
  const groups = applied.map(({ choice, overrides, learningRate }, g): Group => {
    const given = optimizers[g]!;
    const replaced = Object.entries(overrides).some(([name, value]) => given.options[name] !== value);
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
  return {
    rule: applied[0]!.choice,
    groups,
    parts: { gradient: at('gradient'), direction: at('direction'), update: at('update') },
    decayInDirection: parts.some((part) => part.rule.decayInDirection),
    multiplier,
    room,
    heap,
    factors: createFactors(),
    unitsFor: createUnits(parts.some((part) => part.rule.scope === 'unit')),
    measured: new Float64Array(1024),
    observer: undefined,
  };
}

/** The options of a part for a group. */
export const optionsOfPart = (part: Part, { parts }: Group) => parts[part.position]!.options;

/** Whether a part acts on a tensor. */
export const takesPart = ({ groups }: Bench, part: Part, { embedding, group }: TensorState): boolean =>
  !embedding || optionsOfPart(part, groups[group]!).embeddings !== false;

/** Puts a tensor on the bench. */
export function openWork(
  bench: Bench,
  t: number,
  tensor: TensorState,
  gradient: Gradient,
  learningRates: readonly number[],
  dry: boolean,
): Work {
  const group = bench.groups[tensor.group]!;
  const { optimizer, options } = group.choice;
  const beta = options.weightDecay;
  const { g, w, slots, copySlots, entry, unit, store } = bench.room.view(
    tensor,
    gradient,
    beta === 0 && optimizer.rowwise(options),
    dry,
  );
  // Not `...view`: a spread costs as much as the step of a small tensor.
  return {
    g,
    w,
    slots,
    copySlots,
    gradient,
    parameterSquares: undefined,
    entry,
    unit,
    store,
    t,
    tensor,
    group,
    units: bench.unitsFor(tensor, g.length),
    learningRate: (group.learningRate ?? learningRates[tensor.group]!) * bench.multiplier,
    step: tensor.stepsTaken + 1,
    beta,
    decay: bench.decayInDirection ? 'direction' : decayOf(group.choice),
  };
}

/** The state, to be moved forward: that of a dry step is a copy. */
export function ownSlots(work: Work): Slots {
  if (work.copySlots !== undefined) {
    work.slots = work.copySlots();
    work.copySlots = undefined;
  }
  return work.slots;
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
