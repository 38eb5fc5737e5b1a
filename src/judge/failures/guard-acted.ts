import { formatNumber } from '../../model/format-number.ts';
import { actionList, type GuardActions, guardActions, guardAlarms } from '../detectors/guard-alarm.ts';
import type { KnownFailure } from './failure.ts';

/** Risk from which on a step is an alarm. */
const ALARM = 0.9;
/** Steps that are listed one by one. */
const LISTED = 5;

export const guardActed: KnownFailure = {
  id: 'guard-acted',
  title: 'The guard changed steps, and the loss stayed in its usual range',
  symptoms: ['guard', 'risk', 'skipped step', 'left out', 'lower-rate', 'prevented', 'saved'],
  docs: {
    summary: 'A guard left out, clipped or slowed steps that it warned of, and the loss stayed as it was.',
    evidence: `The pulse of a guard: a risk of ${ALARM} or more, a scale below 1 or a lowered rate at those steps, and no incident of the loss from there on.`,
    notThis:
      'A guard that only advises: it changes no step. A guard that acted while the loss left its range all the same: then the incident leads. Whether a step that was left out would have done harm is not in the log.',
    whatToDo:
      'Look at the batches of these steps: many of them at one place are bad data, many of them to the end are a rate that is too high. A recorded capture of such a step, replayed without the guard, shows what it would have done.',
  },
  look({ run, judged, onsetStep }) {
    if (judged === null || onsetStep !== null) return null;
    const acted = guardAlarms(run, judged, ALARM).flatMap((alarm) => {
      const did = guardActions(run, alarm);
      return did === null || did.out + did.clipped + did.lowered === 0 ? [] : [{ alarm, did }];
    });
    const [first] = acted;
    if (first === undefined) return null;
    const { series, from } = first.alarm;
    const step = series.step.at(from)!;
    const did = acted.reduce<GuardActions>(
      (sum, { did: one }) => ({
        out: sum.out + one.out,
        clipped: sum.clipped + one.clipped,
        lowered: sum.lowered + one.lowered,
        taken: sum.taken + one.taken,
      }),
      { out: 0, clipped: 0, lowered: 0, taken: 0 },
    );
    const places = acted.slice(0, LISTED).map(({ alarm }) => series.step.at(alarm.from)!);
    const more = acted.length > LISTED ? ` and ${acted.length - LISTED} more places` : '';
    const statement = `the guard warned at ${run.stepUnit} ${places.map((one) => formatNumber(one)).join(', ')}${more} (steps: ${actionList(did)})`;
    return {
      trigger: 'none-found',
      confidence: null,
      step,
      statement: `${statement}; the loss stayed in its usual range; whether it would have done so without the guard is not in the log`,
      evidence: [
        {
          id: 'skipped-steps',
          statement,
          value: did.out + did.clipped + did.lowered,
          unit: 'steps',
          usual: null,
          at: { step, batchStep: step },
        },
      ],
      remedy: {
        action: 'none-needed',
        statement: `nothing now; look at the batches of the steps that the guard changed, from ${run.stepUnit} ${formatNumber(step)} on`,
      },
    };
  },
};
