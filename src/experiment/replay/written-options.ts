/** Options of the optimizer that changed while a training was recorded: a cycled momentum, a decay that code wrote. */

import type { OptionChange } from '../../model/option-change.ts';
import type { Options } from '../../model/options.ts';
import type { Capture } from '../../read/captures/read.ts';
import { type OptimizerChoice, optimizerOptions } from '../../step/optimizers/registry.ts';

/** The optimizers of the groups from a position of a step on, up to the next. */
export type WrittenOptions = ReadonlyMap<number, readonly OptimizerChoice[]>;

/**
 * @param optimizers of the groups, before the first recorded step
 * @returns empty where no step records an option that changed. Values are not checked: a run took its steps with them, whatever
 * they are.
 */
export function writtenOptions(
  { steps }: Pick<Capture, 'steps'>,
  optimizers: readonly OptimizerChoice[],
): WrittenOptions {
  const names = optimizers.map(
    ({ optimizer }) => new Set(optimizerOptions(optimizer).map(({ name }) => name)),
  );
  const written = new Map<number, readonly OptimizerChoice[]>();
  let current = optimizers;
  for (const { at, group, begun, now } of recordedOptions(steps)) {
    const choice = optimizers[group];
    if (choice === undefined) continue;
    const options: Record<string, Options[string]> = { ...choice.options };
    for (const [name, value] of Object.entries(now))
      if (names[group]!.has(name) && value !== begun[name] && typeof value === typeof options[name])
        options[name] = value as Options[string];
    if (isSame(options, current[group]!.options)) continue;
    current = current.with(group, { ...choice, options: options as OptimizerChoice['options'] });
    written.set(at, current);
  }
  return written;
}

/** Position of the first step with an option that its group did not begin with, but for its rate; −1 without one. */
export function firstWritten(steps: Capture['steps']): number {
  for (const { at, begun, now } of recordedOptions(steps)) {
    const isWritten = ([name, value]: [string, unknown]): boolean =>
      name !== 'learningRate' && name in begun && value !== begun[name];
    if (Object.entries(now).some(isWritten)) return at;
  }
  return -1;
}

type Recorded = Readonly<Record<string, unknown>>;

/** Options that are no settings of the step: rates have a record of their own. */
const NOT_COMPARED = new Set(['learningRate', 'requiresGrad', 'initialLearningRate']);

/** Every change of an option from record to record, in the order of the steps. */
export function optionChanges(steps: Capture['steps']): OptionChange[] {
  const known = new Map<number, Map<string, unknown>>();
  const found: OptionChange[] = [];
  for (const { at, group, now } of recordedOptions(steps)) {
    const before = known.get(group) ?? new Map<string, unknown>();
    known.set(group, before);
    for (const [name, is] of Object.entries(now)) {
      const was = before.get(name);
      if (before.has(name) && was !== is && !NOT_COMPARED.has(name)) found.push({ at, group, name, was, is });
      before.set(name, is);
    }
  }
  return found;
}

/** The options of a group wherever they are recorded, with those that it began with. */
function* recordedOptions(steps: Capture['steps']): Generator<{
  readonly at: number;
  readonly group: number;
  readonly begun: Recorded;
  readonly now: Recorded;
}> {
  const first = new Map<number, Recorded>();
  for (const [at, { record }] of steps.entries())
    for (const [group, now] of record?.options ?? []) {
      const begun = first.get(group) ?? now;
      first.set(group, begun);
      yield { at, group, begun, now };
    }
}

/** Has steppers take their steps from a position on with what was written there, if anything was. */
export function useWritten(
  { written }: Pick<Written, 'written'>,
  at: number,
  steppers: readonly { use(optimizers: readonly OptimizerChoice[]): void }[],
): void {
  const optimizers = written.get(at);
  if (optimizers !== undefined) for (const stepper of steppers) stepper.use(optimizers);
}

const isSame = (one: Options, other: Options): boolean =>
  Object.keys(one).every((name) => one[name] === other[name]);

interface Written {
  readonly optimizers: readonly OptimizerChoice[];
  readonly written: WrittenOptions;
}

/** The optimizers at a step. */
export function optimizersAt({ optimizers, written }: Written, at: number): readonly OptimizerChoice[] {
  let found = optimizers;
  for (const [from, choices] of written) if (from <= at) found = choices;
  return found;
}

/** The setup of the steps from a position on, which is counted as the first. */
export const setupFrom = <Setup extends Written>(setup: Setup, at: number): Setup => ({
  ...setup,
  optimizers: optimizersAt(setup, at),
  written: new Map(
    [...setup.written].filter(([from]) => from > at).map(([from, choices]) => [from - at, choices]),
  ),
});
