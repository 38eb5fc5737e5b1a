/**
 * The second section of a run's report: what each rule would have done and how sharp the loss was. A capture gives it
 * (what-if-capture.ts), and a log alone as far as its norms allow (what-if-log.ts); each is loaded where it is needed.
 */

import { causeFromLog, NO_CAUSE, REPLAY, type Why } from '../../experiment/cause/from-log.ts';
import type { JudgedRun } from '../../judge/incidents/verdict.ts';
import { failureLeads } from '../../model/failure-words.ts';
import type { RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { Limits, RunEvidence } from './evidence.ts';
import { lossesApart } from './which-run.ts';

export type WhatIf = Pick<RunReport, 'replay' | 'curvature' | 'notRun' | 'notes'> & Why;

/** Where nothing was asked, or there was nothing to prevent. */
export const NO_WHAT_IF: WhatIf = { ...NO_CAUSE, replay: [], curvature: [], notRun: [], notes: [] };

/** What is reported for a run. */
type Told = Pick<RunReport['verdict'], 'onsetStep' | 'recoveredStep' | 'incidents'>;

/** Whether the run came back by itself; one with a further incident that is still open has not. */
const cameBack = ({ recoveredStep, incidents }: Told): boolean =>
  recoveredStep !== null && incidents.every(({ class: found }) => found !== 'inconclusive');

/**
 * What the log alone says of the cause, where nothing is replayed.
 *
 * @param beside whether the log's folder has captures that a gate does not replay
 */
export const fromLogAlone = (run: Run, judged: JudgedRun, beside = false): WhatIf => ({
  ...NO_WHAT_IF,
  ...ofLogAlone(run, judged, beside ? REPLAY : undefined),
});

const ofLogAlone = (run: Run, judged: JudgedRun, would?: string): Why =>
  failureAfter(run, judged) ?? ofIncident(run, judged, would);

const ofIncident = (run: Run, judged: JudgedRun, would?: string): Why =>
  causeFromLog(run, judged.verdict.onsetStep, cameBack(judged.verdict), would, judged);

/** What began after the run came back and goes on to the end of the log: it says more than the rise that is over. Null without it. */
function failureAfter(run: Run, judged: JudgedRun): Why | null {
  const { recoveredStep } = judged.verdict;
  if (recoveredStep === null || !cameBack(judged.verdict)) return null;
  const found = causeFromLog(run, null, false, undefined, judged);
  const { failure, step } = found.cause;
  return failureLeads(failure, true) && step !== null && step > recoveredStep ? found : null;
}

/** @param judged what the judge says of the run */
export async function whatIf(evidence: RunEvidence, judged: JudgedRun, limits: Limits): Promise<WhatIf> {
  const { run, captures } = evidence;
  const { verdict } = judged;
  const later = failureAfter(run, judged);
  const onsetStep = later === null ? verdict.onsetStep : null;
  const best = bestCapture(run, captures, later?.cause.step ?? verdict.onsetStep);
  const ofLog = later ?? ofIncident(run, judged);
  // Without an incident that is not over there is nothing that a rule could have prevented.
  if (best === undefined && onsetStep === null) return { ...NO_WHAT_IF, ...ofLog };
  const recovered = cameBack(judged.verdict);
  if (best !== undefined) {
    const { whatIfOfCapture } = await import('./what-if-capture.ts');
    return whatIfOfCapture(best, evidence, { onsetStep, recovered, ofLog }, limits);
  }
  const { whatIfOfLog } = await import('./what-if-log.ts');
  return { ...NO_WHAT_IF, ...whatIfOfLog(run, onsetStep!), ...ofLog };
}

/** A capture, and how its losses are apart from those of the log; null where they are not. */
export interface BestCapture {
  readonly capture: Capture;
  readonly apart: ReturnType<typeof lossesApart>;
}

/** A recorder writes a capture for each incident: the one that follows the log and holds the onset. */
function bestCapture(
  run: Run,
  captures: readonly Capture[],
  onsetStep: number | null,
): BestCapture | undefined {
  const compared = captures.map((capture) => {
    const apart = lossesApart(run, capture);
    const holdsOnset = capture.steps.some(({ step }) => step === onsetStep);
    return { capture, apart, rank: (apart === null ? 0 : 2) + (holdsOnset ? 0 : 1) };
  });
  return compared.sort((a, b) => a.rank - b.rank)[0];
}
