/** A capture as the run that it is a part of: the losses before it and those of its steps, as a log would have them. */
import type { Role, Run, TimeSeries } from '../../model/run.ts';
import type { Capture } from './read.ts';

/** Steps and losses before the first recorded step. */
function pointsBefore({
  manifest,
  steps,
}: Pick<Capture, 'manifest' | 'steps'>): readonly (readonly [number, number])[] {
  const { history } = manifest;
  const first = steps[0]?.step ?? Number.POSITIVE_INFINITY;
  return history === null
    ? []
    : history.steps.map((step, i) => [step, history.loss[i]!] as const).filter(([step]) => step < first);
}

/** Losses before the first recorded step, in the order of their steps. */
export const lossesBefore = (capture: Pick<Capture, 'manifest' | 'steps'>): readonly number[] =>
  pointsBefore(capture).map(([, loss]) => loss);

/**
 * The run of a capture without a log: one loss, the losses of the tasks, the loss scale and a guard's risk, at the steps that have one, those that
 * a loss scaler skipped among them: a run whose every step is skipped is a dead one. Its verdict is that of the capture, whichever command asks.
 */
export function runOfCapture(capture: Pick<Capture, 'path' | 'manifest' | 'steps'>): Run {
  const { path, steps, manifest } = capture;
  // A skipped step was not taken, and its loss is in the history if it is from before the first.
  const taken = new Set(steps.map(({ step }) => step));
  const skips = manifest.skips.filter(({ step }) => step > steps[0]!.step && !taken.has(step));
  const inOrder = [...steps, ...skips].sort((a, b) => a.step - b.step);
  const points = [
    ...pointsBefore(capture),
    ...inOrder.flatMap(({ step, loss }) => (loss === null ? [] : [[step, loss] as const])),
  ];
  const scales = inOrder.flatMap(({ step, lossScale }) =>
    lossScale === undefined || lossScale === null ? [] : [[step, lossScale] as const],
  );
  const risks = steps.flatMap(({ step, risk }) => (risk === undefined ? [] : [[step, risk] as const]));
  const tasks = new Set(steps.flatMap((step) => [...step.tasks.keys()]));
  const series = (
    name: string,
    role: Role,
    list: readonly (readonly [number, number])[],
    task?: string,
  ): TimeSeries => ({
    name,
    role,
    ...(task === undefined ? {} : { task }),
    step: Float64Array.from(list, ([step]) => step),
    value: Float64Array.from(list, ([, value]) => value),
    missing: 0,
    refused: 0,
    attemptOffsets: [0],
    pathOffsets: [0],
  });
  return {
    id: path,
    paths: [path],
    format: 'capture',
    stepUnit: 'step',
    series: [
      series('loss', 'loss', points),
      ...[...tasks].map((task) =>
        series(
          `task/${task}/loss`,
          'task_loss',
          steps.flatMap((step) =>
            step.tasks.has(task) ? [[step.step, step.tasks.get(task)!] as const] : [],
          ),
          task,
        ),
      ),
      ...(scales.length === 0 ? [] : [series('loss_scale', 'other', scales)]),
      ...(risks.length === 0 ? [] : [series('risk', 'other', risks)]),
    ],
    attempts: [
      // A capture has a step; that it recorded no loss does not make it one of step 0.
      {
        index: 0,
        firstStep: points[0]?.[0] ?? steps[0]!.step,
        lastStep: inOrder.at(-1)!.step,
        reason: 'start',
      },
    ],
    hyperparameters: new Map(),
    notes: ['no log is in the folder of this capture; its own losses are judged'],
  };
}

/**
 * The run of captures that one recorder wrote, without a log: a step that several of them hold is that of the last.
 *
 * @param captures one at least, in the order of their first steps
 */
export function runOfCaptures(captures: readonly Pick<Capture, 'path' | 'manifest' | 'steps'>[]): Run {
  const runs = captures.map(runOfCapture);
  const [first] = runs;
  if (first === undefined) throw new RangeError('a run is made of one capture at least');
  if (runs.length === 1) return first;
  const parts = runs.flatMap(({ series }) => series);
  const names = [...new Set(parts.map(({ name }) => name))];
  const ends = runs.flatMap(({ attempts }) => attempts);
  return {
    ...first,
    paths: captures.map(({ path }) => path),
    series: names.map((name) => joined(parts.filter((one) => one.name === name))),
    attempts: [
      {
        ...first.attempts[0]!,
        firstStep: Math.min(...ends.map(({ firstStep }) => firstStep)),
        lastStep: Math.max(...ends.map(({ lastStep }) => lastStep)),
      },
    ],
    notes: ['no log is in the folder of these captures of one run; their own losses are judged'],
  };
}

/** Points of one series in several captures, each step once. */
function joined(parts: readonly TimeSeries[]): TimeSeries {
  const points = new Map<number, number>();
  for (const { step, value } of parts)
    for (let i = 0; i < step.length; i++) points.set(step.at(i)!, value.at(i)!);
  const steps = Float64Array.from(points.keys()).sort();
  return { ...parts[0]!, step: steps, value: steps.map((step) => points.get(step)!) };
}
