/** The judge in Python says of every shared case what src/judge/incidents says, with the same settings. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NUMBERS } from '../../src/judge/incidents/numbers.ts';
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
    const { widths: _, ...numbers } = NUMBERS;
    const { incidentRatio, driftRatio, fullRatio, fullRatioAtEnd, decisionPoints, lostShare } =
      DEFAULT_VERDICT_SETTINGS;
    const limits = { incidentRatio, driftRatio, fullRatio, fullRatioAtEnd, decisionPoints, lostShare };
    // Fewer losses have no usual level, which only replays ask for.
    const { fewest: __, ...mine } = { ...numbers, ...limits };
    expect(copy.settings).toEqual(mine);
  },
);
