/** Whether a run that goes on was started with an optimizer that had taken no step. */
import type { Capture } from '../../read/captures/read.ts';
import type { Followed, Prepared } from './follow.ts';

/** All state of the optimizer before the first recorded step is that of a beginning, and the step is not the run's first. */
export interface EmptyState {
  /** The first recorded step. */
  readonly before: number;
  /**
   * What the capture shows of it. `stored`: it holds such a state. `follows`: it holds none, and from such a state the recorded
   * gradients give the recorded parameters, so the optimizer had taken no step. `misses`: they do not, so the state is not in the
   * capture, or a setting. `counted`: it holds that steps were taken, and no more. `unknown`: it holds nothing that would tell.
   */
  readonly known: 'stored' | 'follows' | 'misses' | 'counted' | 'unknown';
}

/**
 * What a capture's initial state says of a run that took steps before.
 *
 * @param followed the walk through the recorded steps from that state, where it was made
 * @returns null where it is not that of a beginning, where the optimizer keeps none, and where the first recorded step may be the
 * run's first
 */
export function emptyState(
  { steps }: Pick<Capture, 'steps'>,
  { setup, tensors, missingState }: Pick<Prepared, 'setup' | 'tensors' | 'missingState'>,
  followed?: Pick<Followed, 'agreedAt' | 'findings'>,
): EmptyState | null {
  const [first] = steps;
  if (first === undefined || first.step <= 1 || setup.withoutFormula !== null) return null;
  const slots = tensors.flatMap(({ group, slots: own }) => {
    const { optimizer, options } = setup.optimizers[group]!;
    return optimizer.slots(options).map(({ name, initial }) => ({ values: own[name], initial }));
  });
  const fresh = ({ values, initial }: (typeof slots)[number]): boolean =>
    values?.every((value) => value === Math.fround(initial)) === true;
  if (slots.length === 0 || !slots.every(fresh)) return null;
  const before = first.step;
  const agrees = followed?.agreedAt != null;
  if (!agrees && (followed?.findings.length ?? 0) > 0) return { before, known: 'misses' };
  if (missingState.length === 0) return { before, known: 'stored' };
  if (agrees) return { before, known: 'follows' };
  return { before, known: tensors.some(({ stepsTaken }) => stepsTaken > 0) ? 'counted' : 'unknown' };
}
