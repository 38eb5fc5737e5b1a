/** Whether captures hold the run that they say they recorded. */
import type { Capture } from '../captures/read.ts';
import { captureMismatch } from '../findings/capture-mismatch.ts';
import { DiagError, reasonOf } from '../model/errors.ts';
import type { Finding, Outcome, ThresholdsInForce } from '../model/finding.ts';
import { follow } from '../replay/follow.ts';
import { prepareReplay } from '../replay/from-capture.ts';

export interface CaptureLook {
  /** Of `capture-mismatch`. */
  readonly outcome: Outcome;
  /** Captures that could not be followed, each with the reason. */
  readonly unread: readonly string[];
}

export const NO_CAPTURE: CaptureLook = {
  outcome: { kind: 'not-applicable', reason: 'no capture lies beside the log' },
  unread: [],
};

/** Follows each capture through its recorded states, without any rule. */
export async function followCaptures(
  captures: readonly Capture[],
  thresholds: ThresholdsInForce,
  onProgress: (what: string) => void,
): Promise<CaptureLook> {
  if (captures.length === 0) return NO_CAPTURE;
  const findings: Finding[] = [];
  const unread: string[] = [];
  let snapshots = 0;
  for (const capture of captures)
    try {
      onProgress(capture.path);
      const followed = await follow(capture, await prepareReplay(capture, 'float32'), {
        precision: 'float32',
        tolerance: (name) => thresholds(captureMismatch.id, name),
        visit: (index, step) => {
          // The first state is where the walk begins.
          if (index > 0 && step.parameters.size > 0) snapshots++;
        },
      });
      findings.push(...followed.findings);
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      unread.push(`${capture.path} could not be followed: ${reasonOf(error)}`);
    }
  if (findings.length > 0) return { outcome: { kind: 'fail', findings }, unread };
  return {
    outcome:
      snapshots > 0
        ? { kind: 'pass' }
        : {
            kind: 'not-applicable',
            reason: 'no capture keeps a snapshot of the parameters after its first step',
          },
    unread,
  };
}
