/** Every real log with independently computed facts reads as those say: the numbers come from other programs. */
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inspectInputs } from '../../src/engine/inspect.ts';
import { numberFromJson } from '../../src/model/json.ts';
import { type ManifestFile, manifestFiles, sharedData } from '../support/shared-data.ts';

interface Facts {
  readonly points?: number;
  readonly first: unknown;
  readonly last: unknown;
  readonly min: unknown;
  readonly max: unknown;
  readonly nan: number;
  readonly inf: number;
  readonly first_step?: number | null;
  readonly last_step?: number | null;
}

const READ = [
  'log/tfevents',
  'log/csv_algoperf',
  'log/csv_keras',
  'log/csv_lightning',
  'log/csv_timm',
  'log/jsonl',
  'log/hf_trainer_state',
];

/** The facts of a file by the name of the series. */
function factsOf(file: ManifestFile): [string, Facts][] {
  const facts = file.facts ?? {};
  if (file.kind === 'log/mlflow') return [[basename(file.dest), facts.series as Facts]];
  return Object.entries((facts.tags ?? facts.series ?? {}) as Record<string, Facts>);
}

describe.skipIf(sharedData === undefined)('real logs', () => {
  for (const file of manifestFiles.filter((one) => READ.includes(one.kind)))
    it(`${file.kind.slice(4)}: ${file.dest.split('/').slice(2).join('/')}`, async () => {
      const { inputs, errors } = await inspectInputs([join(sharedData!, file.dest)], { roles: new Map() });
      expect(errors).toEqual([]);
      expect(inputs).toHaveLength(1);
      const input = inputs[0]!;
      expect(input.errors).toEqual([]);
      expect(input.lost).toBe(0);
      expect(input.unreadBytes).toBe(0);
      expect(input.runs).toHaveLength(1);
      const series = new Map(input.runs[0]!.series.map((one) => [one.name, one]));
      let checked = 0;
      for (const [name, facts] of factsOf(file)) {
        const found = series.get(name);
        if (facts.points === undefined) {
          // A tag of text or hyperparameters is no series.
          expect(found, name).toBeUndefined();
          continue;
        }
        const number = (value: unknown): number => numberFromJson(value) ?? Number.NaN;
        expect({ name, ...found }).toMatchObject({
          name,
          points: facts.points,
          first: number(facts.first),
          last: number(facts.last),
          min: number(facts.min),
          max: number(facts.max),
          nan: facts.nan,
          ...(typeof facts.first_step === 'number' ? { firstStep: facts.first_step } : {}),
          ...(typeof facts.last_step === 'number' ? { lastStep: facts.last_step } : {}),
        });
        expect(found!.posInf + found!.negInf, name).toBe(facts.inf);
        checked++;
      }
      expect(checked).toBeGreaterThan(0);
    });
});
