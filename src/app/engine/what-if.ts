/**
 * The second section of a run's report: what each rule would have done and how sharp the loss was. A capture gives it
 * (what-if-capture.ts), and a log alone as far as its norms allow (what-if-log.ts); each is loaded where it is needed.
 */

import { causeFromLog, NO_CAUSE, REPLAY, type Why } from '../../experiment/cause/from-log.ts';
import type { JudgedRun } from '../../judge/incidents/verdict.ts';
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
  causeFromLog(run, judged.verdict.onsetStep, cameBack(judged.verdict), would, judged);

/** @param judged what the judge says of the run */
export async function whatIf(evidence: RunEvidence, judged: JudgedRun, limits: Limits): Promise<WhatIf> {
  const { run, captures } = evidence;
  const { onsetStep } = judged.verdict;
  const best = bestCapture(run, captures, onsetStep);
  const ofLog = ofLogAlone(run, judged);
  // Without an incident there is nothing that a rule could have prevented.
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
