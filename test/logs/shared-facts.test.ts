/** Every real log with independently computed facts reads as those say: the numbers come from other programs. */
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inspectInputs } from '../../src/app/engine/inspect.ts';
import type { InspectedLog } from '../../src/model/inspection.ts';
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

/** Files that hold no log: hyperparameters and the description of a run. */
const NO_LOG = /(^log\/sidecar$)|(\/meta\.yaml$)/;

/** The manifest names what it found in printed logs in its own words. */
const PRINTED: Record<string, string> = {
  modded_train: 'train_loss',
  modded_val: 'val_loss',
  fairseq_inner: 'loss',
  fairseq_gnorm: 'gnorm',
  fairseq_scale: 'loss_scale',
  txl_train: 'loss',
  txl_eval: 'valid loss',
  ds_skipped: 'skipped',
  ds_epoch_loss: 'loss',
  ds_ppl: 'Perplexity',
  algoperf_loss: 'loss',
  algoperf_gnorm: 'grad_norm',
};

/** The facts of a file by the name of the series. */
function factsOf(file: ManifestFile): [string, Facts][] {
  const facts = file.facts ?? {};
  if (file.kind === 'log/mlflow') return [[basename(file.dest), facts.series as Facts]];
  if (file.kind === 'log/stdout')
    return Object.entries(facts.series as Record<string, Facts>).map(([name, fact]) => [
      PRINTED[name] ?? name,
      fact,
    ]);
  if (facts.type === 'dict' && facts.series === undefined)
    return Object.entries(facts.scalars as Record<string, number>).map(([name, value]) => [
      name,
      { points: 1, first: value, last: value, min: value, max: value, nan: 0, inf: 0 },
    ]);
  return Object.entries((facts.tags ?? facts.series ?? {}) as Record<string, Facts>);
}

describe.skipIf(sharedData === undefined)('real logs', () => {
  for (const file of manifestFiles.filter(
    (one) => one.kind.startsWith('log/') && !NO_LOG.test(one.kind) && !NO_LOG.test(one.dest),
  ))
    it(`${file.kind.slice(4)}: ${file.dest.split('/').slice(2).join('/')}`, async () => {
      const { inputs, errors } = await inspectInputs([join(sharedData!, file.dest)], { roles: new Map() });
      expect(errors).toEqual([]);
      expect(inputs).toHaveLength(1);
      const input = inputs[0] as InspectedLog;
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
          // A number that is told once, with its epoch alone, stands at the last step before it.
          ...(typeof facts.first_step === 'number' && facts.points > 1
            ? { firstStep: facts.first_step }
            : {}),
          ...(typeof facts.last_step === 'number' && facts.points > 1 ? { lastStep: facts.last_step } : {}),
        });
        expect(found!.posInf + found!.negInf, name).toBe(facts.inf);
        checked++;
      }
      expect(checked).toBeGreaterThan(0);
    });
});
