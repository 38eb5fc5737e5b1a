/** Builds runs for tests of detectors. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Finding, Outcome } from '../../src/model/finding.ts';
import type { Role, Run, StepUnit, TimeSeries } from '../../src/model/run.ts';
import { projectRoot } from '../support/shared-data.ts';

export interface SeriesSpec {
  readonly name: string;
  readonly role?: Role;
  readonly task?: string;
  readonly lossLike?: TimeSeries['lossLike'];
  /** One array per attempt, or the values of the only attempt. */
  readonly values: readonly number[] | readonly (readonly number[])[];
  /** Steps of the values, alike; 0, 1, 2 … in each attempt where left out. */
  readonly steps?: readonly number[] | readonly (readonly number[])[];
}

const perAttempt = (values: SeriesSpec['values']): readonly (readonly number[])[] =>
  typeof values[0] === 'number' || values.length === 0
    ? [values as readonly number[]]
    : (values as readonly (readonly number[])[]);

/** A run of the given series; `loss` has role loss, `grad_norm` grad_norm, and so on, unless told. */
export function makeRun(series: readonly SeriesSpec[], stepUnit: StepUnit = 'step'): Run {
  const attempts = Math.max(1, ...series.map(({ values }) => perAttempt(values).length));
  const built = series.map((spec): TimeSeries => {
    const values = perAttempt(spec.values);
    const steps =
      spec.steps === undefined ? values.map((part) => part.map((_, i) => i)) : perAttempt(spec.steps);
    let offset = 0;
    const attemptOffsets = Array.from({ length: attempts }, (_, k) => {
      const start = offset;
      offset += values[k]?.length ?? 0;
      return start;
    });
    const role = spec.role ?? ROLE_BY_NAME.get(spec.name) ?? 'other';
    return {
      name: spec.name,
      role,
      ...(spec.task === undefined ? {} : { task: spec.task }),
      ...(spec.lossLike === undefined ? {} : { lossLike: spec.lossLike }),
      step: Float64Array.from(steps.flat()),
      value: Float64Array.from(values.flat()),
      line: Uint32Array.from(values.flat(), (_, i) => i + 1),
      missing: 0,
      refused: 0,
      attemptOffsets,
      pathOffsets: [0],
    };
  });
  return {
    id: 'run',
    paths: ['run.jsonl'],
    format: 'jsonl',
    stepUnit,
    series: built,
    attempts: Array.from({ length: attempts }, (_, index) => {
      const steps = built.flatMap(({ step, attemptOffsets }) =>
        Array.from(step.subarray(attemptOffsets[index], attemptOffsets[index + 1])),
      );
      return {
        index,
        firstStep: Math.min(...steps),
        lastStep: Math.max(...steps),
        reason: index === 0 ? ('start' as const) : ('step-went-back' as const),
      };
    }),
    hyperparameters: new Map(),
    notes: [],
  };
}

const ROLE_BY_NAME = new Map<string, Role>([
  ['loss', 'loss'],
  ['val_loss', 'eval_loss'],
  ['grad_norm', 'grad_norm'],
  ['learning_rate', 'learning_rate'],
  ['auc', 'metric'],
]);

/** Numbers in [0, 1) from a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers from a seed (Box–Muller). */
export function normals(seed: number): () => number {
  const uniform = seeded(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** A loss that falls from about 3 to 0.5 with 5 % noise. */
export function fallingLoss(points: number, seed = 1, noise = 0.05): number[] {
  const normal = normals(seed);
  return Array.from(
    { length: points },
    (_, i) => (0.5 + 2.5 * Math.exp((-5 * i) / points)) * Math.exp(noise * normal()),
  );
}

/** The outcome of one detector. */
export const detect = (detector: Detector, run: Run): Outcome =>
  detector.detect(run, contextFor(detector, judgeRun(run)));

/** Its findings; none where it passes or does not apply. */
export function findingsOf(detector: Detector, run: Run): readonly Finding[] {
  const outcome = detect(detector, run);
  return outcome.kind === 'fail' ? outcome.findings : [];
}

/** A JSONL fixture as a run: every number of every line, roles by the fixtures' own names. */
export function fixtureRun(name: string): Run {
  const columns = new Map<string, { steps: number[]; values: number[] }>();
  for (const line of readFileSync(join(projectRoot, 'fixtures/logs', name, 'input.jsonl'), 'utf8')
    .trim()
    .split('\n')) {
    const text = line.replace(/: (NaN|-?Infinity)/g, ': "$1"');
    const { step, ...entries } = JSON.parse(text) as Record<string, number | string>;
    for (const [key, value] of Object.entries(entries)) {
      const column = columns.get(key) ?? { steps: [], values: [] };
      column.steps.push(Number(step));
      column.values.push(Number(value));
      columns.set(key, column);
    }
  }
  return makeRun(
    [...columns].map(([key, { steps, values }]) => {
      const task = /^task\/(.+)\/(loss|auc)$/.exec(key);
      return {
        name: key,
        steps,
        values,
        ...(task === null
          ? {}
          : { task: task[1]!, role: task[2] === 'loss' ? ('task_loss' as const) : ('metric' as const) }),
      };
    }),
  );
}

/** The run, with so many missing cells before points of a series (or after its last). */
export const withGaps = (run: Run, name: string, gaps: Readonly<Record<number, number>>): Run => ({
  ...run,
  series: run.series.map((series) => {
    if (series.name !== name) return series;
    const before = Uint32Array.from({ length: series.value.length + 1 }, (_, k) => gaps[k] ?? 0);
    return { ...series, gaps: before, missing: before.reduce((sum, gap) => sum + gap, 0) };
  }),
});
