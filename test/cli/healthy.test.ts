/** A healthy run has no warning and no error, through the whole of `analyze`: fixtures, and real logs where they are present. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { manifestFiles, projectRoot, sharedData } from '../support/shared-data.ts';

const fixtures = join(projectRoot, 'fixtures/logs');
const healthy = readdirSync(fixtures).filter((name) => name.startsWith('healthy'));
const real = manifestFiles.filter(
  ({ kind, expectedClass }) => kind.startsWith('log/') && expectedClass?.join() === 'healthy',
);

async function expectSilence(path: string): Promise<void> {
  const report = await analyze([path], { budget: 0, toolVersion: '0.0.0', now: () => new Date(0) });
  expect(report.verdict.class).toBe('healthy');
  expect(
    report.runs.flatMap(({ findings }) => findings.filter(({ severity }) => severity !== 'note')),
  ).toEqual([]);
  expect(report.warnings).toEqual([]);
  expect(report.inputs.flatMap(({ errors = [] }) => errors)).toEqual([]);
}

describe('silence on healthy runs', () => {
  it('has runs to be silent on', () => expect(healthy.length).toBeGreaterThanOrEqual(3));
  it.each(healthy)('fixture %s', (name) => expectSilence(join(fixtures, name)));
  it.skipIf(sharedData === undefined).each(real.map(({ dest }) => dest))('real log %s', (dest) =>
    expectSilence(join(sharedData!, dest)),
  );
});
