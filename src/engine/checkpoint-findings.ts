/** What the checkpoints beside a log say: which tensor broke, between which two of them, and where to go back to. */
import type { InspectedCheckpoint, InspectedTensor } from '../model/checkpoint.ts';
import type { Finding } from '../model/finding.ts';
import { formatNumber } from '../model/format-number.ts';
import { checkpointRuns } from './checkpoint-trajectory.ts';

export interface CheckpointFindings {
  readonly findings: readonly Finding[];
  /** Checkpoints that tell their step and lie before any of their run that holds non-finite values, by step. */
  readonly good: readonly { readonly path: string; readonly step: number }[];
}

/**
 * Growth of the norm of all parameters from one checkpoint to the next that is worth a note. Ours: small initial
 * weights may grow as much in a healthy start, so it is no warning.
 */
const NORM_GROWTH = 10;
/** Rounding of a sum in float32; Adagrad's accumulator never falls. */
const SUM_TOLERANCE = 1e-6;

/**
 * Judges the checkpoints of runs by their statistics alone.
 *
 * | finding | severity | says |
 * |---|---|---|
 * | `non-finite-tensor` | error | a parameter or optimizer state has NaN or ±Inf, and had none in the checkpoint before |
 * | `accumulator-reset` | warning | Adagrad's accumulators, or the optimizer's step, went down: state was lost at a resume |
 * | `parameter-norm-jump` | note | the norm of all parameters grew tenfold between two checkpoints |
 * | `frozen-tensor` | note | a parameter is the same in all checkpoints while others move |
 *
 * @param checkpoints in any order; sorted into runs by the names and shapes of their parameters
 */
export function checkpointFindings(checkpoints: readonly InspectedCheckpoint[]): CheckpointFindings {
  const findings: Finding[] = [];
  const good: { path: string; step: number }[] = [];
  for (const run of checkpointRuns(checkpoints)) {
    findings.push(...run.flatMap((_, index) => between(run, index)), ...frozen(run));
    const broken = run.findIndex(isBroken);
    for (const { path, step } of run.slice(0, broken < 0 ? run.length : broken))
      if (step !== null) good.push({ path, step });
  }
  return { findings, good: good.sort((a, b) => a.step - b.step) };
}

const nonFiniteOf = ({ nan = 0, posInf = 0, negInf = 0 }: InspectedTensor): number => nan + posInf + negInf;
const isTrained = ({ role }: InspectedTensor): boolean => role === 'parameter' || role === 'optimizer_state';
const isBroken = ({ tensors }: InspectedCheckpoint): boolean =>
  tensors.some((tensor) => isTrained(tensor) && nonFiniteOf(tensor) > 0);

const parameterNorm = ({ tensors }: InspectedCheckpoint): number =>
  Math.sqrt(tensors.reduce((sum, { role, norm = 0 }) => (role === 'parameter' ? sum + norm * norm : sum), 0));
const grew = (before: InspectedCheckpoint | undefined, now: InspectedCheckpoint): boolean =>
  before !== undefined &&
  parameterNorm(before) > 0 &&
  parameterNorm(now) > NORM_GROWTH * parameterNorm(before);

const label = ({ path, step }: InspectedCheckpoint): string => (step === null ? path : `step ${step}`);

/** What happened on the way to one checkpoint of a run. */
function between(run: readonly InspectedCheckpoint[], index: number): Finding[] {
  const [before, now] = [run[index - 1], run[index]!];
  const old = new Map(before?.tensors.map((tensor) => [tensor.name, tensor]));
  const where =
    before === undefined
      ? `in the first checkpoint (${label(now)})`
      : `between ${label(before)} and ${label(now)}`;
  const finding = (
    id: string,
    severity: Finding['severity'],
    message: string,
    tensors: readonly InspectedTensor[],
    more: Partial<Finding>,
  ): Finding => ({
    id,
    severity,
    message: `${message} ${where}`,
    steps: before?.step != null && now.step !== null ? [before.step, now.step] : null,
    series: null,
    measured: null,
    threshold: null,
    locations: tensors.slice(0, 5).map(({ name }) => ({ path: now.path, tensor: name })),
    advice: null,
    ...more,
  });
  const findings: Finding[] = [];
  const broke = now.tensors.filter(
    (tensor) =>
      isTrained(tensor) &&
      nonFiniteOf(tensor) > 0 &&
      nonFiniteOf(old.get(tensor.name) ?? { ...tensor, nan: 0, posInf: 0, negInf: 0 }) === 0,
  );
  // Weights that had just exploded are finite, but no place to go back to.
  const sound = run.slice(0, index).findLast((one, i) => !isBroken(one) && !grew(run[i - 1], one));
  if (broke.length > 0)
    findings.push(
      finding(
        'non-finite-tensor',
        'error',
        `${countOf(broke, 'became non-finite', 'are non-finite', before)}`,
        broke,
        {
          measured: {
            name: 'non-finite entries',
            value: broke.reduce((sum, tensor) => sum + nonFiniteOf(tensor), 0),
            unit: 'entries',
          },
          threshold: { name: 'allowed', value: 0, unit: 'entries' },
          advice: sound === undefined ? null : `go back to ${sound.path} or before`,
        },
      ),
    );
  if (before === undefined) return findings;
  if (grew(before, now)) {
    const ratio = parameterNorm(now) / parameterNorm(before);
    findings.push(
      finding(
        'parameter-norm-jump',
        'note',
        `the norm of all parameters grew ${formatNumber(ratio)}-fold`,
        [],
        {
          measured: { name: 'growth', value: ratio, unit: 'ratio' },
          threshold: { name: 'growth', value: NORM_GROWTH, unit: 'ratio' },
          locations: [{ path: now.path }],
          advice: `go back to ${before.path}`,
        },
      ),
    );
  }
  const reset = now.tensors.filter((tensor) => {
    const was = old.get(tensor.name);
    const only = tensor.slot === 'accumulator' || tensor.slot === 'step';
    // Sums are over finite entries: one that lost some to NaN went down without a reset.
    return (
      only &&
      nonFiniteOf(tensor) === 0 &&
      was?.sum !== undefined &&
      tensor.sum! < was.sum - SUM_TOLERANCE * Math.abs(was.sum)
    );
  });
  if (reset.length > 0)
    findings.push(
      finding('accumulator-reset', 'warning', countOf(reset, 'went down', 'went down', before), reset, {
        measured: { name: 'sum', value: reset[0]!.sum!, unit: '1' },
        threshold: { name: 'sum before', value: old.get(reset[0]!.name)!.sum!, unit: '1' },
        advice:
          'the optimizer state was not restored at the resume: load it with the weights, or warm the learning rate up again',
      }),
    );
  return findings;
}

function countOf(
  tensors: readonly InspectedTensor[],
  became: string,
  are: string,
  before: InspectedCheckpoint | undefined,
): string {
  const first = `"${tensors[0]!.name}"`;
  return `${tensors.length === 1 ? first : `${first} and ${tensors.length - 1} more tensors`} ${before === undefined ? are : became}`;
}

/** Parameters whose sum, range and norm never changed, told only where others did. */
function frozen(run: readonly InspectedCheckpoint[]): Finding[] {
  const names = new Map<string, InspectedTensor[]>();
  for (const { tensors } of run)
    for (const tensor of tensors)
      if (tensor.role === 'parameter' && tensor.norm !== undefined)
        names.set(tensor.name, [...(names.get(tensor.name) ?? []), tensor]);
  const same = [...names.values()].filter(
    (found) =>
      found.length === run.length &&
      found.every(({ sum, norm, min, max }) =>
        [sum === found[0]!.sum, norm === found[0]!.norm, min === found[0]!.min, max === found[0]!.max].every(
          Boolean,
        ),
      ),
  );
  if (same.length === 0 || same.length === names.size) return [];
  const tensors = same.map((found) => found[0]!);
  const [first, last] = [run[0]!, run.at(-1)!];
  return [
    {
      id: 'frozen-tensor',
      severity: 'note',
      message: `${tensors.length === 1 ? `"${tensors[0]!.name}" is` : `"${tensors[0]!.name}" and ${tensors.length - 1} more parameters are`} the same in all ${run.length} checkpoints while others move`,
      steps: first.step !== null && last.step !== null ? [first.step, last.step] : null,
      series: null,
      measured: { name: 'frozen parameters', value: tensors.length, unit: 'tensors' },
      threshold: null,
      locations: tensors.slice(0, 5).map(({ name }) => ({ path: last.path, tensor: name })),
      advice: 'if they are to be trained: check requires_grad, and whether clipping leaves them a step of 0',
    },
  ];
}
