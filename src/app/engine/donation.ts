/**
 * What a run leaves of itself when it is given away: numbers whose meaning is known, under names of ours.
 *
 * A value goes in only by a list of what is allowed, never by a list of what is taken out: a column, an option or a member that
 * nobody thought of stays out. Tensors stay out too, since weights and gradients can give training rows away.
 */
import type { DonatedFile, Donation } from '../../model/donation.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import type { CaptureManifest, ManifestStep } from '../../read/captures/manifest.ts';
import { RULES } from '../../step/rules/registry.ts';
import { diagnoseRun } from './report.ts';

/** Names that say nothing of anybody; anything else is written as `other`. */
const FRAMEWORKS = ['pytorch', 'tensorflow', 'keras', 'jax', 'tensorflow.js'] as const;

const known = (name: string, allowed: readonly string[]): string =>
  allowed.find((one) => name.toLowerCase() === one || name.toLowerCase().startsWith(`${one} `)) ?? 'other';

/** JSON has no NaN and no Infinity; the bench writes them as strings. Six digits: enough to judge a run by, too few to find it elsewhere. */
const word = (value: number): number | string =>
  Number.isFinite(value) ? Number(value.toPrecision(6)) : String(value);

/** Names of the series that are given, in order; those without a known meaning have none. */
function namesOf(series: readonly TimeSeries[]): ReadonlyMap<TimeSeries, string> {
  const counts = new Map<string, number>();
  const names = new Map<TimeSeries, string>();
  for (const one of series) {
    if (one.role === 'other' || one.step.length === 0) continue;
    const count = (counts.get(one.role) ?? 0) + 1;
    counts.set(one.role, count);
    names.set(one, count === 1 ? one.role : `${one.role}_${count}`);
  }
  return names;
}

/** Records by step in the order of the attempts. Steps begin at 0: a step may be a time of day. */
function metricsText(run: Run, names: ReadonlyMap<TimeSeries, string>, first: number): string {
  const lines: string[] = [];
  for (const { index } of run.attempts) {
    const records = new Map<number, Record<string, number | string>>();
    for (const [series, name] of names) {
      const end = series.attemptOffsets[index + 1] ?? series.step.length;
      for (let k = series.attemptOffsets[index] ?? series.step.length; k < end; k++) {
        const step = series.step.at(k)! - first;
        const record = records.get(step) ?? { step };
        record[name] = word(series.value.at(k)!);
        records.set(step, record);
      }
    }
    const inOrder = [...records.values()].sort((a, b) => Number(a.step) - Number(b.step));
    lines.push(...inOrder.map((record) => `${JSON.stringify(record)}\n`));
  }
  return lines.join('');
}

const stepOf = (step: ManifestStep, first: number): object => ({
  step: step.step - first,
  loss: step.loss === null ? null : word(step.loss),
  taskLosses: [...step.tasks.values()].map(word),
  learningRates: step.learningRates.map(word),
  ...(step.lossScale === undefined ? {} : { lossScale: word(step.lossScale) }),
});

/** Shapes, rates and losses of a capture; no tensor, no batch, no name. */
function captureText(manifest: CaptureManifest, first: number): string {
  const told = {
    framework: known(manifest.framework, FRAMEWORKS),
    optimizers: manifest.optimizers.map(({ name, learningRate, formula }) => ({
      // Without a formula it is the name of a class, which may be the user's own.
      name: formula ? name : 'other',
      learningRate: learningRate === null ? null : word(learningRate),
    })),
    clipping: manifest.clipping.map(({ rule }) => known(rule, Object.keys(RULES))),
    parameters: manifest.parameters.map(({ shape, group }) => ({ shape, group })),
    steps: manifest.steps.map((step) => stepOf(step, first)),
    skippedSteps: manifest.skipped.map((step) => step - first),
  };
  return `${JSON.stringify(told, null, 1)}\n`;
}

const firstStepOf = (run: Run): number =>
  run.attempts.reduce((least, { firstStep }) => Math.min(least, firstStep), Number.POSITIVE_INFINITY);

/**
 * Where the steps of a capture begin: with those of its log where it lies within them, else with its own first one. A common
 * beginning of two counts would leave the difference of them, which may be a time, in every step.
 */
function firstOfCapture(run: Run, { steps: [one] }: CaptureManifest): number {
  const [first, last] = [firstStepOf(run), Math.max(...run.attempts.map(({ lastStep }) => lastStep))];
  return one === undefined || (one.step >= first && one.step <= last) ? first : one.step;
}

/**
 * The files of a donation, one folder a run.
 *
 * @param runs as read; their values are not changed
 * @param manifests of the captures in the same folders, which go to the first run
 */
export function donationOf(runs: readonly Run[], manifests: readonly CaptureManifest[]): Donation {
  const files: DonatedFile[] = [];
  let [series, hyperparameters] = [0, 0];
  for (const [k, run] of runs.entries()) {
    const own = k === 0 ? manifests : [];
    const names = namesOf(run.series);
    const first = firstStepOf(run);
    const folder = `run-${k + 1}`;
    const { verdict } = diagnoseRun(run);
    const onset = verdict.onsetStep === null ? null : verdict.onsetStep - first;
    files.push({ path: `${folder}/evidence/metrics.jsonl`, text: metricsText(run, names, first) });
    files.push({
      path: `${folder}/told.json`,
      text: `${JSON.stringify({ class: verdict.class, onset, truth: null }, null, 1)}\n`,
    });
    for (const [c, manifest] of own.entries())
      files.push({
        path: `${folder}/evidence/capture-${c + 1}.json`,
        text: captureText(manifest, firstOfCapture(run, manifest)),
      });
    series += run.series.length - names.size;
    hyperparameters += run.hyperparameters.size;
  }
  const tensors = manifests.reduce((sum, { parameters, steps }) => sum + parameters.length * steps.length, 0);
  return { files, left: { series, hyperparameters, tensors } };
}
