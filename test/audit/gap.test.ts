import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { auditCapture } from '../../src/experiment/audit/audit.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { scratchFolders } from '../support/scratch.ts';
import { type Fault, record } from './training.ts';

const scratch = scratchFolders('gap');

/** The audit of thirty steps, 100 to 129, of which those between two positions are taken out of the manifest. */
async function audited(gap: readonly [number, number] | null, options: { fault?: Fault; sums?: true } = {}) {
  const folder = join(scratch(), 'capture');
  await record(folder, {
    optimizer: 'adamw',
    seed: 4,
    every: 1,
    ...(options.fault && { fault: options.fault }),
  });
  const path = join(folder, 'capture.json');
  const manifest = JSON.parse(await readFile(path, 'utf8'));
  const checksums = (sum: string) => ({ weights: { sum, tensors: {} } });
  if (options.sums)
    for (const [k, step] of manifest.steps.entries())
      Object.assign(step, { before: checksums(`a${k}`), after: checksums(`a${k + 1}`) });
  if (gap !== null) manifest.steps.splice(gap[0], gap[1] - gap[0]);
  await writeFile(path, JSON.stringify(manifest));
  const { links } = await auditCapture(await openCapture(folder));
  return links.filter(({ outcome }) => outcome === 'broken');
}

it('weights that differ across steps that were not recorded are no fault', async () => {
  expect(await audited([12, 28])).toEqual([]);
  expect(await audited([12, 28], { sums: true })).toEqual([]);
});

it('a fault before the missing steps is named all the same, and one after them is left open', async () => {
  const scaled = (at: number): Fault => ({ scaled: { at, times: 1.5 } });
  expect(await audited([20, 24], { fault: scaled(108) })).toMatchObject([{ cause: 'all-scaled', step: 108 }]);
  expect(await audited(null, { fault: scaled(127) })).toMatchObject([{ cause: 'all-scaled' }]);
  expect(await audited([20, 24], { fault: scaled(127) })).toEqual([]);
});
