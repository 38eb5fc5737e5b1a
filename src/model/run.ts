/**
 * What a training log holds. A run is one training of one model; a resume or a re-run is a further attempt of it.
 * Values are kept as logged: nothing is dropped, reordered or downsampled; NaN and ±Infinity are data.
 */
import type { Column } from './column.ts';
import type { Job } from './job.ts';
import type { LossRecords } from './loss-records.ts';
import type { SourceRef } from './source-ref.ts';

/** What a series measures; `other` where no rule of logs/metric-roles.ts matches. */
export const ROLES = [
  'loss',
  'task_loss',
  'eval_loss',
  'metric',
  'learning_rate',
  'grad_norm',
  'param_norm',
  'update_norm',
  'clip',
  'other',
] as const;
export type Role = (typeof ROLES)[number];

/** Whether a role is that of a loss: text where its number should be is an error of the input. */
export const isLossLike = (role: Role): boolean =>
  role === 'loss' || role === 'task_loss' || role === 'eval_loss';

/** A cell of a series that says something and no number (`812/s`, `1,234.5`, `overflow`). */
export interface RefusedCell {
  /** Untrusted text, cut to 80 characters. */
  readonly text: string;
  /** 1-based line (text formats). */
  readonly line?: number;
  readonly path?: string;
}

/** Whether a series is the risk that a guard writes (docs/guard.md), by its name; one of another meaning seldom stays in [0, 1]. */
export const isRisk = ({ role, name }: { readonly role: Role; readonly name: string }): boolean =>
  role === 'other' && /(^|[/.])risk$/i.test(name);

/**
 * One logged quantity: parallel arrays, a point per record in file order.
 *
 * A point is a number that was logged. Each cell of the series is a value, missing or refused, so that
 * `cells = value.length + missing + refused`. A key that a JSON record does not have is no cell of it.
 */
export interface TimeSeries {
  /** As logged. Untrusted text. */
  readonly name: string;
  readonly role: Role;
  /** Of a column that is a loss though its role is another: the run's own loss under another name, or a part of it. */
  readonly lossLike?: 'same' | 'part' | 'objective';
  /** The task that a `task_loss` belongs to (`ctr` of `task/ctr/loss`), also of a task's metric where it is known. */
  readonly task?: string;
  readonly step: Column;
  readonly value: Column;
  /** Seconds since 1970, where the log has it. */
  readonly wallTime?: Column;
  /** 1-based source line of each point (text formats). */
  readonly line?: Column;
  /** Source byte offset of each point's record (binary formats). */
  readonly byteOffset?: Column;
  /** `attemptOffsets[k]` is the index of the first point of attempt k; as many entries as the run has attempts. */
  readonly attemptOffsets: readonly number[];
  /** Cells that say that there is no value: `null`, an empty cell, `NA`. Neither 0 nor NaN. */
  readonly missing: number;
  /**
   * `gaps[k]` is the number of missing cells before point k (and `gaps[points]` of those after the last one) in rows of
   * the kind that this series is logged in: a row of an evaluation lacks the training loss, and is no gap of it. Left
   * out where there is none. See missing-cells.ts.
   */
  readonly gaps?: Uint32Array;
  /** Cells whose text is not a number. */
  readonly refused: number;
  readonly firstRefused?: RefusedCell;
  /** How many points precede each refused cell, ascending; left out without refused cells, or where it is unknown. */
  readonly refusedAt?: Uint32Array;
  /** `pathOffsets[k]` is the index of the first point that came from `run.paths[k]`; same order as the paths. */
  readonly pathOffsets: readonly number[];
}

/** One uninterrupted stretch of training. */
export interface Attempt {
  readonly index: number;
  /** Smallest and largest step over all series of this attempt. */
  readonly firstStep: number;
  readonly lastStep: number;
  /** Why a new attempt starts here; of the first one `start`. */
  readonly reason: 'start' | 'step-went-back' | 'new-file' | 'restart-line';
}

/** What step numbers count. `epoch` when the log has epochs only, `row` when it has nothing and rows were counted. */
export type StepUnit = 'step' | 'epoch' | 'row';

export interface Run {
  /** The path of its log or folder relative to what the user named, with `#n` where one file holds several runs. */
  readonly id: string;
  readonly paths: readonly string[];
  readonly format: string;
  readonly stepUnit: StepUnit;
  /** Where steps are batches and the log says how many of them an epoch has; `first` is the number of the very first. */
  readonly epochs?: { readonly batches: number; readonly first: number };
  readonly series: readonly TimeSeries[];
  /** The step at which training is to end, where the log prints it: 600 of `step 180/600`. */
  readonly planned?: number;
  readonly attempts: readonly Attempt[];
  /** From sidecars (hparams.json, config.yaml, args.json…) and from the log itself. Keys are untrusted text. */
  readonly hyperparameters: ReadonlyMap<string, string | number | boolean | null>;
  /** One sentence, where no name says which series is the loss and its numbers alone chose one. */
  readonly guess?: string;
  /** Things about reading this run that a user should know (several loss candidates, epochs read as steps …). */
  readonly notes: readonly string[];
  /** The story of the process that wrote the log, where something is known of it. */
  readonly job?: Job;
  /** What the second reader saw in each file of the run; left out where it cannot read the format. */
  readonly lossRecords?: readonly LossRecords[];
}

/** The points of one attempt, as views on the same memory. */
export function attemptOf(series: TimeSeries, attempt: number): TimeSeries {
  const from = series.attemptOffsets[attempt] ?? series.step.length;
  const to = series.attemptOffsets[attempt + 1] ?? series.step.length;
  const path = series.pathOffsets.map((offset) => Math.min(Math.max(offset - from, 0), to - from));
  return {
    name: series.name,
    role: series.role,
    ...(series.lossLike === undefined ? {} : { lossLike: series.lossLike }),
    ...(series.task === undefined ? {} : { task: series.task }),
    step: series.step.subarray(from, to),
    value: series.value.subarray(from, to),
    ...(series.wallTime ? { wallTime: series.wallTime.subarray(from, to) } : {}),
    ...(series.line ? { line: series.line.subarray(from, to) } : {}),
    ...(series.byteOffset ? { byteOffset: series.byteOffset.subarray(from, to) } : {}),
    ...gapsOf(series, attempt, from, to),
    attemptOffsets: [0],
    pathOffsets: path,
  };
}

/** Missing and refused cells of the points [from, to) of an attempt. Of refused ones of unknown place all are of the last. */
function gapsOf(
  series: TimeSeries,
  attempt: number,
  from: number,
  to: number,
): Pick<TimeSeries, 'missing' | 'refused' | 'gaps' | 'firstRefused' | 'refusedAt'> {
  const isLast = attempt === series.attemptOffsets.length - 1;
  const own = refusedOf(series, from, to, isLast);
  if (series.gaps === undefined) return { missing: isLast ? series.missing : 0, ...own };
  const gaps = series.gaps.slice(from, to + 1);
  // Those before the first point of the next attempt are that one's.
  if (!isLast) gaps[to - from] = 0;
  return { missing: gaps.reduce((sum, gap) => sum + gap, 0), gaps, ...own };
}

/** Those before the first point of the next attempt are that one's. */
function refusedOf(
  { refused, refusedAt, firstRefused }: TimeSeries,
  from: number,
  to: number,
  isLast: boolean,
): Pick<TimeSeries, 'refused' | 'firstRefused' | 'refusedAt'> {
  const isOwn = (at: number): boolean => at >= from && (isLast || at < to);
  const hasFirst = refusedAt === undefined ? isLast : refusedAt.length > 0 && isOwn(refusedAt[0]!);
  const first = hasFirst && firstRefused !== undefined ? { firstRefused } : {};
  if (refusedAt === undefined) return { refused: isLast ? refused : 0, ...first };
  const own = refusedAt.filter(isOwn);
  return own.length === 0
    ? { refused: 0 }
    : { refused: own.length, refusedAt: own.map((at) => at - from), ...first };
}

/** Where point `index` of a series was logged. */
export function placeOf(run: Pick<Run, 'paths'>, series: TimeSeries, index: number): SourceRef {
  let file = 0;
  for (let k = 0; k < series.pathOffsets.length; k++) if (series.pathOffsets[k]! <= index) file = k;
  const line = series.line?.at(index);
  const byteOffset = series.byteOffset?.at(index);
  return {
    path: run.paths[file] ?? run.paths[0] ?? '',
    ...(line === undefined ? {} : { line }),
    ...(byteOffset === undefined ? {} : { byteOffset }),
  };
}
