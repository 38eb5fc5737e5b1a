/** A run that came back while its optimizer takes far shorter steps than before: its weights are as they were, and its state is not. */
import type { Finding } from '../../model/finding.ts';
import type { Why } from './from-log.ts';
import { rankRemedies, untried } from './remedies.ts';

/**
 * What is to be done where a second moment took a huge gradient: nothing is said of a run that came back without it.
 *
 * @param findings of the captures of the run
 */
export function withLostRate(why: Why, findings: readonly Finding[]): Why {
  const { cause, remedies } = why;
  const { onsetStep } = cause;
  if (remedies[0]?.action !== 'none-needed' || onsetStep === null) return why;
  const lost = findings.find(
    ({ id, severity, steps }) =>
      id === 'accumulator-jump' && severity === 'warning' && steps !== null && steps[1] >= onsetStep,
  );
  if (lost === undefined) return why;
  const tried = rankRemedies(
    remedies.filter(({ action }) => action !== 'none-needed'),
    cause.trigger,
  );
  const open = untried(
    'restore-optimizer-state',
    `go on from a checkpoint before step ${lost.steps![0]} without its batch, or put its optimizer state back`,
  );
  return {
    cause: {
      ...cause,
      mechanism: 'poisoned-accumulators',
      statement: `${cause.statement}; the optimizer does not go on as before: ${lost.message}`,
    },
    remedies: tried.some(({ holds }) => holds === true) ? tried : [open, ...tried],
  };
}
