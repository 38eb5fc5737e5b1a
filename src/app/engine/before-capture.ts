/** What a run's log, settings and other captures know of the time right before a capture. */

import type { Before } from '../../experiment/cause/shorter-steps.ts';
import { knownRule } from '../../experiment/replay/recorded-loops.ts';
import type { Role, Run } from '../../model/run.ts';
import { clippingOf as clippingInForce } from '../../model/run-settings.ts';
import type { Capture } from '../../read/captures/read.ts';
import { chooseRules, compose, leavesAll, type RuleChoice, ruleInForce } from '../../step/rules/choice.ts';

/** Logged points before a capture that say what was usual. */
const LOGGED = 20;

type Recorded = Pick<Capture, 'manifest' | 'steps'>;

/**
 * The logged losses and rates before a capture, and clipping that it does not have: that of the newest earlier capture with some,
 * else of the settings.
 */
export function beforeOf(run: Run, captures: readonly Recorded[], { manifest, steps }: Recorded): Before {
  const start = steps[0]!.step;
  const last = (role: Role): readonly number[] => {
    const { step, value } = run.series.find((one) => one.role === role) ?? { step: [], value: [] };
    const found: number[] = [];
    for (let i = step.length - 1; i >= 0 && found.length < LOGGED; i--)
      if (step.at(i)! < start) found.unshift(value.at(i)!);
    return found;
  };
  const clippingOf = (one: Recorded): RuleChoice | null => {
    const found = knownRule(() => chooseRules(one.manifest.clipping));
    return found === null || leavesAll(found) ? null : found;
  };
  const earlier = captures
    .filter((one) => one.steps[0]!.step < start)
    .sort((a, b) => b.steps[0]!.step - a.steps[0]!.step)
    .flatMap((one) => clippingOf(one) ?? []);
  const own = clippingInForce(run.hyperparameters).flatMap((one) => ruleInForce(one).parts);
  const known = earlier[0] ?? (own.length === 0 ? null : compose(own));
  return {
    loss: last('loss'),
    learningRate: last('learning_rate'),
    clipping: leavesAll(chooseRules(manifest.clipping)) ? known : null,
  };
}
