/** Changes that the record states outright: an option of a group, its learning rate, a tensor that is trained from a step on. */

import { raisedRate } from '../../judge/failures/rates.ts';
import { formatNumber } from '../../model/format-number.ts';
import { changeWords, type OptionChange, optionWords, textOf } from '../../model/option-change.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { Capture } from '../../read/captures/read.ts';
import { optionChanges } from '../replay/written-options.ts';
import type { Change } from './change.ts';

/** One position for each tensor: the first step at which it had a gradient; null where it never had one. */
export type TrainedFrom = readonly {
  readonly name: string;
  readonly group: number;
  readonly from: number | null;
}[];

/**
 * @param trained of each tensor the first step at which it had a gradient
 * @returns the changes in the order of their steps, each with the position of its step
 */
export function recordedSettings({ steps }: Pick<Capture, 'steps'>, trained: TrainedFrom): Change[] {
  const written = optionChanges(steps).map((change) => settingOf(change, steps[change.at]!));
  const found = [...written, ...raisedGroups(steps), ...unfrozen(steps, trained)];
  return found.sort((a, b) => a.from - b.from);
}

type Steps = Capture['steps'];

/** An option that was written into a group: weight decay is a cause of its own, any other one is code that writes to the optimizer. */
function settingOf(change: OptionChange, { step }: Steps[number]): Change {
  const { at: from, group, name, was, is } = change;
  const isDecay = name === 'weightDecay';
  const words = optionWords(name);
  const times = typeof was === 'number' && typeof is === 'number' && was !== 0 ? Math.abs(is / was) : null;
  return {
    trigger: isDecay ? 'weight-decay' : 'code',
    from,
    size: times === null ? Number.POSITIVE_INFINITY : Math.max(times, 1 / times),
    written: true,
    ...(isDecay
      ? {}
      : {
          setBack: {
            words: `${words} of parameter group ${group} at ${textOf(was)}`,
            rate: null,
            rates: (recorded) => recorded,
          },
        }),
    // From no decay at all back to none.
    ...(isDecay && (was === 0 || (times !== null && times > 1))
      ? { decayFactor: times === null ? 0 : 1 / times }
      : {}),
    evidence: {
      id: isDecay ? 'weight-decay' : 'option',
      statement: changeWords(change, step),
      value: typeof is === 'number' ? is : null,
      unit: words,
      usual: null,
      at: { step, batchStep: null },
    },
  };
}

/** Rates of groups other than the first, whose own is compared with the experiments. */
function raisedGroups(steps: Steps): Change[] {
  const groups = steps[0]?.learningRates.length ?? 0;
  const found: Change[] = [];
  for (let group = 1; group < groups; group++) {
    const rates = Float64Array.from(steps, ({ learningRates }) => learningRates[group] ?? Number.NaN);
    const at = rates.findIndex((_, i) => i > 0 && raisedRate(rates, i)?.from === i);
    const raised = at < 0 ? null : raisedRate(rates, at);
    // A schedule that raises all of them is that of the first.
    const shares = steps.map(({ learningRates }) => learningRates[group]! / learningRates[0]!);
    if (raised === null || !(shares[raised.from]! > 1.01 * shares[raised.from - 1]!)) continue;
    const { step } = steps[raised.from]!;
    const share = shares[raised.from - 1]!;
    found.push({
      trigger: 'learning-rate',
      from: raised.from,
      size: raised.times,
      written: true,
      setBack: {
        words: `the learning rate of parameter group ${group} at ${formatNumber(raised.before)}`,
        rate: raised.before,
        rates: (recorded) => recorded.with(group, Math.min(recorded[group]!, share * recorded[0]!)),
      },
      evidence: {
        id: 'learning-rate',
        statement: `the learning rate of parameter group ${group} is ${formatNumber(rates[raised.from]!)} at step ${step} and was ${formatNumber(raised.before)} before`,
        value: rates[raised.from]!,
        unit: 'learning rate',
        usual: null,
        at: { step, batchStep: null },
      },
    });
  }
  return found;
}

/** Tensors that had no gradient before a step and have one from there on: their rate was 0, and is that of their group. */
function unfrozen(steps: Steps, trained: TrainedFrom): Change[] {
  const starts = [...new Set(trained.flatMap(({ from }) => (from === null || from === 0 ? [] : [from])))];
  return starts.map((from): Change => {
    const own = trained.filter((one) => one.from === from);
    const { step, learningRates } = steps[from]!;
    const rates = [...new Set(own.map(({ group }) => learningRates[group] ?? Number.NaN))];
    const others = trained.filter((one) => one.from !== null && one.from < from);
    const before = medianOf(others.map(({ group }) => learningRates[group] ?? Number.NaN));
    const [first, ...more] = own;
    const names = `"${first!.name}"${more.length === 0 ? ' is' : ` and ${more.length} more are`}`;
    const beside = Number.isFinite(before)
      ? `, against ${formatNumber(before)} of those that were trained before`
      : '';
    const rate = Math.max(...rates);
    const groups = new Set(own.map(({ group }) => group));
    const apart = Number.isFinite(before) && rate > before && !others.some(({ group }) => groups.has(group));
    return {
      trigger: 'learning-rate',
      from,
      size: Number.isFinite(before) ? Math.max(1, rate / before) : 1,
      written: true,
      ...(apart
        ? {
            setBack: {
              words: `the learning rate of what is trained from step ${step} on at ${formatNumber(before)}, as that of the others,`,
              rate: before,
              rates: (recorded: readonly number[]) =>
                recorded.map((one, group) => (groups.has(group) ? Math.min(one, before) : one)),
            },
          }
        : {}),
      evidence: {
        id: 'learning-rate',
        statement: `${names} trained from step ${step} on, and had no gradient before; the learning rate there is ${formatNumber(rate)}${beside}`,
        value: rate,
        unit: 'learning rate',
        usual: null,
        at: { step, batchStep: null },
      },
    };
  });
}
