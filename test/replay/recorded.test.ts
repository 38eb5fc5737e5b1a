/** What a capture says of itself is anybody's text: what is read of it is what a report can hold, and read back. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { guardTried, recordedCurvature, recordedReplays } from '../../src/experiment/replay/recorded.ts';
import { toJson } from '../../src/model/json.ts';
import type { CaptureManifest } from '../../src/read/captures/manifest.ts';
import type { Capture } from '../../src/read/captures/read.ts';
import { curvatureEntry, replayEntry } from '../../src/report/report-schema.ts';

const replay = {
  mode: 'closed-loop',
  rule: 'clippy',
  options: {},
  optimizer: { name: 'adagrad' },
  steps: [1, 2],
  loss: [1, 'NaN'],
  minClipFactor: [1, 0.5],
  updateNorm: [0.1, 'Infinity'],
  ended: { reason: 'non-finite', step: 2 },
  bottleneck: { tensor: 'w', index: 0, factor: 0.5 },
  verdict: 'prevented',
  confidence: 'exact',
  why: 'as seen',
  peak: 2,
  rules: [{ rule: 'agc', options: { ratio: 0.01 } }],
  arm: { kind: 'learning-rate', factor: 0.5, steps: [1], at: 1 },
  referenceLoss: [1, 'NaN'],
};
const curvature = {
  checkpoint: 'step-1.pt',
  step: 1,
  operator: 'hessian',
  eigenvalues: [{ value: 2, residualNorm: 1e-3, converged: true, iterations: 12 }],
  stability: { learningRate: 0.1, limit: 20, ratio: 0.1 },
  hvpCount: 24,
  seed: 0,
};

const manifest = (change: Partial<CaptureManifest>): CaptureManifest =>
  ({
    replay: [],
    curvature: [],
    history: null,
    steps: [],
    clipping: [],
    ...change,
  }) as unknown as CaptureManifest;

type Told = Pick<Capture, 'path' | 'manifest' | 'steps'>;

/** A capture of these entries, without steps. */
const storing = (replays: readonly unknown[]): Told => ({
  path: 'capture',
  manifest: manifest({ replay: replays }),
  steps: [],
});

/** An entry in which any member, and any member of a member, may be anything. */
const spoilt = (entry: Readonly<Record<string, unknown>>): fc.Arbitrary<unknown> => {
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom('NaN', '-Infinity', null, [], {}));
  const inside = (value: unknown): fc.Arbitrary<unknown> =>
    typeof value !== 'object' || value === null
      ? fc.oneof({ weight: 4, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: anything })
      : fc.oneof(
          { weight: 4, arbitrary: fc.constant(value) },
          { weight: 1, arbitrary: anything },
          {
            weight: 2,
            arbitrary: Array.isArray(value)
              ? fc.tuple(...value.map(inside))
              : fc.record(
                  Object.fromEntries(Object.entries(value).map(([key, member]) => [key, inside(member)])),
                  { requiredKeys: [] },
                ),
          },
        );
  return fc.record(Object.fromEntries(Object.entries(entry).map(([key, member]) => [key, inside(member)])), {
    requiredKeys: Object.keys(entry).slice(0, 3),
  });
};

const isRead = (schema: typeof replayEntry | typeof curvatureEntry, entry: unknown): void =>
  expect(schema.safeParse(JSON.parse(toJson(entry))).error?.issues ?? []).toEqual([]);

describe('entries of a capture', () => {
  it('are read where they are of the form', () => {
    const absent = { ...replay, options: null, optimizer: null, ended: null, bottleneck: null, arm: null };
    expect(recordedReplays(storing([replay, absent])).entries).toHaveLength(2);
    const { entries } = recordedCurvature(manifest({ curvature: [curvature] }));
    expect(entries).toHaveLength(1);
    expect(entries[0]!.step).toBe(1);
  });

  it('are left out with a note where they are not', () => {
    for (const change of [
      { options: { threshold: { deep: 1 } } },
      { optimizer: [1, 2] },
      { ended: { reason: 'tired', step: 2 } },
      { steps: ['NaN', 2] },
      { rules: [{ rule: 'agc', options: [] }] },
    ]) {
      const { entries, notes } = recordedReplays(storing([{ ...replay, ...change }]));
      expect(entries, JSON.stringify(change)).toEqual([]);
      expect(notes).toEqual([expect.stringMatching(/entry 0 of "replay" in capture.json is no replay/)]);
    }
  });

  it('whatever they hold, a report holds what is read of them, or a note says that nothing is', () => {
    fc.assert(
      fc.property(fc.array(spoilt(replay)), fc.array(spoilt(curvature)), (replays, curvatures) => {
        const found = [
          [replayEntry, recordedReplays(storing(replays)), replays],
          [curvatureEntry, recordedCurvature(manifest({ curvature: curvatures })), curvatures],
        ] as const;
        for (const [schema, { entries, notes }, given] of found) {
          expect(entries.length + notes.length).toBe(given.length);
          for (const entry of entries) isRead(schema, entry);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('closed loops that store their trace alone', () => {
  const STEPS = 70;
  /** Batches that are bad: they spoil the run that takes them, and come once more at the end. */
  const BAD = [30, 31, 32, 33, ...Array.from({ length: 10 }, (_, k) => STEPS - 10 + k)];
  const wave = (i: number): number => 1 + 0.01 * Math.sin(i);
  const along = (at: (i: number) => number): number[] => Array.from({ length: STEPS }, (_, i) => at(i));
  const calm = along(wave);
  /** What the bad batches give at good weights, and what every batch gives at spoilt ones. */
  const refused = along((i) => wave(i) * (BAD.includes(i) ? 12 : 1));
  const spoilt = along((i) => wave(i) * (i >= 30 ? 12 : 1));
  const heldOut = along((i) => wave(i) * (i > 30 ? 8 : 1));

  interface Loop {
    readonly rule?: string;
    readonly options?: object;
    readonly arm?: object;
    readonly loss: readonly number[];
    readonly on?: readonly number[];
  }
  const verdictsOf = (
    loops: readonly Loop[],
    { recorded = spoilt, clipping = [] }: { recorded?: readonly number[]; clipping?: unknown[] } = {},
  ) => {
    const capture = {
      path: 'capture',
      manifest: manifest({
        clipping: clipping as CaptureManifest['clipping'],
        batchLosses: [],
        references: [0, 10, 20],
        skips: [],
        replay: loops.map(({ rule = 'none', options = {}, arm, loss, on }) => ({
          mode: 'closed-loop',
          rule,
          options,
          ...(arm === undefined ? {} : { arm }),
          steps: along((i) => 100 + i),
          loss,
          minClipFactor: along(() => 1),
          updateNorm: along((i) => (arm !== undefined && BAD.includes(i) ? 0 : 0.1)),
          ...(on === undefined ? {} : { referenceLoss: on }),
        })),
      }),
      steps: recorded.map((loss, i) => ({ step: 100 + i, loss, tasks: new Map() })),
    } as unknown as Told;
    const { entries, notes } = recordedReplays(capture);
    expect(notes).toEqual([]);
    return entries.map(({ verdict }) => verdict);
  };
  const plain: Loop = { loss: spoilt, on: heldOut };
  const guard = (loss: readonly number[], on?: readonly number[]): Loop => ({
    arm: { kind: 'guard' },
    loss,
    ...(on === undefined ? {} : { on }),
  });
  const left = { kind: 'skip-batches', steps: BAD.map((i) => 100 + i) };

  it('a guard that refuses every bad batch prevented what they do, whatever the loss on them is', () => {
    expect(verdictsOf([plain, guard(refused, calm)])).toEqual(['not-prevented', 'prevented']);
    expect(verdictsOf([plain, { arm: left, loss: refused, on: calm }])).toEqual([
      'not-prevented',
      'prevented',
    ]);
  });

  it('a rule is judged only where the loop without it has the incident', () => {
    const loops: Loop[] = [
      { loss: calm, on: calm },
      { rule: 'global-norm', options: { maxNorm: 1 }, loss: calm, on: calm },
    ];
    expect(verdictsOf(loops, { recorded: calm })).toEqual(['not-needed', 'not-needed']);
    expect(verdictsOf(loops)).toEqual(['cannot-tell', 'cannot-tell']);
  });

  it('one that lets the harm through did not, though its last batches look well', () => {
    const well = along((i) => wave(i) * (i >= 30 && i < 40 ? 12 : 1));
    expect(verdictsOf([plain, guard(spoilt, heldOut)])).toEqual(['not-prevented', 'not-prevented']);
    expect(verdictsOf([plain, guard(well, heldOut)])[1]).toBe('not-prevented');
  });

  it('the loss on a batch that was left out is none of the training’s', () => {
    // The run comes back by itself: an arm has to take the spike away.
    const passing = along((i) => wave(i) * (i >= 30 && i < 34 ? 12 : 1));
    const recorded = passing;
    const back: Loop = { loss: passing, on: calm };
    const arms: Loop[] = [
      { arm: { ...left, steps: [130, 131, 132, 133] }, loss: passing, on: calm },
      { arm: { kind: 'learning-rate', factor: 0.5 }, loss: passing, on: calm },
      { arm: { kind: 'learning-rate', factor: 0.1 }, loss: calm, on: calm },
    ];
    expect(verdictsOf([back, ...arms], { recorded })).toEqual([
      'not-prevented',
      'prevented',
      'not-prevented',
      'prevented',
    ]);
    const byOwnLosses = [back, arms[0]!].map(({ on: _, ...loop }) => loop);
    expect(verdictsOf(byOwnLosses, { recorded })[1]).toBe('prevented');
  });

  it('earlier batches in place of those that last to the end are judged on clean ones, as all steps are', () => {
    const lasting = along((i) => i).slice(30);
    const arm = { kind: 'earlier-batches', steps: lasting.map((i) => 100 + i) };
    const loops = [
      plain,
      { arm, loss: calm, on: calm },
      { arm: { kind: 'learning-rate', factor: 0.1 }, loss: spoilt, on: calm },
    ];
    expect(verdictsOf(loops)).toEqual(['not-prevented', 'prevented', 'cannot-tell']);
  });

  it('rows that were left out of batches are judged on all steps, for what is left of a batch is clean', () => {
    const rows = BAD.map((i) => ({ step: 100 + i, rows: [3, 7], ids: ['a', i] }));
    const arm = { kind: 'skip-rows', steps: rows.map(({ step }) => step), rows };
    expect(verdictsOf([plain, { arm, loss: calm, on: calm }])).toEqual(['not-prevented', 'prevented']);
    expect(verdictsOf([plain, { arm, loss: spoilt, on: heldOut }])).toEqual([
      'not-prevented',
      'not-prevented',
    ]);
  });

  it('of a run that is well nothing is to prevent', () => {
    const healthy = { loss: calm, on: calm };
    expect(verdictsOf([healthy, guard(calm, calm)], { recorded: calm })).toEqual([
      'not-needed',
      'not-needed',
    ]);
  });

  it('without losses on reference batches, or far from what was recorded, their own losses decide', () => {
    expect(verdictsOf([{ loss: spoilt }, guard(refused)])).toEqual(['not-prevented', 'delayed']);
    const adrift = spoilt.map((loss, i) => (i === 7 ? 1.02 * loss : loss));
    expect(verdictsOf([{ ...plain, loss: adrift }, guard(refused, calm)])[1]).toBe('delayed');
  });

  it('are held against the one under the recorded clipping, which need not be none', () => {
    const clipped = { rule: 'global-norm', options: { maxNorm: 1 } };
    const loops = [{ loss: calm, on: calm }, { ...plain, ...clipped }, guard(refused, calm)];
    expect(verdictsOf(loops, { clipping: [clipped] })).toEqual(['prevented', 'not-prevented', 'prevented']);
  });
});

describe('a guard that was tried', () => {
  const steps = Array.from({ length: 30 }, (_, k) => ({ step: 100 + k }));
  const entry = (label: string, end: number, arm?: object) => ({
    mode: 'closed-loop',
    label,
    referenceLoss: steps.map(() => end),
    ...(arm === undefined ? {} : { arm }),
  });
  const tells = (alarms: readonly number[], onset: number, stored = true) => {
    const advice = steps.map(({ step }) => ({
      step,
      risk: 0.5,
      action: alarms.includes(step) ? 'clip' : 'apply',
    }));
    const capture = { steps, manifest: { replay: stored ? [{ arm: { kind: 'guard' }, advice }] : [] } };
    const entries = [entry('none', 8), entry('none, guard', 0.5, { kind: 'guard' })];
    return guardTried(
      capture as unknown as Parameters<typeof guardTried>[0],
      entries as unknown as Parameters<typeof guardTried>[1],
      onset,
    );
  };

  it.each([
    [
      [119, 120],
      120,
      /begins at step 100 would have warned at step 119 \(clip\), 1 step before the loss leaves/,
    ],
    [[120], 120, /warned at step 120 \(clip\), before that step was taken/],
    [[123], 120, /warned at step 123 \(clip\), 3 steps after the loss leaves/],
    [[], 120, /would not have warned of the incident of step 120\.$/],
  ])('alarms at %j of the incident of step %i', (alarms, onset, said) => {
    expect(tells(alarms, onset)).toMatch(said);
  });

  it('says how the run ends with it and without, and nothing where none was tried', () => {
    expect(tells([119], 120)).toMatch(/Obeyed, the run ends at 0\.5 on reference batches \(without: 8\)\.$/);
    expect(tells([119], 120, false)).toBeNull();
  });
});
