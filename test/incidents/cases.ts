/** The shared cases: losses by fixtures/make/incident_cases.py, and what the judge says of them, which its copies have to say too. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { worstOf } from '../../src/judge/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { lossStream } from '../../src/judge/incidents/stream.ts';
import { numberFromJson, toJson } from '../../src/model/json.ts';
import { projectRoot } from '../support/shared-data.ts';
import { judgePoints } from './judged.ts';

export interface IncidentCase {
  readonly name: string;
  /** Where the script put a jump, or losses that are not finite; null in a healthy case. */
  readonly truth: {
    readonly at: number;
    readonly until: number | null;
    readonly clear: boolean;
  } | null;
  readonly tails?: true;
  /** It lies before there is a band, so only the whole log shows it. */
  readonly rises?: true;
  /** No point leaves its band, so only the levels of the whole log show it. */
  readonly swells?: true;
  /** Where the largest of several incidents is. */
  readonly leads?: number;
  /** Where the level is back. */
  readonly back?: number;
  readonly losses: readonly number[];
}

/** What a judge says of one case; positions count from the first loss. */
export interface Judged {
  /** Class, form, onset and recovery of each incident of the whole series. */
  readonly incidents: readonly (readonly [string, string, number, number | null])[];
  /** End, peak, level before, upper edge of the band before, level after and size of each; `NaN` and `Infinity` as JSON has them. */
  readonly numbers: readonly (readonly (number | string)[])[];
  /** Onset of the first of the worst, which decides. */
  readonly worst: number | null;
  /** While the losses come: at which an incident begins, and its onset. */
  readonly begins: readonly (readonly [number, number])[];
}

export const CASES_FILE = join(projectRoot, 'fixtures/incidents/cases.json');
export const ONSETS_FILE = join(projectRoot, 'fixtures/incidents/onsets.json');

export const incidentCases = (): readonly IncidentCase[] =>
  (JSON.parse(readFileSync(CASES_FILE, 'utf8')) as IncidentCase[]).map((one) => ({
    ...one,
    losses: one.losses.map((loss) => numberFromJson(loss)!),
  }));

/** Whether two judge alike: their numbers may differ by what logarithms of two languages differ by. */
function sameJudgement(a: Judged, b: Judged): boolean {
  const { numbers: own, ...rest } = a;
  const { numbers: others, ...restOfOther } = b;
  const close = (x: number | string, y: number | string): boolean =>
    x === y || Math.abs(Number(x) - Number(y)) <= 1e-8 * Math.abs(Number(x));
  return (
    isDeepStrictEqual(rest, restOfOther) &&
    own.length === others.length &&
    own.every((row, k) => row.length === others[k]!.length && row.every((x, i) => close(x, others[k]![i]!)))
  );
}

/** What the judge says of each case, by its name. */
export const onsets = (): Readonly<Record<string, Judged>> =>
  JSON.parse(readFileSync(ONSETS_FILE, 'utf8')) as Record<string, Judged>;

/** Fails, and shows what differs, where a judge says something else of a case than onsets.json. */
export function expectSame(judged: Judged, said: Judged, name: string): void {
  if (!sameJudgement(judged, said)) assert.deepEqual([name, judged], [name, said]);
}

/** What a stream of losses says of a series. */
export function streamed(losses: readonly number[], stream: ReturnType<typeof lossStream>): Judged['begins'] {
  return losses.flatMap((loss, i) => {
    const incident = stream.add(loss);
    return incident?.begins === true ? [[i, incident.onset] as const] : [];
  });
}

export function judgedCase({ losses }: IncidentCase): Judged {
  const { incidents } = judgePoints(Float64Array.from(losses), DEFAULT_VERDICT_SETTINGS);
  return {
    incidents: incidents.map(({ class: found, form, onset, recovered }) => [found, form, onset, recovered]),
    numbers: incidents.map((one) => {
      const { end, peak, before, high, after, size } = one;
      // As many digits as two languages agree on.
      return [end, peak, before, high, after, size].map((number) =>
        JSON.parse(toJson(Number(number.toPrecision(10)))),
      );
    }),
    worst: worstOf(incidents)?.onset ?? null,
    begins: streamed(losses, lossStream()),
  };
}
