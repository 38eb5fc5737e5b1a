/** What a detector is: one file in this folder and one line in registry.ts. */
import type { Outcome, Severity } from '../model/finding.ts';
import type { Run } from '../model/run.ts';

/** A default number with the reason why it is what it is: no threshold without origin. */
export interface Threshold {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly origin: string;
}

export interface DetectorDocs {
  /** One sentence: the failing state. */
  readonly summary: string;
  /** What it looks at, how it decides, in the field's words. Markdown. */
  readonly details: string;
  readonly advice: string;
  readonly references: readonly string[];
}

export interface Detector {
  /** kebab-case noun of the failing state: file name, gate rule, docs page, SARIF ruleId. */
  readonly id: string;
  readonly title: string;
  /** Severity of its findings unless a finding says otherwise; a healthy run has no warning and no error. */
  readonly severity: Severity;
  readonly thresholds: readonly Threshold[];
  readonly docs: DetectorDocs;
  /**
   * Looks at a run. Pure: same run and same thresholds, same outcome. Must be defined on 0, 1 and 2 points and on
   * series of NaN only.
   */
  detect(run: Run, thresholds: ReadonlyMap<string, number>): Outcome;
}
