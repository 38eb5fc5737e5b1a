import { describe, expect, it } from 'vitest';
import { seriesThatEnd } from '../../src/app/engine/series-end.ts';
import { causeFromLog } from '../../src/experiment/cause/from-log.ts';
import { replayFromLog } from '../../src/experiment/replay/from-log.ts';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { type Column, ColumnBuilder, isArray, joinedOf, keepBlocksIn } from '../../src/model/column.ts';
import { toJson } from '../../src/model/json.ts';
import type { Role, Run, TimeSeries } from '../../src/model/run.ts';
import { seriesStatistics, summariseSeries } from '../../src/model/series-summary.ts';
import { BlockFile } from '../../src/read/bytes/block-file.ts';
import { makeRun, type SeriesSpec } from '../detectors/runs.ts';

/** The run with its columns packed, as a reader of a long log makes them. */
const packedRun = (run: Run): Run => ({
  ...run,
  series: run.series.map(({ line, wallTime, ...one }) => ({
    ...one,
    step: joinedOf([one.step]),
    value: joinedOf([one.value]),
    ...(line === undefined ? {} : { line: joinedOf([line]) }),
    ...(wallTime === undefined ? {} : { wallTime: joinedOf([wallTime]) }),
  })),
});

/** All that a report says of a run's log. */
function toldOf(run: Run): string {
  const judged = judgeRun(run);
  const { onsetStep, recoveredStep } = judged.verdict;
  return toJson({
    verdict: judged.verdict,
    tasks: judged.tasks,
    outcomes: Object.values<Detector>(DETECTORS).map((detector) => [
      detector.id,
      detector.detect(run, contextFor(detector, judged, undefined, [1.2])),
    ]),
    series: run.series.map((series) => [seriesStatistics(series), summariseSeries(series, 100)]),
    ends: [...seriesThatEnd(run)].map(({ name }) => name),
    replay: replayFromLog(run, { onsetStep }),
    cause: onsetStep === null ? null : causeFromLog(run, onsetStep, recoveredStep !== null),
  });
}

const POINTS = 12_000;
const noise = (k: number): number => Math.abs(Math.sin(k * 12.9898) * 43758.5453) % 1;
const of = (value: (k: number) => number, length = POINTS): number[] =>
  Array.from({ length }, (_, k) => value(k));
const printed = (value: number): number => Number(value.toFixed(4));
const falling = (k: number): number => printed(0.5 + 2 * Math.exp(-k / 3000) + 0.1 * noise(k));
const norms: SeriesSpec = {
  name: 'grad_norm',
  values: of((k) => (k % 4999 === 7 ? 40 : Math.fround(1 + 0.3 * noise(k)))),
};
const rates: SeriesSpec = {
  name: 'lr',
  role: 'learning_rate',
  values: of((k) => printed(0.01 * (1 + Math.cos((3 * k) / POINTS)))),
};

const RUNS: Readonly<Record<string, Run>> = {
  healthy: makeRun([{ name: 'loss', values: of(falling) }, norms, rates]),
  'a jump, a recovery and a loss that is lost': makeRun([
    { name: 'loss', values: of((k) => falling(k) * (k > 5000 && k < 5100 ? 8 : k > 9000 ? 30 : 1)) },
    norms,
    { ...rates, values: of((k) => (k >= 8998 ? 0.1 : 0.001)) },
  ]),
  'NaN to the end': makeRun([
    { name: 'loss', values: of((k) => (k > 11_000 ? Number.NaN : falling(k))) },
    {
      name: 'grad_norm',
      values: of((k) => (k > 10_990 || k === 5 ? Number.POSITIVE_INFINITY : 1 + noise(k))),
    },
  ]),
  'zeros to the end': makeRun([
    { name: 'loss', values: of((k) => (k > 11_000 ? 0 : falling(k))) },
    { name: 'grad_norm', values: of((k) => (k > 11_000 ? Number.NaN : 1 + noise(k))) },
  ]),
  'skips of a loss scaler': makeRun([
    { name: 'loss', values: of((k) => (k % 3001 === 3 ? Number.NaN : falling(k))) },
    { name: 'loss_scale', role: 'other', values: of((k) => 65536 / 2 ** Math.floor((k - 3) / 3001 + 1)) },
  ]),
  'a swell': makeRun([
    {
      name: 'loss',
      values: of((k) => printed((k > 6000 && k < 7500 ? 2.6 : 1) * Math.exp(noise(k) + noise(k + 0.5)))),
    },
    norms,
  ]),
  'a climb': makeRun([
    {
      name: 'loss',
      values: of((k) => printed(k < 6000 ? falling(k) : 0.8 + (k - 6000) / 2000 + 0.1 * noise(k))),
    },
    norms,
  ]),
  'losses of both signs': makeRun([
    { name: 'loss', values: of((k) => noise(k) - 0.4 + (k > 10_000 ? 6 : 0)) },
  ]),
  'a first level that rises': makeRun([
    { name: 'loss', values: of((k) => (k < 3 ? 2 : 9 + 0.1 * noise(k))) },
  ]),
  'a rewind': makeRun([
    {
      name: 'loss',
      values: [of((k) => falling(k), 9000), of((k) => falling(k + 8000) * (k > 20 && k < 400 ? 6 : 1), 9000)],
      steps: [of((k) => k, 9000), of((k) => k + 8000, 9000)],
    },
  ]),
  'an AUC, a reward, a risk and an evaluation': makeRun([
    { name: 'loss', values: of(falling) },
    {
      name: 'val_loss',
      role: 'eval_loss',
      values: of((k) => falling(k) * (k === 7000 ? 90 : 1) + k / 20_000),
    },
    { name: 'auc', role: 'metric', values: of((k) => (k > 9000 ? 0.5 : 0.7 + 0.01 * noise(k))) },
    { name: 'ep_rew_mean', role: 'metric', values: of((k) => (k > 8000 ? 20 : 200) + noise(k)) },
    { name: 'risk', role: 'other', values: of((k) => (k % 5000 === 9 ? 0.95 : noise(k) / 2)) },
    { name: 'samples_per_second', role: 'other', values: of((k) => (k > 10_000 ? 100 : 300) + noise(k)) },
  ]),
};

describe('a run of packed columns', () => {
  it.each(Object.entries(RUNS))('%s: the same is said of it as of arrays', (_, run) => {
    const packed = packedRun(run);
    expect(packed.series.some(({ value }) => isArray(value))).toBe(false);
    const told = toldOf(run);
    expect(toldOf(packed)).toBe(told);
    const before = keepBlocksIn(new BlockFile(expect.unreachable));
    try {
      expect(toldOf(packedRun(run))).toBe(told);
    } finally {
      keepBlocksIn(before);
    }
  });

  // An argument for each point is more than a call can take.
  it('of a million points that resumes, and whose learning rate rises late, is judged', () => {
    const [length, resumed] = [1_000_000, 999_000];
    const column = (value: (k: number) => number): Column => {
      const made = new ColumnBuilder();
      for (let k = 0; k < 2 * length; k++) made.push(value(k));
      return made.finish();
    };
    const step = column((k) => (k < length ? k : k - length + resumed));
    const series = (name: string, role: Role, value: (k: number) => number): TimeSeries => ({
      name,
      role,
      step,
      value: column(value),
      missing: 0,
      refused: 0,
      attemptOffsets: [0, length],
      pathOffsets: [0],
    });
    const end = 2 * length;
    const run: Run = {
      ...makeRun([]),
      series: [
        series('loss', 'loss', (k) => (k >= end - 500 ? 50 : 0.5 + ((k * 7919) % 101) / 1000)),
        series('lr', 'learning_rate', (k) => (k >= end - 502 ? 0.1 : 0.001)),
      ],
      attempts: [
        { index: 0, firstStep: 0, lastStep: length - 1, reason: 'start' },
        { index: 1, firstStep: resumed, lastStep: resumed + length - 1, reason: 'step-went-back' },
      ],
    };
    const { verdict } = judgeRun(run);
    expect(verdict).toMatchObject({ class: 'full-divergence', onsetStep: step.at(end - 500) });
    const { cause } = causeFromLog(run, verdict.onsetStep!, false);
    expect(cause).toMatchObject({
      trigger: 'learning-rate',
      evidence: [{ at: { step: step.at(end - 502) } }],
    });
  });
});
