/** The learning rate that was used is a multiple of the recorded one. */
import { bestFactor, fitOf } from '../evaluate.ts';
import type { Course } from '../simulate.ts';
import { factorWords, type Hypothesis, NO_FACTOR } from './hypothesis.ts';

export const rateFactor: Hypothesis = ({ capture, declared, few, to }) => {
  const course = (times: number): Course => ({
    ...declared,
    rate: (step, group) => times * declared.rate(step, group),
    // The decay of decoupled optimizers is multiplied by the rate and changes with it.
  });
  const { factor } = bestFactor((k) => fitOf(few, course(k), to).deviation);
  if (Math.abs(factor - 1) < NO_FACTOR) return [];
  const groups = [...new Set(few.map(({ group }) => group))];
  const whose =
    groups.length < capture.manifest.optimizers.length ? ` in parameter group ${groups.join(', ')}` : '';
  return [
    {
      cause: 'rate-factor',
      event: false,
      global: false,
      at: null,
      factor,
      course: course(factor),
      statement: `the weights move ${factorWords(factor)} times as far as the learning rate of optimizer.param_groups gives${whose}`,
      fix: 'look for a second factor on the learning rate or the update: a scheduler that writes after record(), a scaled update, optimizer.step() called more than once a step',
    },
  ];
};
