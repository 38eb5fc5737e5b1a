/** The judges that the benches compare: the one in use, and the one of levels. */

import { judgePoints, worstOf } from '../../src/judge/incidents/judge.ts';
import { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
import { judgeLevels } from '../../src/judge/incidents/judge-points.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import type { Said } from './made.ts';

export const JUDGES: Readonly<Record<string, (values: Float64Array) => Said>> = {
  'in use': (values) => {
    const { class: found, incidents } = judgeAttempt(values, DEFAULT_VERDICT_SETTINGS, {
      levelSays: true,
      isWhole: true,
    });
    return { class: found, onset: worstOf(incidents)?.onset ?? null };
  },
  band: (values) => {
    const { class: found, incidents } = judgePoints(values, DEFAULT_VERDICT_SETTINGS);
    return { class: found, onset: worstOf(incidents)?.onset ?? null };
  },
  levels: (values) => {
    const { class: found, excesses } = judgeLevels(values);
    return { class: found, onset: worstOf(excesses)?.onset ?? null };
  },
};
