/** Several rules at once: as a capture records them, as a replay shows them, and as a report says it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replayFromLog } from '../../src/experiment/replay/from-log.ts';
import { recordedReplays } from '../../src/experiment/replay/recorded.ts';
import { replayCapture } from '../../src/experiment/replay/replay.ts';
import type { ReplayEntry } from '../../src/model/replay.ts';
import type { Run, TimeSeries } from '../../src/model/run.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { renderReplay } from '../../src/report/replay-text.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { type NaiveTensor, naiveStep } from '../rules/naive.ts';
import { projectRoot } from '../support/shared-data.ts';

const plain = { colour: false, width: 100, ascii: true, verbose: false } as const;
const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-several-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const folder = join(scratch, 'capture');

const METAS = [
  { name: 'kernel', shape: [2, 3], layout: 'IO', embedding: false },
  { name: 'bias', shape: [3], layout: 'none', embedding: false },
] as const;
const TOGETHER = 'agc:0.3+global-norm:0.2+clippy:absoluteThreshold=0.005';

/** A run of 12 steps under three rules, taken by the second implementation, with the parameters before each. */
beforeAll(async () => {
  const tensors: NaiveTensor[] = [
    { w: [0.5, -1, 2, 0.25, 1, -2], rows: 2, columns: 3, unit: 'column', state: {} },
    { w: [0.1, 0, -0.3], rows: 3, columns: 1, unit: 'whole', state: {} },
  ];
  const values = () => tensors.map(({ w }) => Float32Array.from(w));
  const writer = await createCapture(
    folder,
    {
      framework: 'naive',
      optimizer: { name: 'adagrad', learningRate: 0.1, initialAccumulatorValue: 0.1, epsilon: 1e-7 },
      clipping: [
        { rule: 'agc', clipping: 0.3 },
        { rule: 'global-norm', maxNorm: 0.2 },
        { rule: 'clippy', absoluteThreshold: 0.005 },
      ],
      parameters: METAS,
    },
    values(),
    tensors.map(({ w }) => ({ accumulator: new Float32Array(w.length).fill(0.1) })),
  );
  for (let step = 1; step <= 12; step++) {
    const gradients = tensors.map(({ w }, t) =>
      Float32Array.from(w, (x, i) => Math.sin(7 * step + 3 * i + t) + 0.1 * x),
    );
    await writer.step({
      step,
      learningRate: 0.1,
      loss: 1 / step,
      gradients: gradients.map((one) => ({ values: one })),
      parameters: values(),
    });
    naiveStep(
      [
        ['agc', { clipping: 0.3 }],
        ['global-norm', { maxNorm: 0.2 }],
        ['clippy', { variableRelativeThreshold: 0.5, absoluteThreshold: 0.005 }],
      ],
      { id: 'adagrad', beta: 0 },
      tensors,
      gradients.map((one) => [...one]),
      0.1,
      step,
    );
  }
  await writer.finish();
});

const withClipping = (clipping: unknown): string => {
  const path = join(folder, 'capture.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...manifest, clipping }));
  return folder;
};
const recorded = [
  { rule: 'agc', clipping: 0.3 },
  { rule: 'global-norm', maxNorm: 0.2 },
  { rule: 'clippy', absoluteThreshold: 0.005 },
];
const rebuilt = async (clipping: unknown) =>
  replayCapture(await openCapture(withClipping(clipping)), {
    mode: 'as-recorded',
    rules: [TOGETHER, 'none'].flatMap(parseRule),
  });

describe('a capture that several rules clipped', () => {
  it('is rebuilt: every snapshot is met, and the same rules change nothing', async () => {
    const { findings, snapshots, entries } = await rebuilt(recorded);
    expect(findings).toEqual([]);
    expect(snapshots).toBe(12);
    expect(entries.map(({ firstChangedStep }) => firstChangedStep)).toEqual([null, 1]);
  });
  it.each([
    ['only the first of them', recorded.slice(0, 1)],
    ['another order', [...recorded].reverse()],
    ['one, as an object', recorded[1]],
    ['none', []],
  ])('is not followed under %s', async (_, clipping) => {
    const { findings } = await rebuilt(clipping);
    expect(findings.map(({ id }) => id)).toEqual(['capture-mismatch']);
  });
  it.each([
    ['a text', 'global-norm', '"clipping" is no object with a "rule"'],
    ['a list with a text', [recorded[0], 'rms'], 'entry 1 of "clipping" is no object with a "rule"'],
    ['an entry without a rule', [{ maxNorm: 1 }], 'entry 0 of "clipping" has no "rule"'],
    ['an option that is a list', [{ rule: 'agc', clipping: [1] }], 'entry 0 of "clipping": "clipping" is no'],
    ['an unknown rule', [{ rule: 'global-nrm' }], 'no clipping rule "global-nrm"'],
    ['an unknown preset', { rule: 'clippy', preset: 'papr' }, 'preset is papr and must be paper, tfrs'],
  ])('%s is refused', async (_, clipping, problem) => {
    await expect(rebuilt(clipping)).rejects.toThrow(problem);
    await expect(rebuilt(clipping)).rejects.toMatchObject({ code: 'capture-malformed' });
  });
  it('an option that is not a number in JSON, and one that is left open', async () => {
    const loose = [{ rule: 'global-norm', maxNorm: 'Infinity', semantics: null }, {}];
    const { entries } = await rebuilt(loose);
    expect(entries[1]!.firstChangedStep).toBeNull();
  });
});

describe('an entry of several rules', () => {
  const replayed = async (rule: string): Promise<ReplayEntry> => {
    const capture = await openCapture(join(projectRoot, 'fixtures/incident/capture'));
    return (await replayCapture(capture, { mode: 'as-recorded', rules: parseRule(rule) })).entries[0]!;
  };
  it('names each, with its options, and has what each tells of itself', async () => {
    const entry = await replayed('global-norm:1+clippy:tfrs');
    expect([entry.rule, entry.label, entry.options]).toEqual([
      'global-norm+clippy',
      'global-norm:1+clippy:tfrs',
      {},
    ]);
    expect(entry.rules).toEqual([
      {
        rule: 'global-norm',
        label: 'global-norm:1',
        options: { maxNorm: 1, norm: '2', semantics: 'torch', embeddings: true },
      },
      expect.objectContaining({
        rule: 'clippy',
        label: 'clippy:tfrs',
        options: expect.objectContaining({ preset: 'tfrs', accumulator: 'delayed' }),
      }),
    ]);
    expect(entry.optimizer).toMatchObject({ name: 'adagrad', accumulator: 'delayed' });
    expect(entry.clippy!.dominatedBy).not.toBeNull();
    expect(entry.bottleneck!.place).toBe('entry');
    // A sweep would have two thresholds to move.
    expect(entry.sweep).toBeUndefined();
  });
  it('says in a report which options are whose, and where the smallest factor is', async () => {
    const text = renderReplay([await replayed('global-norm:1+clippy:tfrs')], {}, plain);
    expect(text).toContain('global-norm: maxNorm=1, semantics=torch');
    expect(text).toContain('clippy: variableRelativeThreshold=0.1');
    expect(text).toMatch(/smallest factor \S+: entry \d+ of /);
    expect(renderReplay([await replayed('agc:0.01')], {}, plain)).toMatch(
      /smallest factor \S+: unit \d+ of /,
    );
    const whole = renderReplay([await replayed('layer-norm:0.1')], {}, plain);
    expect(whole).toMatch(/smallest factor \S+: [a-z]/);
    expect(whole).not.toMatch(/(?:entry|unit) \d+ of /);
  });
});

it('entries that another framework recorded are read with their rules', async () => {
  const capture = await openCapture(withClipping([]));
  const entry = { mode: 'closed-loop', steps: [1, 2], minClipFactor: [1, 0.5], verdict: 'prevented' };
  const named = [
    { rule: 'global-norm', options: { maxNorm: 1 } },
    { rule: 'rms', options: { threshold: 2 } },
  ];
  const bottleneck = { tensor: 'w', index: 3, factor: 0.5 };
  const { entries } = recordedReplays({
    ...capture,
    manifest: {
      ...capture.manifest,
      replay: [
        { ...entry, rule: 'global-norm+rms', rules: named, bottleneck },
        { ...entry, rule: 'clippy', options: { preset: 'tfrs' }, bottleneck },
        { ...entry, rule: 'own-rule', bottleneck: { ...bottleneck, place: 'unit' } },
        { ...entry, rule: 'mine+theirs', rules: [{ rule: 'mine' }, { rule: 'theirs' }] },
      ],
    },
  });
  expect(entries.map(({ label }) => label)).toEqual([
    'global-norm:1+rms:2',
    'clippy:tfrs',
    'own-rule',
    'mine+theirs',
  ]);
  expect(entries[0]!.rules!.map(({ label }) => label)).toEqual(['global-norm:1', 'rms:2']);
  expect(entries.map((one) => one.bottleneck?.place)).toEqual([undefined, 'entry', 'unit', undefined]);
  expect(entries.map(({ lead }) => lead)).toEqual([undefined, true, undefined, undefined]);
});

describe('a log alone', () => {
  const series = (role: TimeSeries['role'], value: number[]): TimeSeries => ({
    name: role,
    role,
    step: Float64Array.from(value, (_, i) => i),
    value: Float64Array.from(value),
    missing: 0,
    refused: 0,
    attemptOffsets: [0],
    pathOffsets: [0],
  });
  const run: Run = {
    id: 'log',
    paths: ['log'],
    format: 'test',
    stepUnit: 'step',
    series: [series('grad_norm', [0.5, 2, 4]), series('learning_rate', [0.1, 0.1, 0.1])],
    attempts: [{ index: 0, firstStep: 0, lastStep: 2, reason: 'start' }],
    hyperparameters: new Map([['optimizer', 'adagrad']]),
    notes: [],
  };
  const said = (rule: string, onsetStep: number | null = 2) =>
    replayFromLog(run, { onsetStep, rules: parseRule(rule) });
  it('says nothing of several rules, and why; with none beside it a rule is as it is alone', () => {
    expect(said('global-norm:1+clippy').notRun).toEqual([
      {
        rule: 'global-norm:1+clippy:paper',
        reason: 'it needs gradients: what the first rule leaves for the next is not in a log',
      },
    ]);
    const [alone] = said('global-norm:1').entries;
    const [beside] = said('none+global-norm:1').entries;
    expect(beside!.minClipFactor).toEqual(alone!.minClipFactor);
    expect(beside!.label).toBe('none+global-norm:1');
    expect(said('none+none')).toMatchObject({ entries: [], notRun: [] });
  });
  it('Clippy’s own learning rate counts, not the logged one', () => {
    expect(said('clippy:learningRate=0.04').entries[0]!.factorInterval!.low).toEqual([0.25, 0.25, 0.25]);
    expect(said('clippy').entries[0]!.factorInterval!.low[0]).toBeCloseTo(0.1, 12);
    expect(said('clippy:learningRate=0.01').entries[0]).toMatchObject({ verdict: 'not-prevented' });
    expect(said('clippy:learningRate=0.01').entries[0]!.why).toContain('it cannot act');
  });
  it('without an incident nothing is said of what is missing', () => {
    expect(said('clippy', null).entries[0]).toMatchObject({
      verdict: 'not-needed',
      why: 'the log shows no incident',
    });
  });
});
