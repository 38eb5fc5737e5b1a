/** The judge in use, as the benches ask it. */

import { worstOf } from '../../src/judge/incidents/judge.ts';
import { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
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
};
