/** What is found: by detectors in logs, and in checkpoints and captures. */

import type { ErrorRecord } from './errors.ts';
import type { NumberRange } from './options.ts';
import type { SourceRef } from './source-ref.ts';

export const SEVERITIES = ['note', 'warning', 'error'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** A number with its unit: "1.7" alone travels nowhere. */
export interface Quantity {
  readonly name: string;
  readonly value: number;
  /** "scales", "ratio", "steps", "points", "1" for a pure number of the series' own unit … */
  readonly unit: string;
}

/** A default number with the reason why it is what it is: no threshold without origin. */
export interface Threshold {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What a user may set it to. */
  readonly range: NumberRange;
  readonly origin: string;
}

/** The numbers in force: the user's or the default, by the id of the finding and the name of the threshold. */
export type ThresholdsInForce = (finding: string, name: string) => number;

/** Numbers in place of defaults, by the id of the finding and the name of the threshold. */
export type Thresholds = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** What the page of a kind of finding says of it. */
export interface FindingDocs {
  /** One sentence: the failing state. */
  readonly summary: string;
  /** What it looks at, how it decides, in the field's words. Markdown. */
  readonly details: string;
  readonly advice: string;
  readonly references: readonly string[];
}

/** A kind of finding: pages, rules of the gate, the config and the help in reports derive from it. */
export interface FindingType {
  /** kebab-case noun of the failing state: file name, gate rule, docs page, SARIF ruleId. */
  readonly id: string;
  readonly title: string;
  /** The gravest severity of its findings; a healthy run has no warning and no error. */
  readonly severity: Severity;
  readonly thresholds: readonly Threshold[];
  readonly docs: FindingDocs;
}

/** The default of a threshold. @throws Error for a name that is not declared: a bug */
export function defaultOf({ id, thresholds }: FindingType, name: string): number {
  const found = thresholds.find((threshold) => threshold.name === name);
  if (found === undefined) throw new Error(`${id} has no threshold "${name}"`);
  return found.value;
}

export interface Finding {
  /** Id of its kind: file name, flag value, docs page, SARIF ruleId. */
  readonly id: string;
  readonly severity: Severity;
  readonly message: string;
  /** First and last step it covers; null where steps mean nothing. */
  readonly steps: readonly [number, number] | null;
  readonly series: string | null;
  readonly attempt?: number;
  readonly measured: Quantity | null;
  readonly threshold: Quantity | null;
  readonly locations: readonly SourceRef[];
  readonly advice: string | null;
  /** How many more like it were found that the report does not list. */
  readonly more?: number;
}

/** Result of one detector on one run. A detector that throws becomes an `error`; the report still appears. */
export type Outcome =
  | { readonly kind: 'pass' }
  | { readonly kind: 'fail'; readonly findings: readonly Finding[] }
  | { readonly kind: 'not-applicable'; readonly reason: string }
  | { readonly kind: 'error'; readonly error: ErrorRecord };
