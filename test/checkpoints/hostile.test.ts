/** Every file of fixtures/hostile gets the error that its README says, quickly and without growing. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DiagError } from '../../src/model/errors.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { tensorStatistics } from '../../src/read/checkpoints/statistics.ts';
import { cpuTime } from '../support/cpu-time.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = join(projectRoot, 'fixtures/hostile');
const rows = [
  ...readFileSync(join(folder, 'README.md'), 'utf8').matchAll(
    /^\| (\S+\.\S+) +\| .+ \| ([a-z][a-z0-9-]*) +\|$/gm,
  ),
].map((row) => [row[1]!, row[2]!] as const);

const outcomeOf = async (path: string): Promise<string> => {
  try {
    const checkpoint = await openCheckpoint(path);
    try {
      for (const { name } of checkpoint.tensors) await tensorStatistics(checkpoint, name);
      return checkpoint.errors[0]?.id ?? 'reads';
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    if (error instanceof DiagError) return error.code;
    throw error;
  }
};

describe('hostile files', () => {
  it('are all in the table', () => {
    const files = readdirSync(folder).filter((name) => !/^(README\.md|make\..*)$/.test(name));
    expect(rows.map(([file]) => file).sort()).toEqual(files.sort());
  });

  it.each(rows)('%s: %s', async (file, code) => {
    const before = process.memoryUsage().rss;
    const cpu = cpuTime();
    expect(await outcomeOf(join(folder, file))).toBe(code);
    expect(cpu()).toBeLessThan(5000);
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * 2 ** 20);
  });
});
