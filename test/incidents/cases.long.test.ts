/** The judge in Python says of every shared case what src/judge/incidents says, with the same settings. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';
import { CASES_FILE, expectSame, incidentCases, type Judged, onsets } from './cases.ts';

const python = pythonWith();

it.skipIf(python === undefined)(
  'Python says the same, with the same settings (skipped where there is no Python)',
  () => {
    const script = join(projectRoot, 'test/incidents/judge_cases.py');
    const text = execFileSync(python!, ['-B', script, join(projectRoot, 'python/src'), CASES_FILE], {
      encoding: 'utf8',
      maxBuffer: 1e8,
    });
    const copy = JSON.parse(text) as { settings: Record<string, number>; said: Record<string, Judged> };
    const said = onsets();
    for (const { name } of incidentCases()) expectSame(copy.said[name]!, said[name]!, name);
    // What it leaves out: notes on spikes, signs that are no losses, and what `watch` alone sets.
    const without = [
      'shortOpenShare',
      'spikeScales',
      'zeros',
      'abruptShare',
      'missingPoints',
      'together',
      'chance',
      'chancePoints',
      'rewardPoints',
      'rewardKept',
      'learntPoints',
      'learnt',
      // Of the levels, which the verdict of a whole run asks and the stream does not.
      'lostShare',
    ];
    const mine = Object.entries(DEFAULT_VERDICT_SETTINGS).filter(([name]) => !without.includes(name));
    expect(copy.settings).toEqual(Object.fromEntries(mine));
  },
);
