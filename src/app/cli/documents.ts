/**
 * The JSON documents that commands print with `--json`, one a command; `analyze`, `gate`, `report` and `watch` print a
 * `Report`. Their schemas are in schema/documents.ts, what they mean is in docs/json.md.
 */

import type { Audit } from '../../model/audit.ts';
import type { Bisect } from '../../model/bisect.ts';
import type { Brief } from '../../model/brief.ts';
import type { RunComparison } from '../../model/comparison.ts';
import type { CurvatureEntry, LabelledDensity } from '../../model/curvature.ts';
import type { DonatedFile, LeftOut } from '../../model/donation.ts';
import type { ErrorRecord } from '../../model/errors.ts';
import type { Finding } from '../../model/finding.ts';
import type { CaptureCheck, CheckpointDiff, Inspection } from '../../model/inspection.ts';
import type { LayoutProof, SeenTable, SeenToken, TextLayout } from '../../model/layout.ts';
import type { TrainingMatrix } from '../../model/matrix.ts';
import type { Preflight } from '../../model/preflight.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import type { ChartSeries } from '../../model/report.ts';
import type { Resume } from '../../model/resume.ts';
import type { StepBatch } from '../../model/step-batch.ts';
import type { StudyResult } from '../../model/study.ts';
import type { Baseline } from '../gate/baseline-file.ts';

interface Versioned {
  readonly schemaVersion: string;
}

export interface InspectDocument extends Versioned, Omit<Inspection, 'errors'> {
  readonly errors: readonly ErrorRecord[];
}

/** `analyze`, `gate` and `report` with `--brief` */
export interface BriefDocument extends Versioned {
  readonly brief: Brief;
}

/** `inspect --diff` */
export interface DiffDocument extends Versioned {
  readonly diff: CheckpointDiff;
}

export interface ReplayDocument extends Versioned {
  readonly replay: readonly ReplayEntry[];
  readonly findings: readonly Finding[];
  readonly errors: readonly ErrorRecord[];
  readonly notes: readonly string[];
}

export interface CurvatureDocument extends Versioned {
  readonly curvature: readonly CurvatureEntry[];
  readonly density: LabelledDensity | null;
  readonly notes: readonly string[];
}

export interface MatrixDocument extends Versioned {
  readonly matrix: TrainingMatrix;
  readonly errors: readonly ErrorRecord[];
}

/** `matrix STUDY.yaml` and `matrix merge` */
export interface StudyDocument extends Versioned, StudyResult {}

export interface ChartDocument extends Versioned {
  readonly charts: readonly { readonly run: string; readonly series: readonly ChartSeries[] }[];
}

/** `baseline update` and `baseline show` */
export interface BaselineDocument extends Versioned {
  readonly file: string;
  readonly baseline: Baseline;
}

/** `explain` without an id */
export interface PagesDocument extends Versioned {
  readonly pages: readonly { readonly id: string; readonly kind: string; readonly summary: string }[];
}

/** `explain ID` */
export interface PageDocument extends Versioned {
  readonly id: string;
  /** Markdown. */
  readonly page: string;
}

/** `completion SHELL` */
export interface CompletionDocument extends Versioned {
  readonly shell: string;
  readonly script: string;
}

/** `bisect` */
export interface BisectDocument extends Versioned {
  readonly bisect: Bisect;
}

export interface CompareDocument extends Versioned {
  readonly comparison: RunComparison;
}

/** `inspect --check` */
export interface CheckDocument extends Versioned {
  readonly captures: readonly { readonly path: string; readonly checks: readonly CaptureCheck[] }[];
}

/** `audit`: of one capture `audit`, of several `audits` */
export interface AuditDocument extends Versioned {
  readonly audit?: Audit;
  readonly audits?: readonly { readonly path: string; readonly audit: Audit }[];
}

/** `resume` */
export interface ResumeDocument extends Versioned {
  readonly resume: Resume;
}

/** `preflight`; the Python package returns the same */
export interface PreflightDocument extends Versioned {
  readonly preflight: Preflight;
}

/** `teach` */
export interface TeachDocument extends Versioned {
  readonly tables: readonly SeenTable[];
  readonly layout: TextLayout | null;
  readonly proof: LayoutProof | null;
  /** The config, where it was written. */
  readonly written: readonly string[];
}

/** `inspect --tokens` */
export interface TokensDocument extends Versioned {
  readonly tokens: readonly SeenToken[];
}

/** `who` */
export interface WhoDocument extends Versioned {
  readonly batch: StepBatch;
}

/** `strip-batches` */
export interface StripDocument extends Versioned {
  readonly capture: string;
  readonly files: number;
  readonly tensors: number;
  readonly bytes: number;
}

/** `donate` */
export interface DonateDocument extends Versioned {
  readonly files: readonly DonatedFile[];
  readonly left: LeftOut;
  readonly written: string | null;
}

export interface InitDocument extends Versioned {
  readonly written: readonly string[];
  /** With `--framework`. */
  readonly snippet?: string;
}

export interface WorkerDocument extends Versioned {
  /** Cells that it gave results of. */
  readonly trained: number;
}

/** Any command that failed before it had a document of its own. */
export interface ErrorDocument extends Versioned {
  /** `bug` for what is a fault of the tool; of inputs that no baseline is made of, what a gate calls the problem. */
  readonly error: Omit<ErrorRecord, 'id'> & { readonly id: string };
}

export type JsonDocument =
  | BriefDocument
  | InspectDocument
  | DiffDocument
  | ReplayDocument
  | CurvatureDocument
  | MatrixDocument
  | StudyDocument
  | ChartDocument
  | BaselineDocument
  | PagesDocument
  | PageDocument
  | CompletionDocument
  | InitDocument
  | WorkerDocument
  | CheckDocument
  | AuditDocument
  | ResumeDocument
  | PreflightDocument
  | CompareDocument
  | BisectDocument
  | StripDocument
  | WhoDocument
  | DonateDocument
  | TeachDocument
  | TokensDocument
  | ErrorDocument;
