/** Hand-made runs and reports for tests of what comes after the detectors. */

import { seriesThatEnd } from '../../src/app/engine/series-end.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { CAPTURE_FINDINGS, CHECKPOINT_FINDINGS } from '../../src/judge/findings/registry.ts';
import type { Report, RunReport } from '../../src/model/report.ts';
import type { Role, Run, TimeSeries } from '../../src/model/run.ts';
import { summariseSeries } from '../../src/model/series-summary.ts';

/** A series of values at steps 1, 2, 3 … (or `every` apart), one line each. */
export function makeSeries(
  name: string,
  role: Role,
  values: readonly number[],
  every = 1,
  task?: string,
): TimeSeries {
  const step = Float64Array.from(values, (_, i) => (i + 1) * every);
  return {
    name,
    role,
    ...(task === undefined ? {} : { task }),
    step,
    value: Float64Array.from(values),
    line: Uint32Array.from(step),
    missing: 0,
    refused: 0,
    attemptOffsets: [0],
    pathOffsets: [0],
  };
}

export function makeRun(id: string, series: readonly TimeSeries[]): Run {
  const last = Math.max(0, ...series.map((s) => s.step.at(s.step.length - 1) ?? 0));
  return {
    id,
    paths: [id],
    format: 'csv',
    stepUnit: 'step',
    series,
    attempts: [{ index: 0, firstStep: 1, lastStep: last, reason: 'start' }],
    hyperparameters: new Map(),
    notes: [],
  };
}

const healthy = {
  class: 'healthy',
  series: 'loss',
  onsetStep: null,
  lastGoodStep: null,
  recoveredStep: null,
  why: 'no incident',
  incidents: [],
  coverage: null,
  provenBy: {
    judged: { holds: true, statement: 'all loss records judged' },
    learnt: { holds: null, statement: 'not tested' },
    whole: { holds: null, statement: 'no checkpoint and no capture' },
  },
} as const;

/** What a report keeps of the series of a run. */
export function chartSeries(run: Run): RunReport['series'] {
  const ended = seriesThatEnd(run);
  return run.series.map((series) => ({ ...summariseSeries(series, 400), endsEarly: ended.has(series) }));
}

/** The report of a healthy run; `change` replaces members. */
export function makeRunReport(run: Run, change: Partial<RunReport> = {}): RunReport {
  return {
    id: run.id,
    paths: run.paths,
    stepUnit: run.stepUnit,
    attempts: run.attempts.length,
    attemptList: run.attempts,
    verdict: healthy,
    tasks: [],
    findings: [],
    detectorsRun: Object.keys(DETECTORS),
    notRun: [
      ...Object.keys(CHECKPOINT_FINDINGS).map((id) => ({ id, reason: 'no checkpoint' })),
      ...Object.keys(CAPTURE_FINDINGS).map((id) => ({ id, reason: 'no capture' })),
    ],
    failedDetectors: [],
    advice: [],
    rewind: null,
    series: chartSeries(run),
    hyperparameters: {},
    notes: [],
    replay: [],
    curvature: [],
    ...change,
  };
}

export function makeReport(runs: readonly RunReport[], change: Partial<Report> = {}): Report {
  return {
    schemaVersion: '2.0',
    toolVersion: '0.1.0',
    createdAt: '2026-01-02T03:04:05.000Z',
    inputs: runs.map(({ id }) => ({
      path: id,
      format: 'csv',
      sha256: 'a'.repeat(64),
      kept: 100,
      lost: 0,
      unreadBytes: 0,
      account: { bytes: 1000, records: 900, overhead: 100, passedOver: 0, lost: [] },
      errors: [],
    })),
    verdict: { ...(runs[0]?.verdict ?? healthy), run: runs[0]?.id ?? null },
    runs,
    skipped: [],
    warnings: [],
    ...change,
  };
}

/** A falling loss, a gradient norm and an AUC over 100 steps: nothing is wrong with it. */
export function healthyRun(id = 'run.csv'): Run {
  const at = (f: (i: number) => number): number[] => Array.from({ length: 100 }, (_, i) => f(i));
  return makeRun(id, [
    makeSeries(
      'loss',
      'loss',
      at((i) => 0.1 + 1 / (i + 1)),
    ),
    makeSeries(
      'grad_norm',
      'grad_norm',
      at((i) => 1 + 0.5 * Math.sin(i)),
    ),
    makeSeries('val/auc', 'metric', [0.6, 0.7, 0.75, 0.78, 0.8], 20),
  ]);
}
