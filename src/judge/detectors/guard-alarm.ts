import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { SHARE } from '../../model/options.ts';
import { attemptOf, isRisk, type Run, type TimeSeries } from '../../model/run.ts';
import type { JudgedRun } from '../incidents/verdict.ts';
import { type Detector, findingAt, firstOf, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'The pulse says which tensor it was and what was done (`action`). A step that the guard let pass, because it only advises, is the one to look at: its batch, and the learning rate of that step.';

/** Alarms that follow each other step by step. */
export interface GuardAlarm {
  readonly series: TimeSeries;
  /** Indices into the whole series, both included. */
  readonly from: number;
  readonly to: number;
  /** Onset of the first incident from the first alarm on; undefined where the loss stays in its usual range. */
  readonly onset: number | undefined;
}

export const guardAlarm = {
  id: 'guard-alarm',
  title: 'The guard warned before a step was taken',
  severity: 'note',
  thresholds: [
    {
      name: 'risk',
      value: 0.9,
      unit: 'risk of a step',
      range: SHARE,
      origin: 'clip_at of clippy_diag.torch.Guard: no step of a well run of bench/guard is above it',
    },
  ],
  docs: {
    summary: 'The risk that a guard logged is high at a step, before that step was taken.',
    details: `\`risk\` is a column of the guard's pulse (docs/guard.md), between 0 and 1. Alarms at steps that follow each other are one finding. It says how many
steps ahead of the next incident of the loss the first one was: the loss of a step is computed before the step is taken, so that a step which harms shows in the loss of the one
after it at the earliest. Where no incident follows, the guard held the run, or the step was harmless: the losses do not tell which. Alarms have a risk of at least \`risk\`.`,
    advice,
    references: [],
  },
  detect(run, { judged, threshold }) {
    if (risksOf(run).length === 0) return notApplicable('the log has no risk of a guard');
    const alarms = guardAlarms(run, judged, threshold('risk'));
    return outcomeOf(firstOf(alarms, (alarm) => findingOf(run, alarm, threshold('risk'))));
  },
} as const satisfies Detector;

function findingOf(run: Run, alarm: GuardAlarm, limit: number) {
  const { series, from, to, onset } = alarm;
  const first = series.step.at(from)!;
  const until = to > from ? ` to ${series.step.at(to)}` : '';
  const ahead = onset === undefined ? 0 : onset - first;
  const followed =
    onset === undefined
      ? 'The loss then stays in its usual range'
      : ahead === 0
        ? 'The loss leaves its usual range at that same step'
        : `The loss leaves its usual range at ${run.stepUnit} ${onset}, ${countedPlain(ahead, run.stepUnit)} later`;
  const did = actionWords(guardActions(run, alarm));
  return findingAt(run, series, from, to, {
    id: 'guard-alarm',
    severity: 'note',
    message: `The guard warned at ${run.stepUnit} ${first}${until}, before the step was taken: "${series.name}" is ${formatNumber(series.value.at(from)!)}. ${did}${followed}.`,
    measured: quantity('risk', series.value.at(from)!, 'risk of a step'),
    threshold: quantity('risk', limit, 'risk of a step'),
    advice,
  });
}

const risksOf = (run: Run): readonly TimeSeries[] =>
  run.series.filter(
    (series) => isRisk(series) && series.value.every((v) => Number.isNaN(v) || (v >= 0 && v <= 1)),
  );

/**
 * The stretches of steps at which a guard warned, each with the first incident of the loss from there on.
 *
 * @param limit risk from which on a step is an alarm
 */
export function guardAlarms(run: Run, judged: Pick<JudgedRun, 'loss'>, limit: number): readonly GuardAlarm[] {
  return risksOf(run).flatMap((series) =>
    series.attemptOffsets.flatMap((offset, attempt) => {
      const { value, step } = attemptOf(series, attempt);
      const { incidents = [] } = judged.loss?.attempts[attempt] ?? {};
      const losses = judged.loss === null ? undefined : attemptOf(judged.loss.series, attempt);
      const onsets = incidents.map(({ onset }) => losses!.step.at(onset)!);
      const found: GuardAlarm[] = [];
      for (let i = 0; i < value.length; i++) {
        if (!(value.at(i)! >= limit)) continue;
        const from = i;
        while (value.at(i + 1)! >= limit) i++;
        const onset = onsets.filter((at) => at >= step.at(from)!).sort((a, b) => a - b)[0];
        found.push({ series, from: offset + from, to: offset + i, onset });
      }
      return found;
    }),
  );
}

/** How many steps a guard left out, clipped, took at a lowered rate, and took as they were. */
export interface GuardActions {
  readonly out: number;
  readonly clipped: number;
  readonly lowered: number;
  readonly taken: number;
}

/**
 * What the guard did at the steps of an alarm and while it kept the rate lowered after it, by the columns of its pulse.
 *
 * @returns null where the log has none of these columns
 */
export function guardActions(run: Run, { series: risk, from, to }: GuardAlarm): GuardActions | null {
  const [scale, rate] = ['guard_scale', 'guard_rate'].map((name) =>
    run.series.find((one) => one.name === name && one.value.length === risk.value.length),
  );
  if (scale === undefined) return null;
  const counts = { out: 0, clipped: 0, lowered: 0, taken: 0 };
  // At a lowered rate the risk is low again, and the guard still acts.
  let end = to;
  while (rate !== undefined && rate.value.at(end + 1)! < 1) end++;
  for (let i = from; i <= end; i++) {
    if (scale.value.at(i)! === 0) counts.out++;
    else if (scale.value.at(i)! < 1) counts.clipped++;
    else if (rate !== undefined && rate.value.at(i)! < 1) counts.lowered++;
    else counts.taken++;
  }
  return counts;
}

/** What a guard did, as a list: `2 left out, 1 clipped`. */
export const actionList = ({ out, clipped, lowered, taken }: GuardActions): string =>
  (
    [
      [out, 'left out'],
      [clipped, 'clipped'],
      [lowered, 'taken at a lower rate'],
      [taken, 'taken unchanged'],
    ] as const
  )
    .flatMap(([count, what]) => (count === 0 ? [] : [`${count} ${what}`]))
    .join(', ');

function actionWords(did: GuardActions | null): string {
  if (did === null) return '';
  const steps = did.out + did.clipped + did.lowered + did.taken;
  return `Of ${countedPlain(steps, 'step')}: ${actionList(did)}. `;
}
