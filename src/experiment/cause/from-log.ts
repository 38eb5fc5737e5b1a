/** What a log alone says of the cause (judge/failures); never more than likely. */
import { deadFromTheStart } from '../../judge/failures/dead-from-the-start.ts';
import { failureOf } from '../../judge/failures/registry.ts';
import { sawTooth } from '../../judge/failures/saw-tooth.ts';
import type { JudgedRun } from '../../judge/incidents/verdict.ts';
import type { Cause, Remedy } from '../../model/cause.ts';
import { failureLeads } from '../../model/failure-words.ts';
import type { Run } from '../../model/run.ts';
import { CAME_BACK, untried } from './remedies.ts';

export interface Why {
  readonly cause: Cause;
  readonly remedies: readonly Remedy[];
}

/** Of a run without an incident. */
export const NO_CAUSE: Why = {
  cause: {
    trigger: 'none-found',
    alsoTriggers: [],
    mechanism: 'none',
    step: null,
    onsetStep: null,
    confidence: null,
    statement: 'the run has no incident',
    evidence: [],
  },
  remedies: [untried('none-needed', 'nothing: the run has no incident')],
};

const UNSEEN =
  'the log does not show what changed: compare the settings, the code and the data with those of a run that went well';

/** With a fact that many runs without an incident show too. */
const UNTOLD = 'the log does not show whether that did it: the same run at half the rate would tell';
/** For a log with a capture in its folder, which a gate does not replay. */
export const REPLAY =
  'a capture is in the folder of the log, and a gate does not replay it: `clippy-diag analyze` does';

/**
 * What the log alone says where there is a capture that does not hold the steps before the incident.
 *
 * @param held first and last step of the capture
 * @param onsetStep of the incident, as the capture counts steps
 */
export function besideCapture(ofLog: Why, held: readonly [number, number], onsetStep: number): Why {
  if (ofLog.cause.trigger !== 'none-found') return ofLog;
  const [first, last] = held;
  const lacks =
    onsetStep === first
      ? `the capture begins with the incident, at step ${first}: a capture that holds the steps before it would tell`
      : `the capture holds steps ${first} to ${last}, and the incident begins at step ${onsetStep}: a capture of the steps up to ${onsetStep} would tell`;
  const [fact] = ofLog.cause.evidence;
  const known = fact === undefined ? UNSEEN : `${fact.statement}; ${UNTOLD}`;
  return { ...ofLog, cause: { ...ofLog.cause, statement: `${known}; ${lacks}` } };
}

/**
 * The known failure that the log shows, as a cause; what is left open where it shows none.
 *
 * @param onsetStep of the leading incident; null where there is none
 * @param recovered whether the run came back from it
 * @param would what would tell where the log does not, as a clause
 * @param judged what the judge says of the run; null where only the onset is known
 */
export function causeFromLog(
  run: Run,
  onsetStep: number | null,
  recovered: boolean,
  would?: string,
  judged: JudgedRun | null = null,
): Why {
  const found = failureOf(run, onsetStep, judged);
  if (found === null) return NO_CAUSE;
  const { id, trigger, confidence, step, factor, lead, evidence, remedy } = found;
  const statement = lead === undefined ? found.statement : `likely because ${lead}; ${found.statement}`;
  const cause: Cause = {
    trigger,
    alsoTriggers: [],
    mechanism: trigger === 'precision' ? 'overflow' : 'unknown',
    step,
    onsetStep,
    confidence,
    statement: trigger === 'none-found' && would !== undefined ? `${statement}; ${would}` : statement,
    ...(factor === undefined ? {} : { factor }),
    failure: id,
    evidence,
  };
  const { action, statement: order, ...given } = remedy;
  // Back at the loss of an untrained network, or too late, nothing is well.
  const isTooLate = judged?.verdict.class === 'full-divergence';
  const isWell = recovered && id !== deadFromTheStart.id && !failureLeads(id, true) && !isTooLate;
  const isOfBatches = trigger === 'data' && confidence === 'likely';
  const nothing = isOfBatches ? `${CAME_BACK}; so that it does not happen again, ${order}` : CAME_BACK;
  return { cause, remedies: [isWell ? untried('none-needed', nothing) : untried(action, order, given)] };
}

/**
 * A cause that no experiment showed, with what only the log knows: a learning rate that rose before the first recorded step, and a
 * resume shortly before the incident.
 *
 * @param start first step of the capture
 */
export function withLog(why: Why, ofLog: Why, start: number): Why {
  const { trigger, confidence, evidence, statement } = why.cause;
  // A pattern over hundreds of steps is not in the steps of a capture, where each of its jumps looks like steps too long or, as
  // the batches there are unlike those before, like bad ones.
  const isOrder = ofLog.cause.trigger === 'order' && ['sharpness', 'none-found'].includes(trigger);
  if (isOrder || (ofLog.cause.failure === sawTooth.id && trigger === 'data')) return ofLog;
  const [told] = ofLog.cause.evidence;
  const unseen = ofLog.cause.trigger === 'learning-rate' && told!.at.step! <= start;
  if (trigger === 'none-found' && unseen)
    return {
      cause: { ...why.cause, ...ofLog.cause, evidence: [...ofLog.cause.evidence, ...evidence] },
      remedies: why.remedies.some(({ tried }) => tried !== null) ? why.remedies : ofLog.remedies,
    };
  const open = trigger === 'none-found' || (trigger === 'sharpness' && confidence === 'likely');
  if (!open || told?.id !== 'resume') return why;
  const compare =
    trigger === 'none-found'
      ? ': compare how the two were launched (clipping, learning rate, optimizer state, order of the data)'
      : '';
  return {
    ...why,
    cause: {
      ...why.cause,
      statement: `${told.statement}${compare}; ${statement}`,
      evidence: [...evidence, told],
    },
  };
}

/** What to try, said to be untried; `given` is the learning rate of before or how much less of a weight decay, with its line for the script, where they are known. */
export function suggestionFor(
  { trigger, evidence }: Cause,
  unit: string,
  given: Partial<Remedy> | null = null,
): Remedy {
  if (trigger === 'code')
    return untried(
      'fix-code',
      'look for what writes the option into optimizer.param_groups: a callback, a loaded state_dict or a typing error; not tried',
    );
  if (trigger === 'learning-rate')
    return untried(
      'lower-learning-rate',
      `keep the learning rate as it was before ${unit} ${evidence[0]!.at.step}; not tried`,
      given ?? {},
    );
  if (trigger === 'weight-decay')
    return untried(
      'lower-weight-decay',
      'lower the weight decay or the learning rate, so that their product is far below 1; not tried',
      given ?? {},
    );
  if (trigger === 'precision')
    return untried('raise-precision', 'train in bfloat16 or float32, or lower the loss scale; not tried');
  if (trigger === 'optimizer-state')
    return untried('restore-optimizer-state', 'resume with the optimizer state of before; not tried');
  return untried(
    'rewind',
    'go back to the last good checkpoint and record the steps to the onset; not tried',
  );
}
