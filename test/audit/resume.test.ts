/** May a training go on from a checkpoint? Each fault beside a twin that lacks it alone. */
import { copyFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type ResumePoint, type RunRecord, resumeChecks } from '../../src/experiment/audit/resume.ts';
import type { InspectedCheckpoint, InspectedTensor } from '../../src/model/checkpoint.ts';
import type { Resume, ResumeCheckId } from '../../src/model/resume.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('resume');
const fixture = (name: string): string => join(projectRoot, 'fixtures/checkpoints', name);

async function resumed(...args: string[]): Promise<{ code: number | null; resume: Resume }> {
  const { code, out } = await cli(['resume', ...args, '--json']);
  return { code, resume: (JSON.parse(out) as { resume: Resume }).resume };
}

const broken = ({ checks }: Pick<Resume, 'checks'>): ResumeCheckId[] =>
  checks.filter(({ outcome }) => outcome === 'broken').map(({ id }) => id);

/** Checkpoints as Transformers saves them: a folder for each, several files in it. */
function runOf(...folders: (readonly string[])[]): string {
  const run = scratch();
  for (const [k, names] of folders.entries()) {
    const folder = join(run, `epoch-${k}-step-2`);
    mkdirSync(folder);
    copyFileSync(fixture('pytorch2/adamw.pt'), join(folder, 'all.pt'));
    for (const name of names) copyFileSync(fixture(`pytorch/${name}`), join(folder, name));
  }
  return run;
}

const PARTS = ['scheduler.pt', 'scaler.pt', 'rng_state.pth'];

it('a checkpoint that has what the others of its run have may be resumed', async () => {
  const { code, resume } = await resumed(join(runOf(PARTS, PARTS), 'epoch-1-step-2'));
  expect(code).toBe(0);
  expect(broken(resume)).toEqual([]);
  expect(resume).toMatchObject({ ok: true, newestGood: resume.checkpoint });
  expect(resume.checks.filter(({ outcome }) => outcome === 'holds').map(({ id }) => id)).toEqual(
    expect.arrayContaining(['whole', 'optimizer-state', 'scheduler', 'scaler', 'random-state']),
  );
});

it.each([
  ['scheduler', 'scheduler.pt'],
  ['scaler', 'scaler.pt'],
  ['random-state', 'rng_state.pth'],
] as const)('a lost %s is a fault where another checkpoint of the run has it', async (id, file) => {
  const run = runOf(
    PARTS,
    PARTS.filter((name) => name !== file),
  );
  const { code, resume } = await resumed(join(run, 'epoch-1-step-2'));
  expect(code).toBe(1);
  expect(broken(resume)).toEqual([id]);
  expect(resume.newestGood).toBe(join(run, 'epoch-0-step-2'));
});

it('what no checkpoint of the run has is no fault', async () => {
  const { code, resume } = await resumed(join(runOf([], []), 'epoch-1-step-2'));
  expect(code).toBe(0);
  expect(resume.checks.find(({ id }) => id === 'scheduler')).toMatchObject({ outcome: 'cannot-tell' });
});

it('a file that is cut short makes the checkpoint damaged', async () => {
  const run = runOf(PARTS, PARTS);
  truncateSync(join(run, 'epoch-1-step-2', 'all.pt'), 900);
  const { code, resume } = await resumed(join(run, 'epoch-1-step-2'));
  expect(code).toBe(1);
  expect(broken(resume)).toContain('whole');
  expect(resume.newestGood).toBe(join(run, 'epoch-0-step-2'));
});

/** A log of 40 steps with a loss that falls, and the learning rate that it shows. */
function logOf(rate: (step: number) => number, loss = (step: number): number => 2 / step): string {
  const path = join(scratch(), 'log.jsonl');
  const lines = Array.from({ length: 40 }, (_, k) =>
    JSON.stringify({ step: k + 1, loss: loss(k + 1), lr: rate(k + 1) }),
  );
  writeFileSync(path, `${lines.join('\n')}\n`);
  return path;
}

it('a learning rate that moves in the log shows that there was a scheduler', async () => {
  const checkpoint = fixture('pytorch2/adamw.pt');
  const moves = await resumed(
    checkpoint,
    '--log',
    logOf((step) => 0.1 / step),
  );
  expect(broken(moves.resume)).toEqual(['scheduler']);
  const stays = await resumed(
    checkpoint,
    '--log',
    logOf(() => 0.1),
  );
  expect(broken(stays.resume)).toEqual([]);
  expect(stays.resume.checks.find(({ id }) => id === 'scheduler')).toMatchObject({
    outcome: 'not-applicable',
  });
});

// ---- checks of what is hard to save

const tensor = (name: string, more: Partial<InspectedTensor> = {}): InspectedTensor => ({
  name,
  dtype: 'F32',
  shape: [4],
  elements: 4,
  layout: 'none',
  role: 'parameter',
  flags: [],
  nan: 0,
  posInf: 0,
  negInf: 0,
  ...more,
});

function pointOf(tensors: readonly InspectedTensor[], step = 100): ResumePoint {
  const file: InspectedCheckpoint = {
    path: 'model.pt',
    kind: 'checkpoint',
    format: 'pytorch-zip',
    framework: 'pytorch',
    step,
    metadata: new Map(),
    errors: [],
    account: { bytes: 0, records: 0, overhead: 0, passedOver: 0, lost: [] },
    tensors,
  };
  return { path: 'model.pt', files: [file], names: [], problems: [] };
}

const NOTHING: RunRecord = { others: [], log: null };
const state = (more: Partial<InspectedTensor> = {}): InspectedTensor =>
  tensor('optimizer.state.0.exp_avg', { role: 'optimizer_state', slot: 'm', parameter: 'w', ...more });
const brokenOf = (point: ResumePoint, run: RunRecord = NOTHING): ResumeCheckId[] =>
  broken({ checks: resumeChecks(point, run) });

it('NaN in a weight or in the state, a lost state and the state of another model are faults', () => {
  expect(brokenOf(pointOf([tensor('w'), state()]))).toEqual([]);
  expect(brokenOf(pointOf([tensor('w', { nan: 1 }), state()]))).toEqual(['finite']);
  expect(brokenOf(pointOf([tensor('w'), state({ posInf: 2 })]))).toEqual(['finite']);
  expect(brokenOf(pointOf([tensor('w')]))).toEqual(['optimizer-state']);
  expect(brokenOf(pointOf([tensor('w'), state({ shape: [5], elements: 5 })]))).toEqual([
    'optimizer-of-model',
  ]);
  // Adafactor keeps sums of rows and columns.
  const factored = tensor('optimizer.state.0.rows', { role: 'optimizer_state', shape: [3], elements: 3 });
  expect(brokenOf(pointOf([tensor('w'), state(), factored]))).toEqual([]);
});

it('files of two steps are no checkpoint of one', () => {
  const [one] = pointOf([tensor('w'), state()]).files;
  const point = (step: number): ResumePoint => ({
    ...pointOf([]),
    files: [one!, { ...one!, path: 'optimizer.pt', step, tensors: [] }],
  });
  expect(brokenOf(point(100))).toEqual([]);
  expect(brokenOf(point(90))).toEqual(['one-step']);
});

it('a checkpoint within an incident of the loss is not resumed, one from before or after it is', () => {
  const incident = {
    class: 'full-divergence',
    series: 'loss',
    attempt: 0,
    onsetStep: 80,
    lastGoodStep: 79,
    recoveredStep: null as number | null,
    peakStep: 90,
    peak: 9,
  } as const;
  const log = (recoveredStep: number | null): RunRecord => ({
    others: [],
    log: { path: 'log', lastStep: 200, incidents: [{ ...incident, recoveredStep }], rate: null },
  });
  const at = (step: number): ResumePoint => pointOf([tensor('w'), state()], step);
  expect(brokenOf(at(100), log(null))).toEqual(['loss']);
  expect(brokenOf(at(79), log(null))).toEqual([]);
  expect(brokenOf(at(100), log(150))).toEqual(['loss']);
  expect(brokenOf(at(150), log(150))).toEqual([]);
});
