/** What the recorded steps of a capture suggest, where it brings no batches or no model: never more than likely. */
import type { Capture } from '../captures/read.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import { changesBy } from './changes.ts';
import { decideCause } from './decide.ts';
import { suggestionFor, type Why } from './from-log.ts';
import { observe } from './observe.ts';
import { untried } from './remedies.ts';

/**
 * @param onsetStep of the leading incident, as the capture counts steps
 * @returns null where the capture does not hold the onset
 * @throws what reading the capture throws
 */
export async function causeOfCapture(
  capture: Capture,
  onsetStep: number | null,
  recovered: boolean,
): Promise<Why | null> {
  const onset = capture.steps.findIndex(({ step }) => step === onsetStep);
  if (onset < 1) return null;
  const prepared = await prepareReplay(capture, 'float32', null);
  // Without a formula the recorded steps cannot be rolled.
  if (prepared.setup.withoutFormula !== null) return null;
  const observed = await observe(capture, prepared);
  const changes = changesBy(onset, observed, null, capture.manifest.skipped);
  const cause = decideCause({ onset, observed, references: null, changes, arms: [], ruleHolds: false });
  return {
    cause,
    remedies: recovered
      ? [untried('none-needed', 'nothing: the run came back by itself')]
      : [suggestionFor(cause, 'step')],
  };
}
