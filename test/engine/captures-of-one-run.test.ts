import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { runOfCaptures } from '../../src/read/captures/as-run.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('captures-of-one-run');
const FIXTURE = join(projectRoot, 'fixtures/captures/micro-divergence');

/** A folder with two captures, the second without the first half of its steps; each of the run with the id that is given. */
function folderOf(ids: readonly (string | null)[]): string {
  const folder = scratch();
  for (const [k, id] of ids.entries()) {
    const path = join(folder, k === 0 ? 'capture' : `capture-${k + 1}`);
    cpSync(FIXTURE, path, { recursive: true });
    const file = join(path, 'capture.json');
    const manifest = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify({ ...manifest, ...(id === null ? {} : { run: { id } }) }));
  }
  return folder;
}

const runsOf = async (folder: string) =>
  (await analyze([folder], { toolVersion: '0', now: () => new Date(0), budget: 0 })).runs;

describe('captures without a log', () => {
  it('of one run are one run', async () => {
    const folder = folderOf(['a', 'a']);
    const [run, ...more] = await runsOf(folder);
    expect(more).toEqual([]);
    expect(run!.paths).toEqual(['capture', 'capture-2'].map((name) => join(folder, name)));
  });

  it.each([
    ['of two runs', ['a', 'b']],
    ['that name no run', [null, null]],
  ])('%s are two', async (_name, ids) => {
    expect(await runsOf(folderOf(ids))).toHaveLength(2);
  });
});

it('the losses of captures are joined by their steps, and the later capture counts', async () => {
  const whole = await openCapture(FIXTURE);
  const [own] = runOfCaptures([whole]).series;
  const middle = Math.floor(whole.steps.length / 2);
  const early = { ...whole, steps: whole.steps.slice(0, middle) };
  const late = {
    ...whole,
    manifest: { ...whole.manifest, history: null },
    steps: whole.steps.slice(middle - 2).map((step) => ({ ...step, loss: 7 })),
  };
  const run = runOfCaptures([early, late]);
  const [joined] = run.series;
  expect([...joined!.step]).toEqual([...own!.step]);
  const before = own!.step.length - late.steps.length;
  expect([...joined!.value.subarray(0, before)]).toEqual([...own!.value.subarray(0, before)]);
  expect([...joined!.value.subarray(before)]).toEqual(late.steps.map(() => 7));
  expect(run.attempts).toMatchObject([{ firstStep: own!.step.at(0), lastStep: whole.steps.at(-1)!.step }]);
});
