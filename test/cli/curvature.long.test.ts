/** `curvature` where it takes long: power iteration, more files of Keras, modules that do harm. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'vitest';
import { scratchFolders } from '../support/scratch.ts';
import { files, isOfKeras, isRefused, topThree } from './curvature-runs.ts';

const scratch = scratchFolders('curvature-long');

it('--top 3 by power iteration', () => topThree('power'));

it.each([
  ['scaled-adam.keras', "checkpoint's own optimizer: .*beta2=0.99"],
  ['rmsprop.h5', "checkpoint's own optimizer: .*rho=0.8"],
])('%s: each state is its parameter’s, and options and form are Keras’s', isOfKeras);

it.each([
  ['hangs', 'user-model-time', ['--model-seconds', '1'], 'for (;;);'],
  [
    'allocates without end',
    'user-model-memory',
    ['--model-memory', '300'],
    'const all = []; for (;;) all.push(new Float64Array(1e6).fill(1));',
  ],
])('a module that %s: code 3, %s', async (_, id, limit, code) => {
  const module = join(scratch(), 'model.mjs');
  writeFileSync(module, `export const loss = () => { ${code} };`);
  await isRefused(files(undefined, limit, undefined, module), 3, id);
});
