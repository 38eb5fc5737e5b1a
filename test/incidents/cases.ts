/** The shared cases: losses by fixtures/make/incident_cases.py, and what the judge says of them, which its copies have to say too. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { judgePoints, worstOf } from '../../src/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/incidents/settings.ts';
import { lossStream } from '../../src/incidents/stream.ts';
import { numberFromJson } from '../../src/model/json.ts';
import { projectRoot } from '../support/shared-data.ts';

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
    worst: worstOf(incidents)?.onset ?? null,
    begins: streamed(losses, lossStream()),
  };
}
