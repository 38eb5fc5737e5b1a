/** The cause that an audit shows, in place of a guess: a fault of a step says more than weights that do not follow. */
import { type Audit, type AuditCause, type AuditLink, brokenLinks } from '../../model/audit.ts';
import { type Cause, type Remedy, type RemedyAction, type Trigger, takesBack } from '../../model/cause.ts';
import { optionWords } from '../../model/option-change.ts';
import { suggestionFor, type Why } from './from-log.ts';
import { untried } from './remedies.ts';

/** Trigger and first action of each cause that is not one of the code. */
const TRIGGERS: Partial<Record<AuditCause, readonly [Trigger, RemedyAction]>> = {
  rounded: ['precision', 'raise-precision'],
  'state-fresh': ['optimizer-state', 'restore-optimizer-state'],
  'state-stale': ['optimizer-state', 'restore-optimizer-state'],
  'state-of-other': ['optimizer-state', 'restore-optimizer-state'],
  'repeated-batch': ['order', 'fix-data'],
  'constant-input': ['order', 'fix-data'],
  'order-repeated': ['order', 'fix-data'],
  'same-data-on-ranks': ['order', 'fix-data'],
  'rate-restarted': ['learning-rate', 'restore-schedule'],
};

/** One flipped bit in a few entries, which no code writes. */
const isHardware = ({ cause, confidence, broken }: AuditLink): boolean =>
  cause === 'entries-changed' && confidence === 'shown' && broken === 1;

/** Steps before an onset in which a broken link explains a jump that a batch would explain as well. */
const NEAR = 10;

/** A batch that is blamed because updates of the usual size led to its loss: no experiment compared it with others. */
const isBatchByRecord = ({ trigger, confidence, evidence }: Cause): boolean =>
  trigger === 'data' && confidence === 'likely' && !evidence.some(({ id }) => id === 'batches-unlike');

/** Whether all that is known of a lost state is that the recorded steps do not give the weights that followed. */
const isMismatch = ({ trigger, confidence, statement, evidence }: Cause): boolean =>
  trigger === 'optimizer-state' &&
  confidence !== 'shown' &&
  evidence.some((one) => one.id === 'optimizer-state' && one.statement === statement);

/** That a run trained again is well, and the recorded one ends in no number: what the difference is, no experiment says. */
const isDifference = ({ trigger, confidence }: Cause): boolean =>
  trigger === 'precision' && confidence === 'likely';

/** Weights that were likely replaced while the state went on where a guess says that the state was lost. */
const isOtherGuess = (link: AuditLink, { trigger, confidence }: Cause): boolean =>
  link.cause === 'weights-replaced' &&
  link.confidence === 'likely' &&
  trigger === 'optimizer-state' &&
  confidence === 'likely';

/** What the record proves where the weights do not follow and nothing known explains it. */
function unexplained(why: Why, audit: Audit, onset: number): Why {
  const link = brokenLinks(audit).find(({ cause, step }) => cause === 'unknown' && (step ?? onset) <= onset);
  if (link === undefined || !isMismatch(why.cause)) return why;
  const statement = `${link.statement}; whether state, weights or a setting changed there is not in the record`;
  const cause: Cause = { ...why.cause, trigger: 'none-found', alsoTriggers: [], confidence: null, statement };
  const kept = why.remedies.filter(
    ({ action, tried }) => tried !== null || action !== 'restore-optimizer-state',
  );
  return { cause, remedies: kept.length > 0 ? kept : [suggestionFor(cause, 'step')] };
}

/** A weight decay that was written into a group is a cause of its own, whether the loss shows it or not. */
const isDecay = ({ cause, statement }: AuditLink): boolean =>
  cause === 'options-changed' && statement.startsWith(`${optionWords('weightDecay')} of `);

const whatChanged = (found: AuditLink): readonly [Trigger, RemedyAction] =>
  isHardware(found)
    ? ['hardware', 'reload-weights']
    : isDecay(found)
      ? ['weight-decay', 'lower-weight-decay']
      : (TRIGGERS[found.cause!] ?? ['code', 'fix-code']);

/** A broken link as the cause, and what mends it as the first remedy. */
function asCause(found: AuditLink, why: Why, statement: string): Why {
  const { failure: _, ...replaced } = why.cause;
  const [trigger, action] = whatChanged(found);
  return {
    cause: {
      ...replaced,
      trigger,
      alsoTriggers: [],
      mechanism:
        replaced.mechanism === 'overflow' && trigger !== 'precision' ? 'unknown' : replaced.mechanism,
      step: found.step,
      // A rerun of the step, which would tell a fault of the machine from one of the code, was not made.
      confidence: isHardware(found) ? 'likely' : found.confidence,
      statement,
      factor: found.factor,
      evidence: [],
    },
    remedies: withFix(untried(action, found.fix!), trigger, why.remedies),
  };
}

/**
 * What mends a broken link, before what was tried: but after a try that holds and takes the same back. A training in float32 that
 * does not have the fault in it says nothing of precision.
 */
function withFix(fix: Remedy, trigger: Trigger, remedies: readonly Remedy[]): Remedy[] {
  const tried = remedies.filter(
    (one) => one.tried !== null && (one.action !== 'raise-precision' || trigger === 'precision'),
  );
  const leads = (one: Remedy): boolean => one.holds === true && takesBack(one, trigger);
  return [...tried.filter(leads), fix, ...tried.filter((one) => !leads(one))];
}

/** Said with a broken link of a run whose loss shows nothing. */
const WELL_SO_FAR = 'the loss is well so far';

/** What the audit shows of a run without an incident: a fault of the steps that the loss does not show, or does not show yet. */
function withoutIncident(why: Why, audit: Audit, isWell: boolean): Why {
  const links = brokenLinks(audit);
  const found = links.find(({ cause }) => cause !== 'unknown') ?? links[0];
  // What the log shows by itself stays, where the link is not more certain than that.
  if (found === undefined || (why.cause.trigger !== 'none-found' && found.confidence !== 'shown')) return why;
  const statement = isWell ? `${found.statement}; ${WELL_SO_FAR}` : found.statement;
  if (found.cause !== 'unknown') return asCause(found, why, statement);
  const cause: Cause = { ...why.cause, statement };
  return { cause, remedies: [untried('fix-code', found.fix!)] };
}

/**
 * Steps that were too long, where another step is seen to do something else than declared before the loss is highest: shorter steps
 * do less harm whatever the harm is, so the fault comes first. It began after the onset, so it is likely and no more.
 */
function besideSteps(why: Why, audit: Audit, peakStep: number | null): Why {
  const { trigger, onsetStep } = why.cause;
  if (trigger !== 'sharpness' || onsetStep === null || peakStep === null) return why;
  const found = brokenLinks(audit).find(
    ({ cause, confidence, step }) =>
      cause !== 'unknown' && confidence === 'shown' && step !== null && step > onsetStep && step <= peakStep,
  );
  if (found === undefined) return why;
  const told = asCause(found, why, `${found.statement}, while the loss rises; ${why.cause.statement}`);
  // What was tried was tried with the fault in it.
  return {
    cause: { ...told.cause, confidence: 'likely', alsoTriggers: ['sharpness'] },
    remedies: told.remedies.slice(0, 1),
  };
}

/**
 * The cause with what the audit shows: where a link of the chain is broken up to the onset, and the cause was a guess that the
 * optimizer's state was lost, a batch that no experiment compared with others, a precision that nothing shows, or nothing; without an incident, the link that is broken.
 *
 * @param isWell whether the verdict is that the loss is well
 * @param peakStep of the incident; null without one
 */
export function withAudit(
  why: Why,
  audit: Audit | null,
  isWell: boolean,
  peakStep: number | null = null,
): Why {
  const { cause } = why;
  if (audit === null) return why;
  if (cause.confidence === 'shown') return besideSteps(why, audit, peakStep);
  const onset = cause.onsetStep;
  if (onset === null) return withoutIncident(why, audit, isWell);
  const isNamed = cause.failure !== undefined;
  const byRecord = !isNamed && (isBatchByRecord(cause) || isDifference(cause));
  if (!byRecord && !isNamed && !['optimizer-state', 'none-found'].includes(cause.trigger)) return why;
  const found = brokenLinks(audit).find(
    (link) =>
      link.cause !== 'unknown' &&
      (link.confidence === 'shown' || isOtherGuess(link, cause)) &&
      (link.step ?? onset) <= onset &&
      (!byRecord || (link.step !== null && link.step > onset - NEAR)),
  );
  return found === undefined ? unexplained(why, audit, onset) : asCause(found, why, found.statement);
}
