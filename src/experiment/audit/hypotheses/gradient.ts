/** The gradient that the step used is a multiple of the recorded one: accumulation that is summed, or divided twice. */
import { clipFactor } from '../declared.ts';
import { bestFactor, fitOf } from '../evaluate.ts';
import type { Course } from '../simulate.ts';
import { type Candidate, factorWords, type Hypothesis, NO_FACTOR } from './hypothesis.ts';

export const gradientTimes: Hypothesis = ({ clip, declared, survey, few, to }) => {
  const { norms } = survey;
  const course = (times: number): Course => ({
    ...declared,
    factor: (step, tensor) => {
      const own = Math.sqrt(survey.gradients[step]![tensor]?.squares ?? 0);
      const norm = clip?.scope === 'tensor' ? own : norms[step]!;
      return times * (clip === null ? 1 : clipFactor(clip, norm, times));
    },
  });
  const { factor } = bestFactor((k) => fitOf(few, course(k), to).deviation);
  if (Math.abs(factor - 1) < NO_FACTOR) return [];
  const summed = factor > 1;
  const base: Pick<Candidate, 'event' | 'global' | 'at'> = { event: false, global: true, at: null };
  return [
    {
      ...base,
      cause: summed ? 'not-divided' : 'divided-twice',
      factor,
      course: course(factor),
      statement: `the step used ${factorWords(factor)} times the recorded gradient`,
      fix: summed
        ? 'divide the loss of each micro-batch by their number, once, before backward()'
        : 'divide by the number of micro-batches (or ranks) once: the framework or the loop, not both',
    },
  ];
};
