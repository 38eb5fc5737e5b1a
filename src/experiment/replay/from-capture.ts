/** A capture's optimizers, clipping and initial state, ready for a stepper. */

import { DiagError, diagError } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { Options } from '../../model/options.ts';
import type { CaptureManifest } from '../../read/captures/manifest.ts';
import type { Capture, InitialState } from '../../read/captures/read.ts';
import {
  chooseOptimizer,
  gradientDescent,
  type OptimizerChoice,
  optimizerOf,
  optimizerOptions,
} from '../../step/optimizers/registry.ts';
import { chooseRules, type RuleChoice } from '../../step/rules/choice.ts';
import type { Precision } from '../../step/tensor/values.ts';
import { freshTensor, type TensorState } from './tensors.ts';
import { type WrittenOptions, writtenOptions } from './written-options.ts';

export interface RecordedSetup {
  /** One for each parameter group. */
  readonly optimizers: readonly OptimizerChoice[];
  /** The clipping that was active while recording. */
  readonly clipping: RuleChoice;
  /** Class of the optimizer whose steps have no formula, replaced by plain gradient descent; null where all have one. */
  readonly withoutFormula: string | null;
  /** What was left out or assumed, for the user. */
  readonly notes: readonly string[];
}

/**
 * What was recorded, as optimizers and a rule. Options that the optimizer does not have are left out with a note: the check
 * against snapshots shows whether they mattered.
 *
 * @param purpose what is done with the steps, for the error where they have no formula; null where that can be done without
 * @throws capture-formula, capture-optimizer, optimizer-unknown, capture-malformed (clipping that is no rule)
 */
export function recordedSetup(
  manifest: CaptureManifest,
  path: string,
  purpose: string | null = 'they are not replayed here',
): RecordedSetup {
  const notes: string[] = [];
  const withoutFormula = manifest.optimizers.find(({ formula }) => !formula)?.name ?? null;
  if (withoutFormula !== null && purpose !== null)
    throw diagError('capture-formula', { optimizer: withoutFormula, what: purpose }, { path });
  const optimizers = manifest.optimizers.map(({ name, options, formula }) => {
    if (!formula) return gradientDescent();
    try {
      const known = optimizerOf(name);
      const names = new Set(known === undefined ? [] : optimizerOptions(known).map((option) => option.name));
      const given: Record<string, Options[string]> = {};
      for (const [key, value] of Object.entries(options))
        if (names.has(key)) given[key] = value;
        else if (known !== undefined)
          notes.push(`the optimizer option "${key}" of the capture is not known and left out`);
      return chooseOptimizer(name, given);
    } catch (error) {
      if (!(error instanceof DiagError) || error.code === 'optimizer-unknown') throw error;
      throw diagError('capture-optimizer', { problem: error.message }, { path }, error);
    }
  });
  try {
    return { optimizers, clipping: chooseRules(manifest.clipping), withoutFormula, notes };
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    throw diagError('capture-malformed', { problem: `"clipping": ${error.message}` }, { path }, error);
  }
}

/** Whether a capture may begin with the first step of a training: loops count from 0, trainers from 1. */
const isFirstStep = ({ steps }: Pick<CaptureManifest, 'steps'>): boolean => steps[0]!.step <= 1;

/**
 * Parameters and optimizer state before the first recorded step; what the capture does not store of the state starts as
 * the optimizer starts it, its count of steps included, and `missing` counts the parameters by slot. A tensor of which the
 * capture stores that it took no step has no state that could be missing.
 */
function initialTensors(
  manifest: CaptureManifest,
  initial: InitialState,
  { optimizers }: RecordedSetup,
  precision: Precision,
): { readonly tensors: TensorState[]; readonly missing: ReadonlyMap<string, number> } {
  const missing = new Map<string, number>();
  const isFirst = isFirstStep(manifest);
  const tensors = manifest.parameters.map((parameter, k) => {
    const choice = optimizers[parameter.group]!;
    const stored = initial.slots[k]!;
    const w = initial.parameters[k]!;
    const tensor = freshTensor(parameter, w, choice, precision, parameter.group, undefined, stored);
    const steps = stored.get('step')?.[0];
    for (const name of Object.keys(tensor.slots))
      if (!stored.has(name) && steps !== 0) missing.set(name, (missing.get(name) ?? 0) + 1);
    // An optimizer that keeps no state has taken the steps of the run all the same.
    const begins = stored.size === 0 && (isFirst || Object.keys(tensor.slots).length > 0);
    tensor.stepsTaken = steps ?? (begins ? 0 : manifest.steps[0]!.step);
    return tensor;
  });
  return { tensors, missing };
}

/**
 * The capture with its setup and initial state, read once.
 *
 * `missingState` lists the slots of a training that had begun and of which the capture stores nothing.
 */
export async function prepareReplay(capture: Capture, precision: Precision, purpose?: string | null) {
  const recorded = recordedSetup(capture.manifest, capture.path, purpose);
  const written: WrittenOptions =
    recorded.withoutFormula === null ? writtenOptions(capture, recorded.optimizers) : new Map();
  const setup = { ...recorded, written };
  const notes = [...setup.notes];
  const initial = await capture.initial(precision);
  const { tensors, missing } = initialTensors(capture.manifest, initial, setup, precision);
  for (const [name, parameters] of missing)
    notes.push(
      `the capture stores no "${name}" for ${parameters === tensors.length ? 'any parameter' : 'some parameters'}: the replay starts it as the optimizer does`,
    );
  // Before the first step of a training there is no state yet.
  const missingState = isFirstStep(capture.manifest)
    ? []
    : [...missing].flatMap(([name, parameters]) => (parameters === tensors.length ? [name] : []));
  return { setup, tensors, missingState, notes };
}

/** That the recorded learning rates change, for reports that name an optimizer with its first one. */
export function learningRateNote({ steps }: Pick<Capture, 'steps'>): string[] {
  const rates = steps.flatMap(({ learningRates }) => learningRates);
  const [least, most] = [Math.min(...rates), Math.max(...rates)];
  return least === most
    ? []
    : [
        `the recorded learning rates lie between ${formatNumber(least)} and ${formatNumber(most)}: each step takes its own, the one named with the optimizer is the first`,
      ];
}
