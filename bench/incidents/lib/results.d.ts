/** Number of hits, and of cases that the measure applies to. */
export type Count = readonly [hits: number, n: number];
/** A row of results.json. */
export interface Result {
  readonly tool: string;
  readonly half: 'open' | 'hidden';
  /** Number of cases, of which each incident has a healthy twin besides. */
  readonly cases: number;
  readonly evidence: string;
  readonly runs: number;
  readonly detection: Count;
  readonly falseAlarm: Count;
  readonly class: Count;
  readonly onsetNear: Count;
  readonly link: Count;
  readonly trigger: Count;
  readonly tensor: Count;
  readonly factor: Count;
  /** Whether the first remedy holds by rerun, of the visible incidents whose remedies were tried; absent in older rows. */
  readonly remedy?: Count;
  readonly honoured: Count;
}
export function cell(count: Count): string;
export function tableRow(result: Result, measures: readonly string[]): string;
