/** Lines of real logs that no known layout reads: fixtures/by-words, each read by its words, and once more with a NaN. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Expected {
  readonly series: Record<string, { readonly steps: number[]; readonly values: number[] }>;
  readonly nan: { readonly replace: string; readonly with: string; readonly index: number };
}

const folder = join(projectRoot, 'fixtures/by-words');

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

describe('logs read by their words', () => {
  it.each(readdirSync(folder))('%s: the loss of training, a NaN in its place', async (name) => {
    const text = readFileSync(join(folder, name, 'input.log'), 'utf8');
    const { series, nan } = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
    const [[key, { steps, values }]] = Object.entries(series) as [
      [string, { steps: number[]; values: number[] }],
    ];
    expect(text.split(nan.replace)).toHaveLength(2);
    for (const [lines, wanted] of [
      [text, values],
      [text.replace(nan.replace, nan.with), values.toSpliced(nan.index, 1, Number.NaN)],
    ] as const) {
      const log = await finishLog(await readRawStream(once(lines), 'input.log'), { sidecars: false });
      expect(log).toMatchObject({ errors: [], lost: 0, readBy: { how: 'words' } });
      const loss = log.runs[0]!.series.find(({ role }) => role === 'loss')!;
      expect(loss.name).toBe(key);
      expect({ steps: Array.from(loss.step), values: Array.from(loss.value) }).toEqual({
        steps,
        values: wanted,
      });
    }
  });
});
