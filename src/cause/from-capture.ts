/**
 * What a capture says where no experiment can be made here: by the closed loops of the user's own framework where it stores some,
 * else what the recorded steps suggest, which is never more than likely.
 */
import type { Capture } from '../captures/read.ts';
import type { ReplayEntry } from '../model/replay.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import { changesBy } from './changes.ts';
import { decideCause } from './decide.ts';
import { suggestionFor, type Why } from './from-log.ts';
import { causeOfLoops } from './from-recorded.ts';
import { observe } from './observe.ts';
import { untried } from './remedies.ts';
import type { RemedyContext } from './tried.ts';

/**
 * @param onsetStep of the leading incident, as the capture counts steps
 * @param loops that the user's own framework ran and stored
 * @returns null where the capture does not hold the onset
 * @throws what reading the capture throws
 */
export async function causeOfCapture(
  context: RemedyContext & { readonly capture: Capture },
  onsetStep: number | null,
  recovered: boolean,
  loops: readonly ReplayEntry[] = [],
): Promise<Why | null> {
  const { capture } = context;
  const onset = capture.steps.findIndex(({ step }) => step === onsetStep);
  if (onset < 1) return null;
  const prepared = await prepareReplay(capture, 'float32', null);
  const observed = await observe(capture, prepared);
  const shown = causeOfLoops(context, prepared, observed, onset, loops);
  if (shown !== null) return shown;
  const changes = changesBy(onset, observed, null, capture.manifest.skipped);
  const cause = decideCause({
    onset,
    observed,
    references: null,
    changes,
    arms: [],
    ruleHolds: false,
    unrecorded: null,
  });
  return {
    cause,
    remedies: recovered
      ? [untried('none-needed', 'nothing: the run came back by itself')]
      : [suggestionFor(cause, 'step')],
  };
}
