import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { auditCapture } from '../../src/experiment/audit/audit.ts';
import { brokenLinks } from '../../src/model/audit.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('frozen');

/** A safetensors file without tensors. */
const NO_TENSORS = Buffer.concat([Buffer.from([8, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}      ')]);

async function captureOf(allParameters: readonly unknown[] | undefined) {
  const folder = join(scratch(), 'capture');
  await mkdir(folder, { recursive: true });
  const steps = [15, 16].map((step) => ({
    step,
    file: `step-${step}.safetensors`,
    loss: 1,
    learningRate: 0.1,
    outside: { 'head.weight': 50 },
  }));
  const manifest = {
    version: 3,
    framework: 'pytorch 2.15.0',
    optimizer: { name: 'sgd', learningRate: 0.1, weightDecay: 0, momentum: 0.9 },
    parameters: [],
    ...(allParameters === undefined ? {} : { allParameters }),
    steps,
  };
  await writeFile(join(folder, 'capture.json'), JSON.stringify(manifest));
  for (const name of ['initial.safetensors', ...steps.map(({ file }) => file)])
    await writeFile(join(folder, name), NO_TENSORS);
  return openCapture(folder);
}

it('an optimizer that holds frozen parameters only is told by those that get gradients and are in no group', async () => {
  const audit = await auditCapture(
    await captureOf([
      { name: 'body.weight', group: 0, trains: false },
      { name: 'head.weight', group: null, trains: true },
    ]),
  );
  expect(brokenLinks(audit)).toMatchObject([{ cause: 'not-in-optimizer', tensor: 'head.weight' }]);
  const optimizer = audit.links.find(
    ({ outcome, link }) => link === 'optimizer' && outcome === 'cannot-tell',
  );
  expect(optimizer?.statement).toContain('frozen parameters only');
});

it('a capture that lists no parameters at all is malformed', async () => {
  await expect(captureOf(undefined)).rejects.toThrow('"parameters" is missing or empty');
  await expect(captureOf([])).rejects.toThrow('"parameters" is missing or empty');
});
