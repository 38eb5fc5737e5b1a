/** The judge of one attempt, as tests ask it: of the whole loss of supervised training. */
import { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
import { DEFAULT_VERDICT_SETTINGS, type VerdictSettings } from '../../src/judge/incidents/settings.ts';

export const judgePoints = (
  values: Float64Array,
  settings: VerdictSettings = DEFAULT_VERDICT_SETTINGS,
  levelSays = true,
) => judgeAttempt(values, settings, { levelSays, isWhole: true });
