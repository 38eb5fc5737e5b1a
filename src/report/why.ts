/** Why, and what would have prevented it, in the few sentences of the verdict. */
import type { Remedy } from '../model/cause.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { RunReport } from '../model/report.ts';
import { rowsWords } from '../model/rows-words.ts';
import { stretchWords } from '../model/stretches.ts';
import { ruleOrder } from '../step/rules/order.ts';
import { causeWords, isTold } from './cause-words.ts';
import { otherThresholds } from './finding-words.ts';

/** The curvature of the whole model and loss that has a limit. */
export const ratiosOf = (run: RunReport): RunReport['curvature'] =>
  run.curvature.filter(
    ({ stability, block, task }) => stability.ratio !== null && block === 'all' && task === 'all',
  );

/** Remedies that are named where several hold. */
const NAMED = 3;

const NAMES: Partial<Record<Remedy['action'], string>> = {
  'fix-data': 'data as before',
  'restore-optimizer-state': 'old optimizer state',
  // What is tried is this; bfloat16 has its range too.
  'raise-precision': 'float32',
};

/** The batches that were left out: `batches 84, 90 to 92 and 104`. */
function batchesWords(run: Pick<RunReport, 'replay'>, [first, last]: readonly [number, number]): string {
  const steps = run.replay.find(({ arm }) => arm?.kind === 'skip-batches')?.arm?.steps;
  if (steps === undefined || steps.length === 0)
    return first === last
      ? `bad batch ${formatCount(first)}`
      : `bad batches ${formatCount(first)} to ${formatCount(last)}`;
  const { text, all } = stretchWords(steps);
  if (!all) return `${formatCount(steps.length)} bad batches ${text}`;
  return `${first === last ? 'bad batch' : 'bad batches'} ${text}`;
}

/** A remedy of a run as a table has it. */
export function remedyName(
  { action, rule, skipSteps, skipRows, learningRate, learningRateFactor, weightDecayFactor }: Remedy,
  run: Pick<RunReport, 'replay'>,
): string {
  if (action === 'clip' && rule !== null) return ruleOrder(rule);
  if (action === 'skip-batches' && skipSteps !== null) return `skip ${batchesWords(run, skipSteps)}`;
  if (action === 'skip-rows' && skipRows) return `skip ${rowsWords(skipRows)}`;
  if (action === 'lower-learning-rate')
    return learningRate === null
      ? `learning rate × ${formatNumber(learningRateFactor ?? Number.NaN, 'brief')}`
      : `learning rate ${formatNumber(learningRate)}`;
  if (action === 'lower-weight-decay' && weightDecayFactor !== undefined)
    return weightDecayFactor === 0
      ? 'weight decay 0'
      : `weight decay × ${formatNumber(weightDecayFactor, 'brief')}`;
  return NAMES[action] ?? action;
}

/** What makes an order of such a name. */
const ORDERS: Partial<Record<Remedy['action'], string>> = {
  'lower-learning-rate': 'train on with ',
  'lower-weight-decay': 'train on with ',
  'fix-data': 'train on with ',
  'restore-optimizer-state': 'put back the ',
  'raise-precision': 'train in ',
};

/** A remedy in a sentence. */
export const remedyWords = (remedy: Remedy, run: Pick<RunReport, 'replay'>): string => {
  // A schedule sets the rate anew at each step, and what raised the decay from 0 does so again.
  const kept = remedy.action === 'lower-learning-rate' && remedy.learningRate !== null;
  const none = remedy.action === 'lower-weight-decay' && remedy.weightDecayFactor === 0;
  const whatever = kept ? ' whatever the schedule says' : none ? ' at every step, whatever sets it' : '';
  return `${ORDERS[remedy.action] ?? ''}${remedyName(remedy, run)}${whatever}`;
};

/**
 * One sentence on thresholds that are not the defaults, one on the cause and one on what would have prevented it; unknown
 * parts are left out.
 */
export function whySentences(run: RunReport): string[] {
  const { cause, remedies = [] } = run;
  const thresholds = otherThresholds(run);
  const held = remedies.filter(({ holds, action }) => holds === true && action !== 'none-needed');
  const [first] = remedies;
  const more = held.length - NAMED;
  return [
    ...(thresholds === null ? [] : [thresholds]),
    ...(cause === undefined || !isTold(cause) ? [] : [`why: ${inertName(causeWords(cause))}`]),
    ...(first?.action === 'none-needed' && cause?.onsetStep != null
      ? [`to do: ${inertName(first.statement)}`]
      : held.length === 0
        ? []
        : [
            `would have prevented it, tried: ${held
              .slice(0, NAMED)
              .map((remedy) => inertName(remedyWords(remedy, run)))
              .join('; ')}${more > 0 ? `; and ${more} more` : ''}`,
          ]),
  ];
}
