/** One report that has everything: findings, tasks, replay, curvature, damage and a gate. Names can be replaced. */
import type { CurvatureEntry } from '../../src/model/curvature.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { GateResult } from '../../src/model/gate.ts';
import type { ReplayEntry } from '../../src/model/replay.ts';
import type { Report } from '../../src/model/report.ts';
import { makeReport, makeRun, makeRunReport, makeSeries } from '../support/make-report.ts';

interface Names {
  readonly run?: string;
  readonly series?: string;
  readonly task?: string;
  readonly tensor?: string;
  readonly message?: string;
}

export const PLACES: readonly (keyof Names)[] = ['run', 'series', 'task', 'tensor', 'message'];

export function fullReport(names: Names = {}, points = 400): Report {
  const id = names.run ?? 'runs/a/log.csv';
  const seriesName = names.series ?? 'loss';
  const task = names.task ?? 'ctr';
  const tensor = names.tensor ?? 'encoder.weight';
  const message = names.message ?? 'the loss left its band at step 250 and did not come back';
  const onset = Math.round(points * 0.625);
  const loss = Array.from({ length: points }, (_, i) =>
    i < onset ? 0.3 + 1 / (i + 1) + 0.01 * Math.sin(i * 1.7) : i % 10 === 9 ? Number.NaN : 4 + Math.sin(i),
  );
  const run = makeRun(id, [
    makeSeries(seriesName, 'loss', loss),
    makeSeries(
      `${task}_loss`,
      'task_loss',
      loss.map((x) => x / 2),
      1,
      task,
    ),
    makeSeries(
      'grad_norm',
      'grad_norm',
      loss.map((x) => x * 3),
    ),
    makeSeries(
      'lr',
      'learning_rate',
      loss.map(() => 0.1),
    ),
    makeSeries('val/auc', 'metric', [0.6, 0.7, 0.72, 0.6, 0.5], points / 5),
  ]);
  const finding = (change: Partial<Finding>): Finding => ({
    id: 'full-divergence',
    severity: 'error',
    message,
    steps: [onset, points],
    series: seriesName,
    measured: { name: 'level', value: 12.5, unit: 'ratio' },
    threshold: { name: 'level', value: 2, unit: 'ratio' },
    locations: [{ path: id, line: onset + 1 }],
    advice: 'go back to the last good step',
    ...change,
  });
  const steps = Array.from({ length: 30 }, (_, i) => onset - 10 + i);
  const replay = (rule: string, change: Partial<ReplayEntry>): ReplayEntry => ({
    mode: 'closed-loop',
    rule,
    options: { threshold: 0.5 },
    optimizer: 'adagrad',
    steps,
    loss: steps.map((s, i) =>
      i < 10 ? 0.3 : rule === 'none' && i > 25 ? Number.NaN : 0.3 + i / 10 + s / 1e6,
    ),
    minClipFactor: steps.map((_, i) => (i < 8 ? 1 : 1 / i)),
    updateNorm: steps.map((_, i) => 0.01 * i),
    firstEngagedStep: onset - 2,
    engagedFraction: 0.4,
    ended: { reason: 'completed', step: steps[29]! },
    verdict: 'prevented',
    confidence: 'exact',
    why: 'the last ten losses are in the band',
    bottleneck: { tensor, index: 3, factor: 0.02 },
    ...change,
  });
  const curvature = (step: number, value: number, converged = true): CurvatureEntry => ({
    checkpoint: `ckpt/step-${step}`,
    step,
    method: 'lanczos',
    operator: 'preconditioned-hessian',
    block: tensor,
    task: 'all',
    eigenvalues: [
      { value, residualNorm: value / 1e4, converged, iterations: 30 },
      { value: value / 3, residualNorm: value / 1e4, converged, iterations: 30 },
    ],
    largestMagnitude: value,
    hvpCount: 60,
    hvpMethod: 'exact',
    stability: { learningRate: 0.1, limit: 20, ratio: value / 20 },
    seed: 1,
    backend: 'cpu',
    source: 'computed',
  });
  const verdict = {
    class: 'full-divergence',
    series: seriesName,
    onsetStep: onset,
    lastGoodStep: onset - 1,
    recoveredStep: null,
    why: message,
    incidents: [
      {
        class: 'micro-divergence',
        series: seriesName,
        attempt: 0,
        onsetStep: Math.round(points / 5),
        lastGoodStep: Math.round(points / 5) - 1,
        recoveredStep: Math.round(points / 4),
        peakStep: Math.round(points / 5) + 3,
        peak: 3.2,
      },
      {
        class: 'full-divergence',
        series: seriesName,
        attempt: 1,
        onsetStep: onset,
        lastGoodStep: onset - 1,
        recoveredStep: null,
        peakStep: onset + 20,
        peak: Number.NaN,
      },
    ],
    coverage: {
      seen: points + 3,
      judged: points,
      explained: { copies: 1, ranks: 0, runningMeans: 0, evaluations: 1 },
      unexplained: 1,
      firstUnexplained: { path: id, line: 7 },
    },
    provenBy: {
      judged: { holds: true, statement: `1 of ${points + 3} loss records of ${seriesName} was not judged` },
      learnt: { holds: null, statement: message, levels: [0.69, 0.45] },
      whole: { holds: false, statement: `${tensor} holds NaN` },
    },
  } as const;
  const restart = Math.round(points / 2);
  const broken = makeRunReport(run, {
    attempts: 2,
    attemptList: [
      { index: 0, firstStep: 1, lastStep: restart, reason: 'start' },
      { index: 1, firstStep: restart, lastStep: points, reason: 'step-went-back' },
    ],
    verdict,
    tasks: [
      { name: task, class: 'full-divergence', onsetStep: onset },
      { name: 'like', class: 'healthy', onsetStep: null },
    ],
    findings: [
      finding({}),
      finding({ id: 'loss-spike', severity: 'note', steps: [40, 40], locations: [{ path: id, line: 41 }] }),
      finding({
        id: 'gradient-norm-spike',
        severity: 'warning',
        series: 'grad_norm',
        steps: [onset, onset + 3],
        locations: [{ path: id, byteOffset: 1234, tensor }],
        advice: null,
      }),
    ],
    notRun: [{ id: 'dead-run', reason: `no series ${seriesName}` }],
    failedDetectors: [{ id: 'drift', error: { id: 'usage', message } }],
    advice: [`rewind ${id}`],
    rewind: {
      lastGoodStep: onset - 1,
      rewindToStep: onset - 50,
      rewindToCheckpoint: 'ckpt/step-200',
      skipSteps: [onset, onset + 10],
      learningRateFactor: 0.5,
      why: message,
    },
    hyperparameters: { lr: 0.1, optimizer: 'adagrad', [tensor]: task },
    notes: [`two losses: ${seriesName} and ${task}`],
    replay: [
      replay('none', {
        verdict: 'not-prevented',
        firstEngagedStep: null,
        engagedFraction: 0,
        ended: { reason: 'non-finite', step: steps[26]! },
        bottleneck: null,
      }),
      replay('global-norm', { verdict: 'delayed' }),
      replay('clippy', {}),
      replay('clippy', { mode: 'as-recorded', loss: null, verdict: 'cannot-tell', confidence: 'estimate' }),
    ],
    curvature: [curvature(50, 4), curvature(100, 12), curvature(200, 35, false)],
    job: {
      ended: 'crashed',
      reason: 'out-of-memory',
      at: { line: points + 2, step: points, time: null },
      rank: 3,
      message,
      gaps: [{ fromStep: 20, seconds: 7200 }],
      resumes: [{ step: restart, from: 'ckpt/step-200', lostSteps: 0 }],
    },
    audit: {
      links: [
        {
          id: 'optimizer-rate',
          link: 'optimizer',
          outcome: 'broken',
          checks: 40,
          broken: 40,
          step: onset - 9,
          tensor,
          index: [3],
          cause: 'rate-factor',
          factor: 2,
          residual: 0.5,
          residualDeclared: 1e6,
          confidence: 'shown',
          statement: message,
          fix: 'optimizer.param_groups[0]["lr"]',
          wouldTell: null,
          follows: null,
        },
      ],
      checks: 40,
      broken: 40,
    },
  });
  const healthy = makeRunReport(
    makeRun('runs/b/log.csv', [
      makeSeries(
        'loss',
        'loss',
        loss.slice(0, Math.min(200, points)).map((x) => (Number.isNaN(x) ? 1 : Math.min(x, 2))),
      ),
    ]),
  );
  const gate: GateResult = {
    passed: false,
    exitCode: 3,
    rules: [
      {
        id: 'full-divergence',
        run: id,
        severity: 'error',
        passed: false,
        status: 'fail',
        expected: 'at most 0 full-divergence',
        found: 1,
        series: seriesName,
        step: onset,
        message,
        locations: [{ path: id, line: onset + 1 }],
      },
      {
        id: `last(${seriesName}) <= 0.2`,
        run: id,
        severity: 'warning',
        passed: false,
        status: 'fail',
        expected: `last(${seriesName}) <= 0.2`,
        found: Number.NaN,
        series: seriesName,
        step: points,
        message: 'it is NaN',
        locations: [],
      },
      {
        id: 'max(auc) > 0.7',
        run: 'runs/b/log.csv',
        severity: 'error',
        passed: false,
        status: 'inconclusive',
        expected: 'max(auc) > 0.7',
        found: null,
        series: null,
        step: null,
        message: `no series "auc"; nearest: ${seriesName}`,
        locations: [],
      },
      {
        id: 'loss-spike',
        run: 'runs/b/log.csv',
        severity: 'error',
        passed: true,
        status: 'pass',
        expected: 'at most 2 loss-spike',
        found: 0,
        series: null,
        step: null,
        message: 'no loss-spike',
        locations: [],
      },
    ],
    problems: [{ exitCode: 3, id: 'records-lost', run: null, message: `${id}: 2 of 402 records lost` }],
    skipped: [{ id: 'nan(grad_norm) == 0', run: 'runs/b/log.csv', severity: 'note', reason: 'no series' }],
  };
  const report = makeReport([broken, healthy], {
    warnings: [{ id: 'file-changed', message: `${id} changed`, path: id }],
    gate,
  });
  return {
    ...report,
    inputs: [
      {
        ...report.inputs[0]!,
        lost: 2,
        unreadBytes: 12,
        errors: [{ id: 'file-unreadable', message, path: id, line: 7, hint: 'look at it' }],
      },
      report.inputs[1]!,
    ],
  };
}
