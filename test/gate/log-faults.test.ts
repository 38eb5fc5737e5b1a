/** Whole logs with one fault each, in eight formats, by every rule; and controls in which nothing is wrong. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LOG_CONTROLS, LOG_FAULTS } from '../support/log-faults.ts';
import { scratchFolders } from '../support/scratch.ts';
import { TRAINING_LOGS } from '../support/training-logs.ts';
import { combinations, evidenceOf, falsePasses, judged, REPORTED, RULES, skipping } from './log-faults.ts';

const scratch = scratchFolders('log-faults');
const formats = Object.entries(TRAINING_LOGS);

test('there are at least sixty faults, and as many controls', () => {
  expect(Object.keys(LOG_FAULTS).length).toBeGreaterThanOrEqual(60);
  const made = Object.values(LOG_CONTROLS).flatMap((make) =>
    formats.filter(([, format]) => make(format, { at: 0.5, size: 0.5 }) !== undefined),
  );
  expect(made.length).toBeGreaterThanOrEqual(60);
});

describe.each(formats)('%s', (_, format) => {
  test.each(Object.keys(LOG_FAULTS))('%s', async (name) => {
    const { make, lost } = LOG_FAULTS[name]!;
    const files = make(format, { at: 0.5, size: 0.5 });
    if (files === undefined) return;
    expect(falsePasses(await evidenceOf(join(scratch(), 'in'), files), lost)).toEqual([]);
  });

  test.each(Object.keys(LOG_CONTROLS))('%s passes', async (name) => {
    const files = LOG_CONTROLS[name]!(format, { at: 0.5, size: 0.5 });
    if (files === undefined) return;
    const evidence = await evidenceOf(join(scratch(), 'in'), files);
    expect(evidence).not.toBeNull();
    for (const policy of [
      { extends: 'recommended' },
      ...RULES.map((rule) => ({ rules: skipping({ [rule]: 'error' }) })),
    ]) {
      const { exitCode, problems, rules } = judged(evidence!, policy);
      const told = [...problems, ...rules.filter(({ passed, severity }) => !passed && severity === 'error')];
      const reported =
        REPORTED[name]?.filter((rule) => 'rules' in policy && Object.hasOwn(policy.rules, rule)) ?? [];
      expect([policy, told.map(({ id }) => id), exitCode]).toEqual([
        policy,
        reported,
        reported.length > 0 ? 1 : 0,
      ]);
    }
  });
});

combinations(600);
