/** Printed logs are found below a folder by what stands in them, whatever their names; other text is not taken for one. */
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
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
  it.each(readdirSync(join(fixtures, 'by-words')))(
    'the log of %s, which words alone read, is read',
    async (name) => {
      const path = join(fixtures, 'by-words', name, 'input.log');
      expect(await formatOfCopy(path, 'output_of_run')).toBe('stdout');
      // A summary of a model comes first, of more bytes than the head that is looked at.
      const long = join(scratch(), 'long');
      const summary = Array.from(
        { length: 3000 },
        (_, k) => `embedding_layer_${k}: Embedding(100, 10)\n`,
      ).join('');
      writeFileSync(long, summary + readFileSync(path, 'utf8'));
      expect(await formatOfCopy(long, 'output_of_run')).toBe('stdout');
    },
  );
  it.each(readdirSync(join(fixtures, 'no-logs')))('%s is none', async (name) => {
    expect(await formatOfCopy(join(fixtures, 'no-logs', name), 'output_of_run')).not.toBe('stdout');
  });
});
