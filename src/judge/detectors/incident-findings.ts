/** Findings of the detectors that report one class of incident: full-divergence, micro-divergence, drift. */

import type { Outcome, Severity } from '../../model/finding.ts';
import type { VerdictClass } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { incidentsOf } from '../incidents/attempts.ts';
import { badness } from '../incidents/judge.ts';
import { explain } from '../incidents/verdict-words.ts';
import { type DetectorContext, findingAt, firstOf, notApplicable, outcomeOf, quantity } from './detector.ts';

/** What a finding about part of a run may weigh at most: a healthy run has no warning and no error. */
export const severityWithin = (verdict: VerdictClass, severity: Severity): Severity =>
  badness(verdict) >= badness('full-divergence')
    ? severity
    : verdict === 'healthy'
      ? 'note'
      : severity === 'error'
        ? 'warning'
        : severity;

/**
 * One finding for each incident of the class in the loss and the task losses. An incident of a task that the run's
 * verdict does not share is a note.
 */
export function incidentFindings(
  run: Run,
  { judged }: DetectorContext,
  wanted: VerdictClass,
  describe: {
    id: string;
    severity: Severity;
    advice: string;
    /** Of an incident that did not come back, where that is another. */
    adviceNotBack?: string;
    threshold: readonly [string, number, string];
  },
): Outcome {
  const series = [
    ...(judged.loss === null ? [] : [judged.loss]),
    ...judged.otherLosses,
    ...judged.taskLosses,
  ];
  if (series.length === 0) return notApplicable('the log has no loss');
  const incidents = [...new Set(series)].flatMap((one) =>
    incidentsOf(one)
      .filter(({ incident }) => incident.class === wanted)
      .map((incident) => ({ one, ...incident })),
  );
  return outcomeOf(
    firstOf(incidents, ({ one, found, attempt, incident }) => {
      const offset = one.series.attemptOffsets[attempt] ?? 0;
      const end = found.recovered ?? one.attempts[attempt]!.points - 1;
      return findingAt(run, one.series, offset + found.onset, offset + end, {
        id: describe.id,
        severity:
          one === judged.loss ? describe.severity : severityWithin(judged.verdict.class, describe.severity),
        message: explain(one.series.name, found, incident, run.stepUnit),
        // Losses of both signs have no ratio that says anything: their values do.
        measured: found.byRatio
          ? quantity('peak over the median before', found.size, 'ratio')
          : quantity('peak', incident.peak, 'loss'),
        threshold: found.byRatio
          ? quantity(...describe.threshold)
          : quantity('upper edge of the band before', found.high, 'loss'),
        advice:
          incident.recoveredStep === null ? (describe.adviceNotBack ?? describe.advice) : describe.advice,
      });
    }),
  );
}
