/** Printed logs are found below a folder by what stands in them, whatever their names; other text is not taken for one. */
import { copyFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openInput } from '../../src/app/engine/input-file.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('walk-names');
const fixtures = join(projectRoot, 'fixtures');

async function formatOfCopy(from: string, name: string): Promise<string | undefined> {
  const folder = scratch();
  const path = join(folder, name);
  copyFileSync(from, path);
  const { source, told, named } = await openInput(path);
  await source.close();
  return (told ?? named)?.id;
}

describe('text under any name', () => {
  it.each(readdirSync(join(fixtures, 'printed')))('the log of %s is read', async (name) => {
    expect(await formatOfCopy(join(fixtures, 'printed', name, 'input.log'), 'output_of_run')).toBe('stdout');
  });
  it.each(readdirSync(join(fixtures, 'no-logs')))('%s is none', async (name) => {
    expect(await formatOfCopy(join(fixtures, 'no-logs', name), 'output_of_run')).not.toBe('stdout');
  });
});
