/**
 * All kinds of findings: of logs (the detectors), checkpoints and captures. A new one is one file and one line, here or
 * in the registry of the detectors; pages, rules of the gate, the config, flags and the help in reports derive from it.
 */

import type { FindingType } from '../../model/finding.ts';
import { DETECTORS } from '../detectors/registry.ts';
import { accumulatorJump } from './accumulator-jump.ts';
import { accumulatorReset } from './accumulator-reset.ts';
import { AUDIT_FINDINGS, AUDIT_RULE } from './audit-links.ts';
import type { StepFinding } from './capture-finding.ts';
import { captureMismatch } from './capture-mismatch.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import { emptyOptimizer } from './empty-optimizer.ts';
import { frozenTensor } from './frozen-tensor.ts';
import { nonFiniteTensor } from './non-finite-tensor.ts';
import { optimizerSettingsJump } from './optimizer-settings-jump.ts';
import { parameterNormJump } from './parameter-norm-jump.ts';
import { secondMomentCollapse } from './second-moment-collapse.ts';
import { whoPaid } from './who-paid.ts';

export const CHECKPOINT_FINDINGS = {
  'non-finite-tensor': nonFiniteTensor,
  'accumulator-reset': accumulatorReset,
  'parameter-norm-jump': parameterNormJump,
  'optimizer-settings-jump': optimizerSettingsJump,
  'frozen-tensor': frozenTensor,
} as const satisfies Record<string, CheckpointFinding>;

/** Found in what the recorded steps did (src/experiment/replay/walk.ts). */
export const STEP_FINDINGS = {
  'empty-optimizer': emptyOptimizer,
  'accumulator-jump': accumulatorJump,
  'second-moment-collapse': secondMomentCollapse,
  'who-paid': whoPaid,
} as const satisfies Record<string, StepFinding>;

/** Found by following the recorded run (src/experiment/replay/follow.ts). */
export const CAPTURE_FINDINGS = {
  'capture-mismatch': captureMismatch,
  ...STEP_FINDINGS,
  ...AUDIT_FINDINGS,
} as const satisfies Record<string, FindingType>;

export const FINDINGS = {
  ...DETECTORS,
  ...CHECKPOINT_FINDINGS,
  ...CAPTURE_FINDINGS,
} as const satisfies Record<string, FindingType>;

export type FindingId = keyof typeof FINDINGS;

/** The kind of an id; undefined for an unknown id, as in a report of another release. */
export const findingTypeOf = (id: string): FindingType | undefined =>
  Object.hasOwn(FINDINGS, id) ? FINDINGS[id as FindingId] : undefined;

/** Rules of a gate by another name: the audit says what `capture-mismatch` says, and why. */
const RULE_ALIASES: Readonly<Record<string, string>> = { [captureMismatch.id]: AUDIT_RULE };

/** The name under which a gate judges a rule. */
export const ruleIdOf = (id: string): string => (Object.hasOwn(RULE_ALIASES, id) ? RULE_ALIASES[id]! : id);

/** The kinds of findings that a rule forbids: of `audit` all links, of most rules the one of their name. */
export const findingsOfRule = (id: string): readonly string[] =>
  id === AUDIT_RULE ? [...Object.keys(AUDIT_FINDINGS), captureMismatch.id] : [id];

/** What a kind of finding looks at: also the id under which a report says what of it was not read. */
export const sourceOf = (id: string): 'logs' | 'checkpoints' | 'captures' =>
  Object.hasOwn(CHECKPOINT_FINDINGS, id)
    ? 'checkpoints'
    : Object.hasOwn(CAPTURE_FINDINGS, id)
      ? 'captures'
      : 'logs';
