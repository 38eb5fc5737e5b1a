/**
 * The layouts of fixtures/printed: lines as a trainer's source formats them, and what they say. A folder is a layout;
 * each is read as it is, and once more with a NaN in the place that expected.json names.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { numberFromJson } from '../../src/model/json.ts';
import type { LogInput } from '../../src/model/log.ts';
import { unaccounted } from '../../src/model/log.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Expected {
  /** Where the format of the lines comes from. */
  readonly source: { readonly repository?: string; readonly file?: string; readonly note?: string };
  readonly stepUnit: string;
  readonly attempts?: number;
  /** The role of what is trained on; `loss` where it is left out. */
  readonly role?: string;
  readonly series: Record<string, { steps: number[]; values: unknown[] }>;
  readonly nan: { replace: string; with: string; series: string; index: number };
}

const folder = join(projectRoot, 'fixtures/printed');

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const read = async (text: string): Promise<LogInput> =>
  finishLog(await readRawStream(once(text), 'input.log'), { sidecars: false });

describe('printed layouts', () => {
  for (const name of readdirSync(folder))
    it(name, async () => {
      const text = readFileSync(join(folder, name, 'input.log'), 'utf8');
      const expected = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
      expect(expected.source.file ?? expected.source.note).toBeDefined();
      const log = await read(text);
      expect(log).toMatchObject({ format: 'stdout', errors: [], lost: 0, unreadBytes: 0 });
      expect(unaccounted(log.account)).toBe(0);
      const run = log.runs[0]!;
      expect(run.stepUnit).toBe(expected.stepUnit);
      expect(run.attempts).toHaveLength(expected.attempts ?? 1);
      const found = (log: LogInput, key: string): { steps: number[]; values: number[] } => {
        const series = log.runs[0]!.series.find((one) => one.name === key);
        expect(series, `${key} among ${log.runs[0]!.series.map((one) => one.name)}`).toBeDefined();
        return { steps: Array.from(series!.step), values: Array.from(series!.value) };
      };
      for (const [key, { steps, values }] of Object.entries(expected.series))
        expect({ key, ...found(log, key) }).toEqual({
          key,
          steps,
          values: values.map((value) => numberFromJson(value)),
        });
      const roles = run.series.map((one) => one.role);
      expect(roles).toContain(expected.role ?? 'loss');

      const { nan } = expected;
      expect(text.split(nan.replace)).toHaveLength(2);
      const twin = await read(text.replace(nan.replace, nan.with));
      expect(twin).toMatchObject({ errors: [], lost: 0, unreadBytes: 0 });
      const { steps, values } = expected.series[nan.series]!;
      const of = found(twin, nan.series);
      expect(of.steps).toEqual(steps);
      expect(of.values[nan.index]).toBeNaN();
      expect(of.values.toSpliced(nan.index, 1)).toEqual(
        values.map((value) => numberFromJson(value)).toSpliced(nan.index, 1),
      );
    });
});
