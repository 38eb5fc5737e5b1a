/** Findings about the second moment and the update, on a run that came back by itself: nothing that its steps lasted. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { projectRoot } from '../support/shared-data.ts';

const IDS = ['accumulator-jump', 'second-moment-collapse', 'update-norm-spike'];
const recovering = join(projectRoot, 'fixtures/captures/micro-divergence');

async function found(path: string, thresholds = {}) {
  const report = await analyze([path], { toolVersion: '0', now: () => new Date(0), budget: 0, thresholds });
  const [run] = report.runs;
  const skipped = run!.notRun.map(({ id }) => id);
  for (const id of IDS) expect(skipped).not.toContain(id);
  return run!.findings.filter(({ id }) => IDS.includes(id));
}

it('a run that came back by itself has none of them', async () => {
  expect(await found(recovering)).toEqual([]);
});

it('it is the thresholds that keep them out: at others the same steps are found', async () => {
  const jump = await found(recovering, { 'accumulator-jump': { share: 0.001, growth: 1.1 } });
  expect(jump.map(({ id }) => id)).toContain('accumulator-jump');
  // What comes back, or costs less than half of the rate, is a note.
  expect(jump.find(({ id }) => id === 'accumulator-jump')!.measured!.value).toBeGreaterThan(0.001);
});
