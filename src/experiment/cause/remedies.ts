/** What would have prevented it, ranked: least interference first, then what undoes the cause, then the loss at the end. */
import { type Remedy, type RemedyAction, type Trigger, takesBack } from '../../model/cause.ts';

/** What a remedy that holds is ranked by. */
interface Held {
  readonly interference: number;
  readonly takesBack: boolean;
  /** Whether it leaves out rows of batches, and so less than whole batches. */
  readonly rowsAlone: boolean;
  readonly finalLoss: number;
}

/** Of what holds: least interference first, then what takes the cause back, then rows before batches, then the lower loss at the end. */
export const leastFirst = (a: Held, b: Held): number =>
  a.interference - b.interference ||
  Number(b.takesBack) - Number(a.takesBack) ||
  Number(b.rowsAlone) - Number(a.rowsAlone) ||
  a.finalLoss - b.finalLoss;

/**
 * The order in which remedies are read: those that hold, as {@link leastFirst} has them; those that were tried and are not
 * known to hold, the one that shows the cause before the others; those that do not; the untried last.
 */
export function rankRemedies(candidates: readonly Remedy[], trigger: Trigger, told?: Remedy): Remedy[] {
  const group = ({ holds, tried }: Remedy): number =>
    holds === true ? 0 : tried === null ? 3 : holds === null ? 1 : 2;
  const endOf = ({ finalLoss }: Remedy): number => finalLoss ?? Number.MAX_VALUE;
  const heldOf = (one: Remedy): Held => ({
    interference: one.interference,
    takesBack: takesBack(one, trigger),
    rowsAlone: one.action === 'skip-rows',
    finalLoss: endOf(one),
  });
  return [...candidates].sort(
    (a, b) =>
      group(a) - group(b) ||
      Number(b === told) - Number(a === told) ||
      // Of what is not known to hold the lowest loss is what speaks for one.
      (a.holds === true ? leastFirst(heldOf(a), heldOf(b)) : endOf(a) - endOf(b)) ||
      a.interference - b.interference,
  );
}

/** Said of a run that needs nothing. */
export const CAME_BACK = 'nothing: the run came back by itself';

/** A remedy of which nothing is known but what it would be. */
export const untried = (action: RemedyAction, statement: string, given: Partial<Remedy> = {}): Remedy => ({
  action,
  rule: null,
  skipSteps: null,
  learningRateFactor: null,
  learningRate: null,
  from: null,
  tried: null,
  holds: null,
  outcome: null,
  finalLoss: null,
  finalLossWithout: null,
  interference: 0,
  perturbations: { tried: 0, held: 0 },
  statement,
  paste: null,
  ...given,
});
