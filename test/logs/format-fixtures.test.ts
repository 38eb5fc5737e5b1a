/** The fixtures of fixtures/formats: what a writer was handed is what is read, value by value. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { numberFromJson } from '../../src/model/json.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Expected {
  readonly format: string;
  readonly error?: string;
  readonly attempts?: number;
  readonly hyperparameters?: Record<string, unknown>;
  readonly series: Record<string, { steps: number[]; values: unknown[]; role?: string }>;
}

const folder = join(projectRoot, 'fixtures/formats');

describe('fixtures of formats', () => {
  for (const name of readdirSync(folder))
    it(name, async () => {
      const expected = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
      const input = readdirSync(join(folder, name)).find((file) => file.startsWith('input'))!;
      expect(existsSync(join(folder, name, input))).toBe(true);
      const found = await collectInputs([join(folder, name, input)]);
      if (expected.error !== undefined) {
        expect(found.errors.map((error) => error.code)).toEqual([expected.error]);
        return;
      }
      expect(found.errors).toEqual([]);
      expect(found.logs).toHaveLength(1);
      const log = found.logs[0]!;
      expect(log).toMatchObject({ format: expected.format, errors: [], lost: 0, unreadBytes: 0 });
      expect(log.runs).toHaveLength(1);
      const run = log.runs[0]!;
      expect(run.attempts).toHaveLength(expected.attempts ?? 1);
      for (const [key, value] of Object.entries(expected.hyperparameters ?? {}))
        expect(run.hyperparameters.get(key), key).toBe(value);
      for (const [key, { steps, values, role }] of Object.entries(expected.series)) {
        const series = run.series.find((one) => one.name === key);
        expect(series, key).toBeDefined();
        expect(Array.from(series!.value), key).toEqual(values.map((value) => numberFromJson(value)));
        expect(Array.from(series!.step), key).toEqual(steps);
        if (role !== undefined) expect(series!.role, key).toBe(role);
      }
    });
});
