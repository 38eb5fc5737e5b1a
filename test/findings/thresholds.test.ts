import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { FINDINGS } from '../../src/judge/findings/registry.ts';
import {
  joinThresholds,
  readThresholds,
  resolveThresholds,
  type ThresholdOverrides,
} from '../../src/judge/findings/thresholds.ts';
import { DEFAULT_VERDICT_SETTINGS, VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import type { FindingType } from '../../src/model/finding.ts';

const types: readonly FindingType[] = Object.values(FINDINGS);

describe('thresholds that a user sets', () => {
  it('are the defaults where nothing is set', () => {
    const { inForce, settings, changed } = resolveThresholds();
    for (const { id, thresholds } of types)
      for (const { name, value } of thresholds) expect(inForce(id, name)).toBe(value);
    expect(settings).toEqual(DEFAULT_VERDICT_SETTINGS);
    expect(changed).toEqual({});
  });

  it('hold for one finding, or for all that share a number of the judge', () => {
    const own = resolveThresholds(readThresholds({ 'co-spike': { ratio: 4 } }));
    expect(own.changed).toEqual({ 'co-spike': { ratio: 4 } });
    expect([own.inForce('co-spike', 'ratio'), own.inForce('gradient-norm-spike', 'ratio')]).toEqual([4, 3]);
    const shared = resolveThresholds(readThresholds({ 'micro-divergence': { incidentRatio: 2 } }));
    expect(shared.settings).toEqual({ ...DEFAULT_VERDICT_SETTINGS, incidentRatio: 2 });
    for (const id of ['full-divergence', 'micro-divergence', 'eval-only-spike'])
      expect([id, shared.inForce(id, 'incidentRatio')]).toEqual([id, 2]);
    // The same judge, however it was said.
    expect(resolveThresholds(readThresholds({ 'full-divergence': { incidentRatio: 2 } })).changed).toEqual(
      shared.changed,
    );
  });

  it('a number that is the default changes nothing', () => {
    expect(resolveThresholds(readThresholds({ drift: { driftRatio: 1.4 } })).changed).toEqual({});
  });

  it.each([
    [{ drfit: { driftRatio: 2 } }, 'finding-unknown', 'did you mean drift?'],
    [{ constructor: { x: 1 } }, 'finding-unknown', '`clippy-diag explain` lists them'],
    [{ drift: { driftRatoi: 2 } }, 'threshold-unknown', 'did you mean driftRatio?'],
    [{ 'non-finite-loss': { points: 2 } }, 'threshold-unknown', 'it has none'],
    [{ drift: { driftRatio: 0.5 } }, 'threshold-range', 'clippy-diag explain drift'],
    [{ drift: { driftRatio: Number.NaN } }, 'threshold-range', 'explain'],
    [{ drift: { driftRatio: '2' } }, 'threshold-range', 'explain'],
    [{ drift: { driftRatio: null } }, 'threshold-range', 'explain'],
    [{ 'dead-run': { zeros: 1.5 } }, 'threshold-range', 'explain'],
    [
      { 'full-divergence': { incidentRatio: 9 }, 'micro-divergence': { incidentRatio: 10 } },
      'threshold-conflict',
      'give it once',
    ],
  ] as [Record<string, Record<string, unknown>>, string, string][])('refuses %j: %s', (given, code, hint) => {
    expect(() => readThresholds(given)).toThrow(
      expect.objectContaining({ code, exitCode: 2, hint: expect.stringContaining(hint) as string }) as Error,
    );
  });

  it('says the place and both values', () => {
    const place = {
      at: (finding: string, name: string) => `rules.${finding}.${name}`,
      where: { path: 'a.yaml' },
    };
    const read = () =>
      readThresholds(
        { 'full-divergence': { incidentRatio: 9 }, 'micro-divergence': { incidentRatio: 10 } },
        place,
      );
    expect(read).toThrow(
      'rules.full-divergence.incidentRatio is 9 and rules.micro-divergence.incidentRatio is 10',
    );
    expect(read).toThrow(expect.objectContaining({ where: { path: 'a.yaml' } }) as Error);
    expect(
      readThresholds({ 'full-divergence': { incidentRatio: 9 }, 'micro-divergence': { incidentRatio: 9 } }),
    ).toBeTruthy();
  });

  it('later places win, for every finding that shares the number', () => {
    const file = readThresholds({ 'full-divergence': { incidentRatio: 9 }, drift: { driftRatio: 2 } });
    const flag = readThresholds({ 'micro-divergence': { incidentRatio: 10 } });
    const { settings, inForce } = resolveThresholds(joinThresholds(file, flag));
    expect([settings.incidentRatio, settings.driftRatio]).toEqual([10, 2]);
    expect(inForce('full-divergence', 'incidentRatio')).toBe(10);
  });

  it('every number in its range is taken as it is, and the finding and the judge agree on it', () => {
    const declared = types.flatMap(({ id, thresholds }) =>
      thresholds.map((threshold) => ({ id, ...threshold })),
    );
    const anyThreshold = fc.constantFrom(...declared).chain((one) =>
      fc
        .double({ min: one.range.min, max: Math.min(one.range.max, 1e9), noNaN: true })
        .map((x) => ({ ...one, set: 'integer' in one.range ? Math.ceil(x) : x }))
        .filter(({ set, range }) => !(range.above === true && set === range.min)),
    );
    fc.assert(
      fc.property(anyThreshold, ({ id, name, set, value }) => {
        const { inForce, settings, changed } = resolveThresholds(readThresholds({ [id]: { [name]: set } }));
        expect(inForce(id, name)).toBe(set);
        if (Object.hasOwn(VERDICT_SETTINGS, name))
          expect(settings[name as keyof typeof VERDICT_SETTINGS]).toBe(set);
        expect(changed[id]?.[name]).toBe(set === value ? undefined : set);
      }),
    );
  });

  it('have typed names', () => {
    expectTypeOf<{ drift: { driftRatio: 2 } }>().toExtend<ThresholdOverrides>();
    expectTypeOf<{ drift: { driftRatoi: 2 } }>().not.toExtend<ThresholdOverrides>();
    expectTypeOf<NonNullable<ThresholdOverrides['dead-run']>>().toEqualTypeOf<{
      readonly zeros?: number;
      readonly abruptShare?: number;
    }>();
    expectTypeOf<keyof NonNullable<ThresholdOverrides['parameter-norm-jump']>>().toEqualTypeOf<'growth'>();
  });
});
