/** A checkpoint of orbax (fixtures/make/orbax_checkpoint.py) is no log: it is named, with what to export. */
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('orbax');
const folder = join(projectRoot, 'fixtures/conventions/orbax');

it.each([folder, join(folder, '20'), join(folder, '20/_METADATA'), join(folder, '20/_CHECKPOINT_METADATA')])(
  '%s is an error that says what to export',
  async (path) => {
    const { logs, errors } = await collectInputs([path]);
    expect(logs).toEqual([]);
    expect(errors.map(({ code, exitCode }) => [code, exitCode])).toEqual([['format-unsupported', 3]]);
    expect(errors[0]!.hint).toContain('msgpack_serialize');
  },
);

it('beside a log it is passed over with a word', async () => {
  const root = scratch();
  cpSync(folder, join(root, 'checkpoints'), { recursive: true });
  writeFileSync(join(root, 'log.csv'), 'step,loss\n1,2\n2,1\n');
  const { logs, errors, skipped } = await collectInputs([root]);
  expect(errors).toEqual([]);
  expect(logs).toHaveLength(1);
  expect(skipped.map(({ path }) => path)).toEqual([join(root, 'checkpoints/20')]);
  expect(skipped[0]!.reason).toContain('orbax');
});
