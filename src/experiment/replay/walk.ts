/** Shows the recorded steps to those who look for something in them, while the run is followed. */

import type {
  StepWatcher,
  WalkedRun,
  WalkedStep,
  WalkedTensor,
} from '../../judge/findings/capture-finding.ts';
import type { Capture } from '../../read/captures/read.ts';
import { emptyState } from './empty-state.ts';
import type { FollowedStep, FollowSettings, Prepared } from './follow.ts';
import type { TensorState } from './tensors.ts';

/** Share of a mean of squares that a step keeps. */
const keptShare = ({ beta2, rho }: Readonly<Record<string, unknown>>): number => Number(beta2 ?? rho ?? 1);

/** What is known before the first step. */
export function walkedRun(capture: Pick<Capture, 'path' | 'steps'>, prepared: Prepared): WalkedRun {
  const empty = emptyState(capture, prepared);
  return {
    path: capture.path,
    globalClip: prepared.setup.clipping.parts.some(({ rule }) => rule.scope === 'model'),
    empty: empty === null ? null : { before: empty.before, stored: empty.known === 'stored' },
  };
}

/** The part of a walk's settings that shows each step to the watchers. */
export function showSteps(
  { setup, tensors: start }: Prepared,
  watchers: readonly StepWatcher[],
): Required<Pick<FollowSettings, 'visit' | 'stepped' | 'observer'>> {
  const seen = (tensors: readonly TensorState[]): WalkedTensor[] =>
    tensors.map(({ name, shape, embedding, w, slots, stepsTaken, group }) => {
      const { optimizer, options } = setup.optimizers[group]!;
      const slot = slots.accumulator === undefined ? 'v' : 'accumulator';
      const values = slots[slot];
      const initial = optimizer.slots(options).find((one) => one.name === slot)?.initial ?? 0;
      return {
        name,
        shape,
        embedding,
        w,
        stepsTaken,
        second:
          values === undefined
            ? null
            : {
                values,
                initial,
                correction:
                  (stepsTaken > 0 ? optimizer.secondMomentCorrection?.(options, stepsTaken) : 1) ?? 1,
                keeps: slot === 'accumulator' ? 1 : keptShare(options),
              },
      };
    });
  const stepOf = (step: FollowedStep, tensors: readonly TensorState[]): WalkedStep => ({
    step: step.step,
    gradients: step.gradients,
    learningRates: tensors.map(({ group }) => step.learningRates[group]!),
  });
  return {
    visit: (_, step, tensors) => {
      const shown = seen(tensors);
      for (const watcher of watchers) watcher.before?.(shown, stepOf(step, tensors));
    },
    observer: {
      viewerOf(t) {
        const viewers = watchers.flatMap((watcher) => watcher.viewerOf?.(t) ?? []);
        if (viewers.length === 0) return undefined;
        return (movement) => {
          if (movement.length === start[t]!.w.length) for (const view of viewers) view(movement);
        };
      },
    },
    stepped: (_, step, tensors, { factors }) => {
      const shown = seen(tensors);
      for (const watcher of watchers) watcher.after?.(shown, stepOf(step, tensors), { factors });
    },
  };
}
