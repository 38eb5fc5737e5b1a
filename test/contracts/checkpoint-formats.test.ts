/** What every checkpoint format owes: one claims each fixture, and no two; opening reads less than the values. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { countingSource, openFile } from '../../src/read/bytes/source.ts';
import { CHECKPOINT_FORMATS } from '../../src/read/checkpoints/registry.ts';
import { manifestFiles, projectRoot, sharedData } from '../support/shared-data.ts';

const filesUnder = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });

const fixtures = filesUnder(join(projectRoot, 'fixtures/checkpoints')).filter(
  (path) => !/(\.py|\.md|\.ts|expected\.json)$/.test(path),
);
const real = manifestFiles
  .filter(({ kind }) => kind.startsWith('ckpt/'))
  .map(({ dest }) => join(sharedData!, dest));

async function claims(path: string): Promise<string[]> {
  const source = await openFile(path);
  const head = await source.slice(0, Math.min(4096, source.byteLength));
  const found: string[] = [];
  for (const format of CHECKPOINT_FORMATS) if (await format.sniff(head, source)) found.push(format.id);
  await source.close();
  return found;
}

describe('checkpoint formats', () => {
  it('have ids of their own', () => {
    expect(new Set(CHECKPOINT_FORMATS.map(({ id }) => id)).size).toBe(CHECKPOINT_FORMATS.length);
  });

  it('no two claim one file, and every format claims a fixture', async () => {
    const seen = new Set<string>();
    for (const path of [...fixtures, ...real]) {
      const found = await claims(path);
      expect(found.length, `${path}: ${found}`).toBeLessThanOrEqual(1);
      if (path.startsWith(projectRoot)) for (const id of found) seen.add(id);
    }
    // The real files have this one; the tests of the format write their own.
    expect([...seen, 'safetensors-index'].sort()).toEqual(CHECKPOINT_FORMATS.map(({ id }) => id).sort());
  });

  it('reading one tensor touches its bytes and no other values', async () => {
    for (const path of fixtures.filter((file) => statSync(file).size > 2000)) {
      const [id] = await claims(path);
      const format = CHECKPOINT_FORMATS.find((one) => one.id === id);
      if (format === undefined) continue;
      const source = countingSource(await openFile(path));
      const checkpoint = await format.open(source);
      const opened = source.bytesRead();
      const [smallest] = [...checkpoint.tensors].sort((a, b) => a.elements - b.elements);
      if (smallest !== undefined) {
        await checkpoint.read(smallest.name);
        // An element is at most 16 bytes; blocks, chunks and checksums of containers come on top.
        expect(source.bytesRead() - opened, `${path}: ${smallest.name}`).toBeLessThanOrEqual(
          16 * smallest.elements + 16_384,
        );
      }
      await checkpoint.close();
    }
  });
});
