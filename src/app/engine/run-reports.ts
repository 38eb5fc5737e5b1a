/** Reports of watched runs: one is made again only where its run is not what it was at the look before. */
import { isDeepStrictEqual } from 'node:util';
import { Followers } from '../../judge/incidents/followers.ts';
import { type Column, isPacked, readerOf } from '../../model/column.ts';
import type { RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import type { JudgeOptions } from './judge-run.ts';
import { diagnoseRun } from './report.ts';

export class RunReports {
  private known = new Map<string, { readonly run: Run; readonly report: RunReport }>();
  private readonly made = new Map<string, { readonly run: Run; readonly report: RunReport }>();
  private readonly followers = new Map<string, Followers>();

  /** @param options the same at each look: what a run is judged by */
  constructor(private readonly options: JudgeOptions) {}

  /** The report that `diagnoseRun` makes of a run. */
  readonly of = (run: Run): RunReport => {
    const before = this.known.get(run.id);
    const report = before !== undefined && isSame(before.run, run) ? before.report : this.anew(run);
    this.made.set(run.id, { run, report });
    return report;
  };

  /** Forgets the runs of which no report was asked for since the last call. */
  endLook(): void {
    this.known = new Map(this.made);
    this.made.clear();
    for (const id of this.followers.keys()) if (!this.known.has(id)) this.followers.delete(id);
  }

  private anew(run: Run): RunReport {
    const followers = this.followers.get(run.id) ?? new Followers();
    this.followers.set(run.id, followers);
    return followers.during(() => diagnoseRun(run, this.options));
  }
}

type Record = Readonly<{ [key: string]: unknown }>;
const isRecord = (value: unknown): value is Record =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** Whether two values are equal to the last number; what is one object is not looked into. */
function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (isPacked(a) && isPacked(b)) return hasSameNumbers(a, b);
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((one, k) => isSame(one, b[k]));
  if (!isRecord(a) || !isRecord(b)) return isDeepStrictEqual(a, b);
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && isSame(a[key], b[key]));
}

function hasSameNumbers(a: Column, b: Column): boolean {
  const at = readerOf(b);
  return a.length === b.length && a.every((value, k) => Object.is(value, at(k)));
}
