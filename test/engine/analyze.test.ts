/** `analyze` on a folder with log, capture, model and checkpoints: everything by itself, within its budget. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { measureCurvature } from '../../src/experiment/measure/curvature.ts';
import { modelEvidence } from '../../src/experiment/measure/model-evidence.ts';
import { checkpointOfCapture } from '../../src/experiment/measure/point.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { checkpointFile, openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { PLAIN } from '../../src/report/format.ts';
import { parseReport } from '../../src/report/parse-report.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { DEFAULT_RULES } from '../../src/step/rules/registry.ts';
import { cli } from '../support/cli.ts';
import { examples, expectShown, INCIDENT, WIDE } from '../support/doc-pages.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = join(projectRoot, 'fixtures/incident');
const run = (budget: number, now: () => Date) => analyze([folder], { toolVersion: '0', now, budget });
const reports = scratchFolders('analyze');

/** The incident up to four steps behind its onset: what is trained from there on is of no matter to where it is measured. */
const upToOnset = async () => {
  const capture = await openCapture(join(folder, 'capture'));
  return { ...capture, steps: capture.steps.filter(({ step }) => step < 405) };
};

/** The whole analysis, made once: what the README shows of it is looked at here, too. */
it('tells what, when, which task, why, and which rule would have held, as the README shows', async () => {
  const saved = join(reports(), 'report.json');
  const { out } = await cli([...INCIDENT.split(' '), '--report', `json:${saved}`], { env: WIDE });
  const shown = examples.filter(({ args }) => args === INCIDENT);
  expect(shown).toHaveLength(1);
  expectShown(out, shown[0]!.shown);
  const report = parseReport(readFileSync(saved, 'utf8'), saved);
  const [one] = report.runs;
  expect(report.runs).toHaveLength(1);
  expect(one!.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 400, lastGoodStep: 399 });
  expect(one!.tasks.find(({ name }) => name === 'watch')).toMatchObject({ onsetStep: 400 });
  for (const mode of ['as-recorded', 'closed-loop'])
    expect(one!.replay.filter((entry) => entry.mode === mode && entry.arm === undefined)).toHaveLength(
      DEFAULT_RULES.length,
    );
  const closed = new Map(
    one!.replay.filter(({ mode }) => mode === 'closed-loop').map((entry) => [entry.label, entry]),
  );
  expect(closed.get('clippy:paper')).toMatchObject({ verdict: 'prevented', confidence: 'exact' });
  expect(closed.get('none')).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
  // At the first recorded step and at the onset plain and preconditioned, and at the checkpoints that lie elsewhere.
  expect(one!.curvature.map(({ step, operator }) => [step, operator])).toEqual([
    [200, 'preconditioned-hessian'],
    [300, 'preconditioned-hessian'],
    [380, 'hessian'],
    [380, 'preconditioned-hessian'],
    [400, 'hessian'],
    [400, 'preconditioned-hessian'],
    [420, 'preconditioned-hessian'],
    [520, 'preconditioned-hessian'],
  ]);
  // Those of `curvature` at the same places, which float64 PyTorch has too (fixtures/curvature/incident.json).
  const ratios = one!.curvature.flatMap(({ stability }) => stability.ratio ?? []);
  expect(ratios.map((ratio) => Number(ratio.toPrecision(2)))).toEqual([2.1, 2.1, 2.4, 8.7, 0.044, 0.042]);
  // One batch's ratio is worth as much as it differs from those of the batches before, at the same weights.
  for (const { step, stability, spread } of one!.curvature) {
    if (stability.ratio === null) continue;
    expect(spread!.before.map(({ batchStep }) => batchStep)).toEqual([396, 397, 398, 399]);
    expect(spread!.incoming).toMatchObject({ batchStep: 400 });
    expect(spread!.incoming!.ratio! > spread!.usual![1]).toBe(step! <= 400);
    expect(spread!.rules.map(({ rule }) => rule)).toEqual(step === 400 ? [...DEFAULT_RULES] : []);
  }
  const ratio = one!.cause!.evidence.find(({ id }) => id === 'curvature-ratio')!;
  expect(ratio).toMatchObject({ unit: 'ratio', at: { step: 400, batchStep: 400 } });
  expect(ratio.value).toBeGreaterThan(ratio.usual![1]);
  expect(ratio.statement).toMatch(
    /on the batch of step 400 is 8\.\d+ times .* 0\.8\d+ to 1\.1\d+ times on the batches/,
  );
  expect(one!.notRun.map(({ id }) => id)).not.toContain('closed-loop');
  expect(JSON.parse(REPORT_FORMATS['skip-list'].render(report, PLAIN))).toEqual({
    version: 1,
    steps: [400, 401, 402, 403, 404, 405, 406, 407],
    batchIds: null,
  });
  const page = REPORT_FORMATS.html.render(report, PLAIN);
  expect(page).toMatch(/8\.65\d? times on the incoming batch 400, which is unusual/);
  expect(page).toContain('Rules on the incoming batch');
  expect(page).toMatch(/The data changed \(shown by experiment\)\. .* the batch of step 400/);
  expect(page).toMatch(
    /Go back to [^:]*step-380\.pt and skip bad batches 400 to 407, which takes the cause away:/,
  );
  const text = REPORT_FORMATS.text.render(report, { width: 400, colour: false, ascii: false });
  expect(text).toMatch(/why: the data changed \(shown by experiment\): .* the batch of step 400/);
  expect(text).toMatch(
    /would have prevented it, tried: skip bad batches 400 to 407; clip the gradient norm at 1/,
  );
  const markdown = REPORT_FORMATS.markdown.render(report, PLAIN);
  expect(markdown).toMatch(
    /\*\*Why\*\*: The data changed \\\(shown by experiment\\\)\. .* the batch of step 400/,
  );
  expect(markdown).toMatch(
    /\*\*Fix\*\*: Go back to [^:]*step-380\.pt and skip bad batches 400 to 407, which takes the cause away:/,
  );
  expect(markdown).toMatch(/\n\n {2}```\n {2}if step in range\(400, 408\): continue\n {2}```\n/);
  // What the closed loop decided is not told a second time as an estimate.
  expect(markdown.match(/^\| global-norm:1 \| (?:as-recorded|closed-loop) \|/gm)).toEqual([
    '| global-norm:1 | closed-loop |',
  ]);
  for (const found of [text, markdown]) {
    expect(found).toMatch(/8\.65\d? times on the incoming batch 400, which is unusual/);
    expect(found).toMatch(/clippy:paper[ |]+1\.59\d?[ |]+0\.371/);
  }
});

it('a capture that the computed run does not follow: no verdict, no ratio, and why', async () => {
  const changed = mkdtempSync(join(tmpdir(), 'clippy-diag-changed-'));
  try {
    cpSync(join(folder, 'capture'), changed, { recursive: true });
    const manifest = JSON.parse(readFileSync(join(changed, 'capture.json'), 'utf8'));
    manifest.optimizer.learningRate = 0.25;
    for (const step of manifest.steps) step.learningRate = 0.25;
    writeFileSync(join(changed, 'capture.json'), JSON.stringify(manifest));
    const found = await modelEvidence(await openCapture(changed), parseRule('clippy'), 400, [], {
      clock: () => 0,
      deadline: 1,
      onProgress: () => {},
    });
    expect([...new Set(found.replay.map(({ verdict }) => verdict))]).toEqual(['cannot-tell']);
    // Neither batches nor rules are held against weights that are not the run's.
    expect(found.why?.cause.confidence).not.toBe('shown');
    expect(found.why?.remedies.some(({ holds }) => holds === true)).toBe(false);
    expect(found.curvature).toHaveLength(4);
    for (const { stability } of found.curvature)
      expect(stability).toEqual({ learningRate: 0.25, limit: null, ratio: null });
    expect(found.notes.join('\n')).toMatch(/at step 381 where 0\.569.* was recorded/);
    expect(found.notes.join('\n')).toMatch(/step 400: the loss at this point is .* was recorded/);
  } finally {
    rmSync(changed, { recursive: true, force: true });
  }
});

it('without a budget it says what was not run, and why', async () => {
  // No time passes: a budget of nothing is spent before the first millisecond is over.
  const [one] = (await run(0, () => new Date(0))).runs;
  const reasons = new Map(one!.notRun.map(({ id, reason }) => [id, reason]));
  for (const id of ['closed-loop', 'curvature at step 380', 'curvature at step 400'])
    expect(reasons.get(id)).toContain('budget-spent');
  expect(reasons.get('checkpoints')).toBe('6 of them were neither summed nor measured within 0 s (--budget)');
  expect(one!.curvature).toEqual([]);
  expect(one!.replay.map(({ mode }) => mode)).not.toContain('closed-loop');
  expect(one!.replay.length).toBe(DEFAULT_RULES.length);
});

it('a clock that runs out in the closed loop ends it there; the estimates stay', async () => {
  let calls = 0;
  // A second passes with every look at the clock.
  const [one] = (await run(30, () => new Date(1000 * calls++))).runs;
  const loop = one!.notRun.find(({ id }) => id.includes('reference batches'));
  const [, done, total, more] = /reference batches after (\d+) of (\d+) steps \(about (\d+) s more\)/.exec(
    loop!.reason,
  )!;
  // Each step takes a second: two looks would be two.
  expect(Number(more)).toBe(Number(total) - Number(done));
  expect(calls).toBeLessThan(60);
  expect(one!.replay.every(({ mode }) => mode === 'as-recorded')).toBe(true);
});

it('a search that is too long for the budget ends at its next product', async () => {
  const capture = await upToOnset();
  const checkpoints = [200, 300].map((step) => ({
    file: checkpointFile(join(folder, `checkpoints/step-${step}.pt`)),
    step,
    learningRate: undefined,
  }));
  let late = false;
  const found = await modelEvidence(capture, DEFAULT_RULES.slice(0, 1).flatMap(parseRule), 400, checkpoints, {
    clock: () => (late ? 2 : 0),
    deadline: 1,
    // Time is up once the search at step 400 has begun.
    onProgress: (what) => {
      late = what === 'curvature at step 400';
    },
  });
  expect(found.curvature.map(({ step }) => step)).toEqual([380, 380]);
  expect(found.notRun).toEqual([
    { id: 'curvature at step 400', reason: expect.stringContaining('budget-spent') },
    { id: 'ratios on single batches at step 380', reason: expect.stringContaining('budget-spent') },
    {
      id: 'curvature at checkpoints',
      reason: expect.stringMatching(/at the last 2 checkpoints; try: give it more with --budget/),
    },
  ]);
  expect(found.replay.filter(({ arm }) => arm === undefined)).toHaveLength(1);
});

it('checkpoints that cannot be measured are said once for each reason, those beyond twelve counted', async () => {
  const capture = await upToOnset();
  const other = join(projectRoot, 'fixtures/curvature/embeddings/checkpoint.safetensors');
  const checkpoints = Array.from({ length: 15 }, (_, i) => ({
    file: checkpointFile(i === 14 ? join(folder, 'checkpoints/step-300.pt') : other),
    step: 100 + i,
    learningRate: 0.25,
  }));
  const found = await modelEvidence(capture, [], 400, checkpoints, {
    clock: () => 0,
    deadline: 1,
    onProgress: () => {},
  });
  // The checkpoint's own learning rate, 0.5, not what was logged.
  expect(found.curvature.map(({ step, stability }) => [step, stability.learningRate])).toEqual([
    [300, 0.5],
    [380, 0.5],
    [380, 0.5],
    [400, 0.5],
    [400, 0.5],
  ]);
  expect(found.notRun).toEqual([
    {
      id: `curvature at ${other} (step 113) and 10 more places`,
      reason: expect.stringContaining('model-names'),
    },
    { id: 'curvature', reason: expect.stringContaining('of 15 checkpoints 12 were measured') },
  ]);
});

/** A scratch folder with captures under names of their own, and the logs that their losses would have been written to. */
async function withRuns(
  runs: readonly {
    readonly capture: string;
    readonly name: string;
    readonly log?: string;
    readonly shift?: number;
  }[],
  work: (folder: string) => Promise<void>,
): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-runs-'));
  try {
    for (const { capture, name, log, shift = 0 } of runs) {
      const from = join(projectRoot, 'fixtures', capture);
      mkdirSync(join(scratch, name));
      cpSync(from, join(scratch, name), { recursive: true });
      if (log === undefined) continue;
      const { history, steps } = JSON.parse(readFileSync(join(from, 'capture.json'), 'utf8'));
      const before = history.steps.map((step: number, i: number) => ({ step, loss: history.loss[i] }));
      writeFileSync(
        join(scratch, log),
        [...before, ...steps]
          .map(
            ({ step, loss }: { step: number; loss: number }) => `{"step":${step + shift},"loss":${loss}}\n`,
          )
          .join(''),
      );
    }
    await work(scratch);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
const judged = (folder: string) => analyze([folder], { toolVersion: '0', now: () => new Date(), budget: 0 });

it('of several logs in a folder a capture is taken for that of the log with its losses', () =>
  withRuns(
    [
      { capture: 'incident/capture', name: 'z', log: 'a.jsonl' },
      { capture: 'captures/seed-2', name: 'y', log: 'b.jsonl' },
    ],
    async (scratch) => {
      const { runs } = await judged(scratch);
      expect(runs).toHaveLength(2);
      for (const [i, capture] of ['incident/capture', 'captures/seed-2'].entries()) {
        const { steps } = JSON.parse(
          readFileSync(join(projectRoot, 'fixtures', capture, 'capture.json'), 'utf8'),
        );
        expect(runs[i]!.id).toBe(['a.jsonl', 'b.jsonl'][i]);
        expect(runs[i]!.replay[0]!.loss).toEqual(steps.map(({ loss }: { loss: number }) => loss));
      }
    },
  ));

it('of several captures of a run the one with the onset is replayed, and the others are named', () =>
  withRuns(
    [
      { capture: 'captures/seed-2', name: 'capture' },
      { capture: 'incident/capture', name: 'capture-2', log: 'log.jsonl' },
    ],
    async (scratch) => {
      const [one] = (await judged(scratch)).runs;
      expect(one!.replay[0]!.steps).toContain(one!.verdict.onsetStep);
      expect(one!.notRun).toContainEqual({
        id: `replay ${join(scratch, 'capture')}`,
        reason: expect.stringContaining('clippy-diag analyze'),
      });
    },
  ));

it('a capture whose steps or losses are not those of the log is said to be one, with its own onset', async () => {
  const onsetIn = async (scratch: string) => {
    const [one] = (await judged(scratch)).runs;
    return { one: one!, ids: one!.notRun.map(({ id }) => id), notes: one!.notes.join('\n') };
  };
  await withRuns(
    [{ capture: 'incident/capture', name: 'capture', log: 'log.jsonl', shift: 1 }],
    async (scratch) => {
      const { one, ids, notes } = await onsetIn(scratch);
      expect(one.verdict.onsetStep).toBe(401);
      expect(ids).toContain('curvature at step 400');
      expect(notes).toContain('the log counts steps one higher than the capture');
    },
  );
  await withRuns(
    [{ capture: 'incident/capture', name: 'capture', log: 'log.jsonl', shift: 7 }],
    async (scratch) => {
      const { ids, notes } = await onsetIn(scratch);
      expect(ids).toContain('curvature at step 400');
      expect(notes).toMatch(/are not those of the log at the same steps \(.* % apart/);
    },
  );
});

it('checkpoints that lie equally near to several logs are said to', () =>
  withRuns(
    [
      { capture: 'incident/capture', name: 'z', log: 'a.jsonl' },
      { capture: 'captures/seed-2', name: 'y', log: 'b.jsonl' },
    ],
    async (scratch) => {
      cpSync(join(folder, 'checkpoints/step-300.pt'), join(scratch, 'step-300.pt'));
      const { runs } = await judged(scratch);
      expect(runs[0]!.notes.join('\n')).toContain('2 logs are equally near the checkpoints');
      expect(runs[1]!.notes.join('\n')).not.toContain('equally near');
    },
  ));

it('parameter groups of a capture hold for the checkpoints of its run, by the names of the parameters', () =>
  withRuns([{ capture: 'incident/capture', name: 'capture' }], async (scratch) => {
    const path = join(scratch, 'capture');
    const manifest = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8'));
    manifest.groups = [{ ...manifest.optimizer, weightDecay: 0.1 }];
    manifest.clipping = { rule: 'global-norm', maxNorm: 1 };
    for (const parameter of manifest.parameters) if (/bias$/.test(parameter.name)) parameter.group = 0;
    for (const step of manifest.steps) step.groupLearningRates = [step.learningRate];
    writeFileSync(join(path, 'capture.json'), JSON.stringify(manifest));
    const checkpoint = await openCheckpoint(join(folder, 'checkpoints/step-300.pt'));
    const point = await checkpointOfCapture(checkpoint, await openCapture(path), undefined);
    try {
      expect(point.tensors.map(({ name, group }) => [/bias$/.test(name), group])).toEqual(
        point.tensors.map(({ name }) => (/bias$/.test(name) ? [true, 1] : [false, 0])),
      );
      const { entries, caveats } = await measureCurvature(point, {
        operator: 'preconditioned-hessian',
        ...{ method: 'lanczos', count: 1, tolerance: 1e-2, seed: 0 },
      });
      // As with one group: weight decay is no part of the loss.
      expect(entries[0]!.stability.ratio!.toPrecision(2)).toBe('2.1');
      expect(caveats).toEqual([expect.stringContaining('the run was clipped by global-norm:1;')]);
      expect(entries[0]!.notes).toEqual(expect.arrayContaining([...caveats]));
    } finally {
      await point.model.objective.close();
      await checkpoint.close();
    }
  }));

it('a checkpoint has the learning rate of its step only where the attempts of the log agree', () =>
  withRuns([{ capture: 'incident/capture', name: 'capture' }], async (scratch) => {
    const path = join(scratch, 'capture/capture.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    const { history, steps } = manifest;
    // What is trained from the capture is of no matter here: two steps of it are soon done.
    writeFileSync(path, JSON.stringify({ ...manifest, steps: steps.slice(0, 2) }));
    const losses = [
      ...history.steps.map((step: number, i: number) => ({ step, loss: history.loss[i] })),
      ...steps.map(({ step, loss }: { step: number; loss: number }) => ({ step, loss })),
    ];
    const line = (lr: number) => (row: object) => `${JSON.stringify({ ...row, lr })}\n`;
    const restarted = losses.filter(({ step }) => step >= 100 && step <= 220);
    writeFileSync(
      join(scratch, 'log.jsonl'),
      [...losses.map(line(0.5)), ...restarted.map(line(0.125))].join(''),
    );
    // State, but no learning rate; the third lies behind the end of the log.
    for (const step of [200, 300, 600])
      cpSync(join(scratch, 'capture/initial.safetensors'), join(scratch, `step-${step}.safetensors`));
    const [one] = (await analyze([scratch], { toolVersion: '0', now: () => new Date(), budget: 600 })).runs;
    const rates = new Map(one!.curvature.map(({ step, stability }) => [step, stability.learningRate]));
    expect([200, 300, 600].map((step) => rates.get(step))).toEqual([null, 0.5, null]);
    expect(one!.notes.join('\n')).toContain('no learning rate is known at step 200, 600:');
  }));

it('a checkpoint with the state of another optimizer is not of the run', () =>
  withRuns([{ capture: 'incident/capture', name: 'capture' }], async (scratch) => {
    const path = join(scratch, 'capture');
    const manifest = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8'));
    manifest.optimizer = { name: 'sgd', learningRate: 0.5, momentum: 0.9 };
    writeFileSync(join(path, 'capture.json'), JSON.stringify(manifest));
    const checkpoint = await openCheckpoint(join(folder, 'checkpoints/step-300.pt'));
    await expect(checkpointOfCapture(checkpoint, await openCapture(path), undefined)).rejects.toMatchObject({
      code: 'checkpoint-other-optimizer',
    });
    await checkpoint.close();
  }));
