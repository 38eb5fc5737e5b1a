/** The product: everything the tool found, serialisable. Every other output is a pure function of a Report. */

import type { Audit } from './audit.ts';
import type { Cause, Remedy } from './cause.ts';
import type { Cell } from './cell.ts';
import type { Comparison, RunComparison } from './comparison.ts';
import type { CurvatureEntry } from './curvature.ts';
import type { ErrorRecord } from './errors.ts';
import type { Finding, Thresholds } from './finding.ts';
import type { GateResult } from './gate.ts';
import type { Skipped } from './inspection.ts';
import type { Job } from './job.ts';
import type { Account, ReadBy } from './log.ts';
import type { Preflight } from './preflight.ts';
import type { Coverage, Proofs } from './proofs.ts';
import type { ReplayEntry } from './replay.ts';
import type { Attempt, Role, StepUnit } from './run.ts';

/** 2.0 added account, cause and remedies; 3.0 the class `never-learned`, proofs, job, audit, preflight and a new comparison. */
export const SCHEMA_VERSION = '3.0';
/** Major versions of reports that are read: 0.1.0 wrote 1.0, 0.2.0 wrote 2.0. */
export const READ_MAJORS = ['1', '2', '3'] as const;

export const VERDICT_CLASSES = [
  'healthy',
  'inconclusive',
  'micro-divergence',
  'drift',
  'never-learned',
  'full-divergence',
  'non-finite',
] as const;
/** Ordered from harmless to worst: the worst incident decides. */
export type VerdictClass = (typeof VERDICT_CLASSES)[number];

export interface Incident {
  readonly class: VerdictClass;
  readonly series: string;
  readonly attempt: number;
  readonly onsetStep: number;
  /** Last step before the onset whose loss was in the band. */
  readonly lastGoodStep: number | null;
  readonly recoveredStep: number | null;
  /** The column of the same loss that shows the recovery, where the incident's own ends before it. */
  readonly recoveredIn?: string;
  /** Step and value of the worst point (NaN if it went non-finite). */
  readonly peakStep: number;
  readonly peak: number;
  /** Median before it and of its last points; null where too few points tell. A report of 0.1.0 has neither. */
  readonly before?: number | null;
  readonly after?: number | null;
}

export interface RunVerdict {
  readonly class: VerdictClass;
  /** The series that decided. */
  readonly series: string | null;
  readonly onsetStep: number | null;
  readonly lastGoodStep: number | null;
  readonly recoveredStep: number | null;
  /** One sentence in plain words. */
  readonly why: string;
  readonly incidents: readonly Incident[];
  /** Which share of the loss records was judged; null without a log. A report of 2.x lacks it. */
  readonly coverage?: Coverage | null;
  /** What the verdict rests on; a report of 2.x does not tell it. */
  readonly provenBy?: Proofs;
}

/** Whether a run rose and came back. One that settled below twice its level is of the same class, without a recovered step. */
export const isBack = ({
  class: kind,
  recoveredStep,
}: Pick<RunVerdict, 'class' | 'recoveredStep'>): boolean =>
  kind === 'micro-divergence' && recoveredStep !== null;

/** What a chart needs of a series: buckets with min and max, so that no spike is averaged away. */
export interface ChartSeries {
  readonly name: string;
  readonly role: Role;
  readonly task?: string;
  readonly points: number;
  /** Per bucket: first step, last step, min, max of the finite values (NaN if none), count of non-finite ones. */
  readonly firstStep: readonly number[];
  readonly lastStep: readonly number[];
  readonly min: readonly number[];
  readonly max: readonly number[];
  readonly nonFinite: readonly number[];
  /** The series stopped while the run's others went on, judged with wall time and place in the file. */
  readonly endsEarly?: boolean;
  /** Statistics over all points, exact, which a gate on a saved report can use. */
  readonly statistics: SeriesStatistics;
}

export interface SeriesStatistics {
  readonly points: number;
  readonly nan: number;
  readonly posInf: number;
  readonly negInf: number;
  /** Cells without a value, and cells that are no number; a report of 0.1.0 does not tell them. */
  readonly missing?: number;
  readonly refused?: number;
  readonly first: number;
  readonly last: number;
  readonly lastStep: number;
  /** Over finite values; null when there are none. */
  readonly min: number | null;
  readonly max: number | null;
  readonly mean: number | null;
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

export interface TaskVerdict {
  readonly name: string;
  readonly class: VerdictClass;
  readonly onsetStep: number | null;
}

/** How to go back: machine-readable. */
export interface RewindAdvice {
  readonly lastGoodStep: number;
  readonly rewindToStep: number;
  readonly rewindToCheckpoint: string | null;
  readonly skipSteps: readonly [number, number];
  readonly learningRateFactor: number | null;
  readonly why: string;
}

export interface RunReport {
  readonly id: string;
  readonly paths: readonly string[];
  readonly stepUnit: StepUnit;
  /** The step at which training was to end, where the log prints it and ends before. */
  readonly planned?: number;
  readonly attempts: number;
  readonly attemptList: readonly Attempt[];
  readonly verdict: RunVerdict;
  readonly tasks: readonly TaskVerdict[];
  /** Numbers other than the defaults by which the run was judged; left out where there are none. */
  readonly thresholds?: Thresholds;
  readonly findings: readonly Finding[];
  /** Kinds of findings that were looked for in all there is: a rule of the gate on another one was not judged. */
  readonly detectorsRun?: readonly string[];
  readonly notRun: readonly { readonly id: string; readonly reason: string }[];
  readonly failedDetectors: readonly { readonly id: string; readonly error: ErrorRecord }[];
  readonly advice: readonly string[];
  readonly rewind: RewindAdvice | null;
  readonly series: readonly ChartSeries[];
  readonly hyperparameters: Readonly<Record<string, string | number | boolean | null>>;
  readonly notes: readonly string[];
  /** Why the leading incident happened; a report of 0.1.0 has none. */
  readonly cause?: Cause;
  /** What would have prevented it, best first. */
  readonly remedies?: readonly Remedy[];
  readonly replay: readonly ReplayEntry[];
  readonly curvature: readonly CurvatureEntry[];
  /** How the process ended, by its log; left out without a log, and in a report of 2.x. */
  readonly job?: Job;
  /** Whether each recorded step did what its code declares; left out without a capture. */
  readonly audit?: Audit;
}

/** Keys are the columns: run, class, onset, best, last, then hyperparameters by name. */
export type TableRow = Readonly<Record<string, Cell>>;

/** Many runs, one row a run. */
export interface RunsTable {
  readonly columns: readonly string[];
  /** Worst first, unless it was sorted otherwise; rows of a group are together. */
  readonly rows: readonly TableRow[];
  /** Columns by which the rows were grouped, and the groups in the order of their values; left out where none was asked for. */
  readonly groupBy?: readonly string[];
  readonly groups?: readonly TableGroup[];
}

/** Rows that have the same values in the columns by which a table is grouped. */
export interface TableGroup {
  readonly values: TableRow;
  readonly runs: number;
  /** How many of them are of each class. */
  readonly classes: Readonly<Record<string, number>>;
  /** Lowest of their best losses, and the median of their last ones: +Infinity where half of them end in none. Null where none has one. */
  readonly best: number | null;
  readonly last: number | null;
}

export interface ReportInput {
  readonly path: string;
  readonly format: string;
  readonly sha256: string | null;
  readonly kept?: number;
  readonly lost?: number;
  readonly unreadBytes?: number;
  /** Where its bytes went; a report of 0.1.0 has none. */
  readonly account?: Account;
  /** Bytes that were appended while the file was read. */
  readonly grownBytes?: number;
  /** How a text of no known layout was read. */
  readonly readBy?: ReadBy;
  readonly errors?: readonly ErrorRecord[];
}

export interface Report {
  readonly schemaVersion: string;
  readonly toolVersion: string;
  /** ISO 8601; the clock comes in from outside. */
  readonly createdAt: string;
  readonly inputs: readonly ReportInput[];
  /** Seconds that were allowed for what is expensive. */
  readonly budget?: number;
  /** The worst run's, with its id. */
  readonly verdict: RunVerdict & { readonly run: string | null };
  readonly runs: readonly RunReport[];
  /** One row a run, as it was asked for; left out where there is one run. */
  readonly table?: RunsTable;
  /** Of two runs that were compared; a report of 2.x has the older form. */
  readonly comparison?: Comparison | RunComparison;
  /** The stable learning rate, where it was measured before training. */
  readonly preflight?: Preflight;
  /** What a walk skipped, and why. */
  readonly skipped: readonly Skipped[];
  readonly warnings: readonly ErrorRecord[];
  /** The policy that was judged on this report, if one was. */
  readonly gate?: GateResult;
}
