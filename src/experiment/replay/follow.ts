/**
 * Rebuilds the run as it was, step by step, and holds it against the parameter snapshots that the recorder kept.
 */

import {
  captureMismatch,
  type MissedSnapshot,
  mismatchFinding,
} from '../../judge/findings/capture-mismatch.ts';
import { defaultOf, type Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { Capture, CapturedStep } from '../../read/captures/read.ts';
import { NO_CLIPPING, type RuleChoice } from '../../step/rules/choice.ts';
import { type Precision, squaredDistance, type Values } from '../../step/tensor/values.ts';
import type { StepObserver, Unclipped } from './bench.ts';
import type { prepareReplay } from './from-capture.ts';
import { createStepper, type StepRecord } from './step.ts';
import { copyTensors, type SummedGradient, type TensorState, withSums } from './tensors.ts';
import { useWritten } from './written-options.ts';

export type Prepared = Awaited<ReturnType<typeof prepareReplay>>;

/** A recorded step of which all who look at it share the sums. */
export interface FollowedStep extends CapturedStep {
  readonly gradients: readonly SummedGradient[];
}

const summed = (step: CapturedStep): FollowedStep => ({ ...step, gradients: step.gradients.map(withSums) });

export interface FollowSettings {
  readonly precision: Precision;
  /** Moves the prepared tensors themselves and writes over the gradients of the step before: of a large model each copy counts. */
  readonly inPlace?: boolean;
  /** Steps to walk; default all. */
  readonly until?: number;
  /** Called at every recorded state, before its step is taken. Must leave the tensors as they are. */
  visit?(index: number, step: FollowedStep, tensors: readonly TensorState[]): void;
  /** The same, to look at the tensors one by one, each before it moves. */
  look?(step: FollowedStep, tensors: readonly TensorState[], index: number): Look;
  /** Called after the step was taken, with what it did. */
  stepped?(index: number, step: FollowedStep, tensors: readonly TensorState[], record: StepRecord): void;
  readonly observer?: StepObserver;
  /** How far a snapshot may be off; the defaults of `capture-mismatch` where it is left out. */
  readonly tolerance?: (name: ToleranceName) => number;
  progress?(done: number, total: number): void;
}

export interface Look {
  /** What the step without a rule would do to a tensor, where that was kept: for the step that is taken. */
  tensor(t: number): Unclipped | undefined;
  end(): void;
}

type ToleranceName = (typeof captureMismatch)['thresholds'][number]['name'];

interface Recorded {
  readonly engaged: boolean;
  readonly updateNorm: number;
  /** Of each tensor. */
  readonly updateNorms: Float64Array;
}

export interface Followed {
  /** Steps walked; fewer than asked for where the state became non-finite. */
  readonly walked: number;
  /** Whether the parameters are finite after the last of them. */
  readonly finite: boolean;
  /** What the recorded clipping did at each step. */
  readonly recorded: readonly Recorded[];
  readonly snapshots: number;
  /** Step of the last snapshot that the rebuilt run meets and that is far enough from the start to tell; null where none is. */
  readonly agreedAt: number | null;
  /** The first snapshot that the rebuilt run misses. */
  readonly findings: readonly Finding[];
  /** The steps of that snapshot and of the last one before it; null where none is missed. */
  readonly missed: { readonly lastAgreed: number; readonly step: number } | null;
}

/**
 * Walks through the recorded states. After a missed snapshot it goes on from the snapshot's parameters. Without a formula states
 * and updates are those that were recorded, and there is nothing to compare.
 */
export async function follow(
  capture: Capture,
  { setup, tensors: start }: Prepared,
  settings: FollowSettings,
): Promise<Followed> {
  if (setup.withoutFormula !== null) return followRecorded(capture, { setup, tensors: start }, settings);
  const tensors = settings.inPlace ? start : copyTensors(start);
  const stepper = createStepper({
    rule: setup.clipping,
    optimizers: setup.optimizers,
    precision: settings.precision,
  });
  const checker = createChecker(
    capture,
    settings.inPlace
      ? async () => (await capture.initial(settings.precision)).parameters
      : async () => start.map(({ w }) => w),
    settings.tolerance ?? ((name) => defaultOf(captureMismatch, name)),
  );
  const recorded: Recorded[] = [];
  const until = settings.until ?? capture.steps.length;
  let finite = true;
  let step: FollowedStep | undefined;
  for (let index = 0; index < until; index++) {
    step = summed(await capture.step(index, settings.precision, settings.inPlace ? step : undefined));
    await checker.check(step, tensors);
    settings.visit?.(index, step, tensors);
    useWritten(setup, index, [stepper]);
    const look = settings.look?.(step, tensors, index);
    const { gradients, learningRates, loss } = step;
    const open = stepper.begin(tensors, gradients, learningRates, false, settings.observer, loss);
    for (const t of tensors.keys()) open.tensor(t, look?.tensor(t));
    const record = open.end();
    look?.end();
    settings.stepped?.(index, step, tensors, record);
    const { engaged, updateNorm, movements } = record;
    recorded.push({ engaged, updateNorm, updateNorms: movements.map(Math.sqrt) });
    finite = record.finite;
    settings.progress?.(index + 1, until);
    if (!finite) break;
  }
  return { walked: recorded.length, finite, recorded, ...checker.result() };
}

/** Whether the factors of a rule depend on parameters and gradient alone. */
export const actsOnGradients = (rule: RuleChoice): boolean =>
  rule.parts.every((part) => part.rule.stage === 'gradient');

/** Through the parameters before and after each step of an optimizer without a formula. */
async function followRecorded(
  capture: Capture,
  { setup, tensors: start }: Pick<Prepared, 'setup' | 'tensors'>,
  { precision, until = capture.steps.length, visit, progress }: FollowSettings,
): Promise<Followed> {
  const { clipping, optimizers } = setup;
  const active = createStepper({
    rule: actsOnGradients(clipping) ? clipping : NO_CLIPPING,
    optimizers,
    precision,
  });
  const tensors = copyTensors(start);
  const recorded: Recorded[] = [];
  for (let index = 0; index < until; index++) {
    const step = summed(await capture.step(index, precision));
    const moved = new Float64Array(tensors.length);
    for (const [t, tensor] of tensors.entries()) {
      const before = step.parameters.get(tensor.name);
      const after = step.after.get(tensor.name);
      if (before !== undefined) tensor.w.set(before);
      if (after !== undefined) moved[t] = squaredDistance(after, tensor.w);
    }
    visit?.(index, step, tensors);
    const { engaged } = active.step(tensors, step.gradients, step.learningRates, true, undefined, step.loss);
    const updateNorm = Math.sqrt(moved.reduce((sum, square) => sum + square, 0));
    recorded.push({ engaged, updateNorm, updateNorms: moved.map(Math.sqrt) });
    for (const tensor of tensors) {
      const after = step.after.get(tensor.name);
      if (after !== undefined) tensor.w.set(after);
    }
    progress?.(index + 1, until);
  }
  return {
    walked: recorded.length,
    finite: true,
    recorded,
    snapshots: 0,
    agreedAt: null,
    findings: [],
    missed: null,
  };
}

const distance = (a: Values, b: Values): number => Math.sqrt(squaredDistance(a, b));

/** A snapshot distinguishes runs if less than this share of a tensor's movement may be off. */
const TELLS = 0.01;

/** The tensor of a snapshot that is furthest off, where one is off, and whether the snapshot is far enough from the start to tell runs apart. */
function compared(
  step: CapturedStep,
  tensors: readonly TensorState[],
  start: readonly Values[],
  tolerance: (name: ToleranceName) => number,
) {
  let worst: { tensor: string; off: number; allowed: number; share: number } | null = null;
  let tells = false;
  for (const [k, tensor] of tensors.entries()) {
    const snapshot = step.parameters.get(tensor.name);
    if (snapshot === undefined) continue;
    const size = Math.sqrt(withSums({ values: snapshot }).sums().squares);
    const movement = distance(snapshot, start[k]!);
    const allowed = tolerance('ofMovement') * movement + tolerance('ofSize') * size;
    if (allowed < TELLS * movement) tells = true;
    const off = distance(tensor.w, snapshot);
    const share = off === 0 ? 0 : off / allowed;
    if (!(share <= 1) && !(worst !== null && share <= worst.share))
      worst = { tensor: tensor.name, off, allowed, share };
  }
  return { worst, tells };
}

/**
 * Compares snapshots with rebuilt parameters; keeps the last snapshot to tell what went wrong since.
 *
 * @param initial parameters before the first step, asked for where there is a snapshot
 */
function createChecker(
  capture: Capture,
  initial: () => Promise<readonly Values[]>,
  tolerance: (name: ToleranceName) => number,
) {
  let snapshots = 0;
  let missed: MissedSnapshot | null = null;
  const last = new Map<string, Values>();
  let lastStep = capture.steps[0]!.step;
  let agreedAt: number | null = null;
  return {
    async check(step: CapturedStep, tensors: readonly TensorState[]): Promise<void> {
      if (step.parameters.size === 0) return;
      snapshots++;
      const start = await initial();
      const { worst, tells } = compared(step, tensors, start, tolerance);
      if (worst !== null && missed === null) {
        missed = {
          path: capture.path,
          tensor: worst.tensor,
          difference: worst.off,
          allowed: worst.allowed,
          step: step.step,
          lastAgreed: lastStep,
          cause: probableCause(
            tensors,
            step.parameters,
            tensors.map(({ name }, k) => last.get(name) ?? start[k]!),
          ),
        };
      }
      for (const tensor of tensors) {
        const snapshot = step.parameters.get(tensor.name);
        if (snapshot === undefined) continue;
        if (missed === null) last.set(tensor.name, snapshot);
        else tensor.w.set(snapshot);
      }
      if (missed !== null) return;
      lastStep = step.step;
      if (tells) agreedAt = lastStep;
    },
    result: () => ({
      snapshots,
      agreedAt,
      findings: missed === null ? [] : [mismatchFinding(missed)],
      missed,
    }),
  };
}

/**
 * What the difference looks like over all tensors: a scaled movement, a pull towards zero, or something in the optimizer.
 *
 * @param before parameters of each tensor at the last snapshot that agreed
 */
function probableCause(
  tensors: readonly TensorState[],
  snapshots: ReadonlyMap<string, Values>,
  before: readonly Values[],
): string {
  let ours = 0;
  let theirs = 0;
  let both = 0;
  let offSize = 0;
  let offParameter = 0;
  let size = 0;
  for (const [k, { name, w }] of tensors.entries()) {
    const snapshot = snapshots.get(name);
    const start = before[k]!;
    for (let i = 0; i < (snapshot?.length ?? 0); i++) {
      const old = start[i]!;
      const a = w[i]! - old;
      const b = snapshot![i]! - old;
      const off = w[i]! - snapshot![i]!;
      ours += a * a;
      theirs += b * b;
      both += a * b;
      offSize += off * off;
      offParameter += off * old;
      size += old * old;
    }
  }
  const ratio = Math.sqrt(theirs / ours);
  if (both / Math.sqrt(ours * theirs) > 0.999)
    return `they moved ${formatNumber(ratio)} times as far in the same direction: probably ${ratio < 1 ? 'clipping was on, or the' : 'the'} learning rate was another`;
  if (Math.abs(offParameter) / Math.sqrt(offSize * size) > 0.7)
    return offParameter > 0
      ? 'they moved towards zero besides: probably weight decay was on'
      : 'the rebuilt ones move towards zero besides: probably weight decay was off or smaller';
  const withMomentum = tensors.some(
    ({ slots }) => slots.momentum !== undefined || Object.keys(slots).length === 0,
  );
  return `they moved in another direction: probably ${withMomentum ? 'the momentum is another' : 'ε, the initial accumulator or the betas are others'}, clipping was on, or steps are missing`;
}
