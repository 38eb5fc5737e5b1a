/** Flags of the commands that train on from a capture, and what their values mean. */

import * as Flags from '@oclif/core/flags';
import { BACKENDS, type BackendName } from '../../differentiate/autodiff/backend-names.ts';
import type { ClosedLoopRun } from '../../experiment/measure/closed-loop.ts';
import { diagError } from '../../model/errors.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { DEFAULT_RULES, RULES } from '../../step/rules/registry.ts';
import type { ClipRule } from '../../step/rules/rule.ts';
import type { Io } from './io.ts';
import { knowing } from './known-values.ts';
import { limitsOf, modelLimitFlags } from './model-limits.ts';
import { progressOn } from './progress.ts';

export const ruleFlag = knowing(
  Flags.string({
    description: `rule, with options or a quoted grid, or rules joined by "+"; may be repeated (default: ${DEFAULT_RULES.join(' ')})`,
    helpValue: 'RULE',
    multiple: true,
    multipleNonGreedy: true,
  }),
  () =>
    Object.values<ClipRule>(RULES).flatMap(({ id, presets = {} }) => [
      id,
      ...Object.keys(presets).map((preset) => `${id}:${preset}`),
    ]),
);

const helpGroup = 'CLOSED LOOP';
export const trainingFlags = {
  steps: Flags.integer({
    helpValue: 'N',
    description: 'at most so many of the recorded steps',
    min: 1,
    helpGroup,
  }),
  model: Flags.string({
    description: 'model file, instead of the one that the capture names',
    helpValue: 'FILE',
    helpGroup,
  }),
  resume: Flags.string({
    description: 'keep the state in this file, and go on from it if it is there',
    helpValue: 'FILE',
    helpGroup,
  }),
  backend: Flags.option({ options: BACKENDS, description: 'default: the fastest that loads', helpGroup })(),
  ...modelLimitFlags(helpGroup),
};

/** What the training takes from the flags. */
export function trainingOptions(
  rules: readonly RuleChoice[],
  learningRateMultipliers: readonly number[],
  flags: {
    readonly steps?: number | undefined;
    readonly model?: string | undefined;
    readonly resume?: string | undefined;
    readonly backend?: BackendName | undefined;
    readonly 'model-seconds'?: number | undefined;
    readonly 'model-memory'?: number | undefined;
  },
  io: Io,
): ClosedLoopRun {
  return {
    rules,
    learningRateMultipliers,
    clock: io.now,
    progress: progressOn(io.stderr, io.now),
    limits: limitsOf(flags),
    ...(flags.steps === undefined ? {} : { steps: flags.steps }),
    ...(flags.model === undefined ? {} : { model: flags.model }),
    ...(flags.resume === undefined ? {} : { stateFile: flags.resume }),
    ...(flags.backend === undefined ? {} : { backend: flags.backend }),
  };
}

/**
 * The numbers of `--learning-rate-multiplier`.
 *
 * @throws usage for what is no positive number
 */
export function multipliersOf(text: string): number[] {
  return text.split(',').map((part) => {
    const value = part.trim() === '' ? Number.NaN : Number(part);
    if (!(value > 0 && value < Number.POSITIVE_INFINITY))
      throw diagError('usage', {
        problem: `--learning-rate-multiplier ${text}: "${part}" is no positive number`,
        hint: 'write for example --learning-rate-multiplier 0.5,1,2',
      });
    return value;
  });
}
