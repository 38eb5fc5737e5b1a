/** The cause that an audit shows, in place of a guess: a fault of a step says more than weights that do not follow. */
import { type Audit, type AuditCause, type AuditLink, brokenLinks } from '../../model/audit.ts';
import type { RemedyAction, Trigger } from '../../model/cause.ts';
import type { Why } from './from-log.ts';
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

/**
 * The cause with what the audit shows: where the guess was that the optimizer's state was lost, or where nothing was found, and a
 * link of the chain is broken up to the onset.
 */
export function withAudit(why: Why, audit: Audit | null): Why {
  const { cause } = why;
  const isGuess =
    cause.confidence !== 'shown' &&
    (cause.failure !== undefined || ['optimizer-state', 'none-found'].includes(cause.trigger));
  const { failure: _, ...replaced } = cause;
  if (audit === null || !isGuess || cause.onsetStep === null) return why;
  const onset = cause.onsetStep;
  const found = brokenLinks(audit).find(
    (link) => link.cause !== 'unknown' && link.confidence === 'shown' && (link.step ?? onset) <= onset,
  );
  if (found === undefined || found.cause === null) return why;
  const [trigger, action]: readonly [Trigger, RemedyAction] = isHardware(found)
    ? ['hardware', 'reload-weights']
    : (TRIGGERS[found.cause] ?? ['code', 'fix-code']);
  return {
    cause: {
      ...replaced,
      trigger,
      alsoTriggers: [],
      step: found.step,
      // A rerun of the step, which would tell a fault of the machine from one of the code, was not made.
      confidence: isHardware(found) ? 'likely' : 'shown',
      statement: found.statement,
      factor: found.factor,
      evidence: [],
    },
    remedies: [untried(action, found.fix!), ...why.remedies.filter(({ tried }) => tried !== null)],
  };
}
