/** Where the losses of a capture leave their band, by the judge of runs. */

import { incidentsOf } from '../../judge/incidents/attempts.ts';
import { worstOf } from '../../judge/incidents/judge.ts';
import { judgeRun } from '../../judge/incidents/verdict.ts';
import { lossesBefore, runOfCapture } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';

export interface CaptureIncident {
  /** Position of its onset among the steps; null where the losses show no incident that begins in them. */
  readonly onset: number | null;
  /** Position of the first step after it; left out where it goes on to the end, or there is none. */
  readonly end?: number;
  /** Why the losses cannot tell whether there was one; null where they can. */
  readonly unknown: string | null;
}

/** Losses, recorded and before, without an incident that prove that there was none. */
const LEAST_LOSSES = 20;

/**
 * The worst incident that begins in the recorded steps, as the verdict of the capture has it: the losses before it and those of the
 * tasks are judged with its own.
 */
export function incidentOfCapture(capture: Pick<Capture, 'path' | 'manifest' | 'steps'>): CaptureIncident {
  const { steps } = capture;
  if (steps.every(({ loss }) => loss === null))
    return { onset: null, unknown: 'the capture holds no losses, so it does not show an incident' };
  const { verdict, decides } = judgeRun(runOfCapture(capture));
  const first = steps[0]!.step;
  const worst = worstOf(
    (decides === null ? [] : incidentsOf(decides))
      .map(({ incident, found }) => ({ ...incident, size: found.size }))
      .filter(({ onsetStep }) => onsetStep >= first),
  );
  const onset = worst === undefined ? -1 : steps.findIndex(({ step }) => step >= worst.onsetStep);
  if (worst !== undefined && onset < 0)
    return {
      onset: null,
      unknown: `the incident begins at step ${worst.onsetStep}, which the loss scaler skipped like all after it: no step is left to change`,
    };
  if (worst !== undefined)
    return {
      onset,
      ...(worst.recoveredStep === null
        ? {}
        : { end: steps.findIndex(({ step }) => step >= worst.recoveredStep!) }),
      unknown: null,
    };
  const open = verdict.incidents.find(({ class: found, recoveredStep }) =>
    // One that settled at a new level is over: that level is the normal.
    recoveredStep === null ? found !== 'micro-divergence' : recoveredStep > first,
  );
  if (open !== undefined)
    return {
      onset: null,
      unknown: `the incident that the losses show begins at step ${open.onsetStep}, before the first recorded step ${first}`,
    };
  if (verdict.class === 'inconclusive') return { onset: null, unknown: verdict.why };
  const known = lossesBefore(capture).length + steps.filter(({ loss }) => loss !== null).length;
  return {
    onset: null,
    unknown:
      known < LEAST_LOSSES
        ? `${known} losses are too few to tell an incident; ${LEAST_LOSSES} are needed`
        : null,
  };
}

/** The incident of the capture, or that of the log if it is more exact and in the recorded steps. */
export function incidentOf(
  capture: Pick<Capture, 'path' | 'manifest' | 'steps'>,
  onsetStep: number | undefined,
): CaptureIncident {
  const { steps } = capture;
  // An incident of the log that lies outside of the capture is not the one that was recorded.
  return onsetStep !== undefined && onsetStep >= steps[0]!.step && onsetStep <= steps.at(-1)!.step
    ? { onset: steps.findIndex(({ step }) => step >= onsetStep), unknown: null }
    : incidentOfCapture(capture);
}
