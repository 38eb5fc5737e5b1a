/** What a log alone gives of a what-if: how often each rule would have acted on the norms that it has. */

import { replayFromLog } from '../../experiment/replay/from-log.ts';
import type { Run } from '../../model/run.ts';
import { clippingOf } from '../../model/run-settings.ts';
import { ruleInForce } from '../../step/rules/choice.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { DEFAULT_RULES } from '../../step/rules/registry.ts';
import type { WhatIf } from './what-if.ts';

/** @param onsetStep of the incident that the rules would have met */
export function whatIfOfLog(run: Run, onsetStep: number): Pick<WhatIf, 'replay' | 'notRun' | 'notes'> {
  const rules = DEFAULT_RULES.flatMap(parseRule);
  const own = clippingOf(run.hyperparameters).map(ruleInForce);
  const others = own.filter(({ label }) => !rules.some((rule) => rule.label === label));
  const { entries, notRun, notes } = replayFromLog(run, { onsetStep, rules: [...rules, ...others] });
  return {
    replay: entries,
    notRun: notRun.map(({ rule, reason }) => ({ id: `replay ${rule}`, reason })),
    notes,
  };
}
