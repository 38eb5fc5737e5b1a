/** Which captures and checkpoints belong to which logged run, by where they lie and by what was logged. */
import { dirname, isAbsolute, relative, sep } from 'node:path';
import type { PlacedCheckpoint } from '../../experiment/measure/placed-checkpoint.ts';
import { incidentOfCapture } from '../../experiment/replay/capture-incident.ts';
import type { InspectedCheckpoint } from '../../model/checkpoint.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { CheckpointFile } from '../../read/checkpoints/registry.ts';

/** The innermost of several folders and files that a path is or lies in; undefined where it lies in none. */
export const placeOf = (places: readonly string[], path: string): string | undefined =>
  places
    .filter((place) => {
      const way = relative(place, path);
      return way.split(sep)[0] !== '..' && !isAbsolute(way);
    })
    .sort((a, b) => b.length - a.length)[0];

/** The runs whose logs lie nearest to a path: most folders shared. */
export function closestRuns(runs: readonly Run[], path: string): Run[] {
  const away = (run: Run): number => relative(dirname(run.paths[0] ?? ''), dirname(path)).split(sep).length;
  const least = Math.min(...runs.map(away));
  return runs.filter((run) => away(run) === least);
}

/** Losses of one run differ less at the median, also where the log rounds to three digits. */
const SAME_RUN = 0.01;

/** The run whose logged losses are most like those of the capture; the first where none has a step in common. */
export function loggedRun(runs: readonly Run[], capture: Capture): Run | undefined {
  const far = new Map(runs.map((run) => [run, lossDistance(run, capture) ?? Number.MAX_VALUE]));
  return [...runs].sort((a, b) => far.get(a)! - far.get(b)!)[0];
}

/**
 * Median relative difference of the losses of a log and a capture at steps that both have.
 *
 * @param shift added to the steps of the capture
 * @returns null where fewer than three steps can be compared
 */
function lossDistance(run: Run, { steps }: Capture, shift = 0): number | null {
  const recorded = new Map(steps.map(({ step, loss }) => [step + shift, loss]));
  const logged = run.series.find(({ role }) => role === 'loss');
  // A step that several attempts took is the capture's in one of them.
  const differences = new Map<number, number>();
  let i = -1;
  for (const step of logged?.step ?? []) {
    i++;
    const loss = recorded.get(step);
    if (loss == null || !Number.isFinite(loss) || !Number.isFinite(logged!.value.at(i)!)) continue;
    const difference = Math.abs(logged!.value.at(i)! - loss) / Math.max(Math.abs(loss), 1e-12);
    differences.set(step, Math.min(difference, differences.get(step) ?? difference));
  }
  return differences.size < 3 ? null : medianOf([...differences.values()]);
}

/**
 * How the steps of the log are not those of the capture; null where nothing speaks against it.
 *
 * `shift` is what is added to the capture's steps to get the log's; null where no shift by one explains it.
 */
export function lossesApart(
  run: Run,
  capture: Capture,
): { readonly shift: number | null; readonly note: string } | null {
  const { path } = capture;
  const distance = lossDistance(run, capture);
  // A capture of epochs would have the losses of the log at some of them.
  if (distance === null && run.stepUnit === 'epoch')
    return {
      shift: null,
      note: `the log counts epochs, and the capture ${path} steps: replays, curvature and cause have the capture's steps`,
    };
  if (distance === null) return null;
  for (const shift of [1, -1])
    if ((lossDistance(run, capture, shift) ?? distance) < distance / 10)
      return {
        shift,
        note: `the log counts steps one ${shift > 0 ? 'higher' : 'lower'} than the capture ${path}: replays and curvature of the capture have the capture's steps`,
      };
  if (distance <= SAME_RUN) return null;
  return {
    shift: null,
    note: `the losses of the capture ${path} are not those of the log at the same steps (${formatNumber(100 * distance, 'rough')} % apart at the median): it is of another run, or the log averages losses or counts steps in its own way; \`clippy-diag analyze ${path}\` judges it by itself`,
  };
}

/** The onset as the capture counts steps; where its losses are not those of the log, its own. */
export function onsetOf(capture: Capture, shift: number | null, onsetStep: number): number | null {
  if (shift !== null) return onsetStep - shift;
  const { onset } = incidentOfCapture(capture);
  return onset === null ? null : capture.steps[onset]!.step;
}

/** The checkpoints with weights whose step is known, with the learning rate that the log has there. */
export function placed(
  checkpoints: readonly InspectedCheckpoint[],
  files: readonly CheckpointFile[],
  run: Run,
): PlacedCheckpoint[] {
  const rates = run.series.find(({ role }) => role === 'learning_rate');
  const byPath = new Map(files.map((file) => [file.path, file]));
  return checkpoints.flatMap(({ path, step, tensors }) => {
    const file = byPath.get(path);
    if (file === undefined || step === null || !tensors.some(({ role }) => role === 'parameter')) return [];
    return [{ file, step, learningRate: rates === undefined ? undefined : rateAt(rates, step) }];
  });
}

/**
 * The last value that was logged by a step; undefined where the attempts that passed the step disagree, and where the
 * log ended before it. A value that was logged once holds from there on.
 */
function rateAt({ step: logged, value, attemptOffsets }: TimeSeries, step: number): number | undefined {
  const found = new Set<number>();
  for (const [attempt, from] of attemptOffsets.entries()) {
    const to = attemptOffsets[attempt + 1] ?? logged.length;
    const steps = logged.subarray(from, to);
    const at = steps.findLastIndex((one) => one <= step);
    const interval = steps.length < 2 ? Number.POSITIVE_INFINITY : steps.at(-1)! - steps.at(-2)!;
    if (at >= 0 && step <= steps.at(at)! + Math.max(interval, (steps.at(at + 1) ?? 0) - steps.at(at)!))
      found.add(value.at(from + at)!);
  }
  const [rate] = found;
  return found.size === 1 && rate! > 0 ? rate : undefined;
}
