import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { KnownFailure } from './failure.ts';
import { rateEvidence } from './log-evidence.ts';

/** Times the rate around them that a few rates are, points that they are at most, and steady ones on both sides. */
const [TIMES, MOST, AROUND] = [3, 20, 10];
/** Share within which the rate before and after is the same schedule. */
const STEADY = 0.05;

export const rateBlip: KnownFailure = {
  id: 'rate-raised-for-a-moment',
  title: 'The learning rate is far higher for a few steps',
  symptoms: ['learning rate', 'lr', 'spike of the learning rate', 'schedule', 'scheduler'],
  docs: {
    summary: 'The logged rate jumps up, and is back where it was a few points later.',
    evidence: `One to ${MOST} logged rates of an attempt are at least ${TIMES} times the one before them; the ${AROUND} before and the ${AROUND} after are one schedule: neighbours differ by less than ${100 * STEADY} %, and so do the last one before and the first one after. It happens once, and the loss has no incident.`,
    notThis:
      'A schedule with restarts or cycles, whose rate comes down step by step; a rise before an incident (`rate-raised`).',
    whatToDo:
      'Find what set the rate: a scheduler that was called with another step, a value that was typed in and taken back. The loss held; the same may break it where the surface is steeper.',
  },
  look({ run, rates, onsetStep }) {
    if (rates === null || onsetStep !== null) return null;
    const [blip, ...more] = blipsIn(rates.value);
    if (blip === undefined || more.length > 0) return null;
    const [first, last] = [rates.step.at(blip.from)!, rates.step.at(blip.to)!];
    const value = rates.value.at(blip.from)!;
    const before = rates.value.at(blip.from - 1)!;
    const factor = value / before;
    const statement = `the learning rate is ${formatNumber(factor, 'brief')}-fold, ${formatNumber(value)}, from ${run.stepUnit} ${first} to ${last}, and ${formatNumber(before)} before and after`;
    return {
      trigger: 'learning-rate',
      confidence: 'likely',
      lead: 'the learning rate was wrong for a moment',
      step: first,
      factor,
      statement: `${statement}; no schedule does that, and the loss shows no incident`,
      evidence: [rateEvidence(statement, value, first)],
      remedy: {
        action: 'restore-schedule',
        statement: `find what set the rate at ${run.stepUnit} ${first}; the rates of the schedule, printed for these steps, confirm it: they are near ${formatNumber(before)}`,
      },
    };
  },
};

/** Positions of the first and the last of a few rates far above a schedule that goes on after them. */
function blipsIn(rates: Column): { readonly from: number; readonly to: number }[] {
  const isNear = (a: number, b: number): boolean =>
    Math.abs(a - b) <= STEADY * Math.min(Math.abs(a), Math.abs(b));
  const isSteady = (from: number, to: number): boolean => {
    for (let i = from + 1; i < to; i++) if (!isNear(rates.at(i)!, rates.at(i - 1)!)) return false;
    return rates.at(from)! > 0;
  };
  const found = [];
  for (let from = AROUND; from + AROUND < rates.length; from++) {
    const before = rates.at(from - 1)!;
    if (!(rates.at(from)! >= TIMES * before) || !isSteady(from - AROUND, from)) continue;
    let end = from;
    while (end < rates.length && rates.at(end)! >= TIMES * before) end++;
    if (end - from > MOST || end + AROUND > rates.length) continue;
    if (isNear(rates.at(end)!, before) && isSteady(end, end + AROUND)) found.push({ from, to: end - 1 });
  }
  return found;
}
