/** Lines for the user's own training script. */
import { DIGITS } from '../../model/format-number.ts';
import type { TrainingLoop } from '../../model/training-loop.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';

/** The clipping of a rule; null where the loop has no line for it. */
export function pasteRule({ parts }: RuleChoice, loop: TrainingLoop | null): string | null {
  const lines = parts
    .filter(({ rule }) => !rule.identity)
    .map(({ rule, options }) => (loop === null ? undefined : rule.paste?.(options)[loop]));
  return lines.length === 0 || lines.includes(undefined) ? null : lines.join('\n');
}

const inDigits = (rate: number): number => Number(rate.toPrecision(DIGITS.glance));

/** Sets the rate of every parameter group; each its own, where they are several. */
const setGroups = (name: string, rates: readonly number[]): string =>
  rates.length === 1
    ? `for ${name} in optimizer.param_groups: ${name}["lr"] = ${rates[0]}`
    : `for ${name}, rate in zip(optimizer.param_groups, [${rates.join(', ')}]): ${name}["lr"] = rate`;

/** Lightning calls it in automatic and in manual optimization. */
const setRate = (rates: readonly number[]): string =>
  `def on_before_optimizer_step(self, optimizer):  # of the LightningModule\n    ${setGroups('g', rates)}`;

/** What each group's learning rate is of the first's, at the first recorded step; 1 alone where they are alike. */
export function groupShares(
  steps: readonly { readonly learningRates: readonly number[] }[],
): readonly number[] {
  const [first, ...others] = steps[0]?.learningRates ?? [];
  if (!first || others.every((rate) => rate === first)) return [1];
  return [1, ...others.map((rate) => rate / first)];
}

/**
 * A lower rate: absolute where it is known, in the digits that a sentence has, else a factor. Trainers that load a checkpoint bring the
 * rate and the schedule of before back with it, so that theirs is set at each step.
 *
 * @param shares of the groups, see `groupShares`
 */
export function pasteRate(
  loop: TrainingLoop | null,
  rate: number | null,
  factor: number | null,
  shares: readonly number[] = [1],
): string | null {
  const number = rate === null ? null : inDigits(rate);
  const rates = rate === null ? [] : shares.map((share) => inDigits(rate * share));
  // Of several optimizers each has groups of its own, and of one rate nobody else knows groups.
  const grouped =
    loop === 'torch' || loop === 'accelerate' || loop === 'lightning' || loop === 'transformers';
  if (rates.length > 1 && !grouped) return null;
  const value = number === null ? `*= ${factor}` : `= ${number}`;
  switch (loop) {
    case 'torch':
    case 'accelerate':
      return rate === null
        ? `for group in optimizer.param_groups: group["lr"] ${value}`
        : setGroups('group', rates);
    case 'lightning':
      return number === null
        ? [
            'def optimizer_step(self, *args, **kwargs):  # of the LightningModule',
            `    for g in self.optimizers().param_groups: g["lr"] *= ${factor}`,
            '    super().optimizer_step(*args, **kwargs)',
            `    for g in self.optimizers().param_groups: g["lr"] /= ${factor}`,
          ].join('\n')
        : setRate(rates);
    case 'lightning-manual':
      return number === null
        ? [
            'def on_train_start(self):  # of the LightningModule',
            '    def times(factor, optimizer):',
            '        for g in optimizer.param_groups: g["lr"] *= factor',
            '    for o in self.trainer.optimizers:',
            `        o.register_step_pre_hook(lambda o, *_: times(${factor}, o))`,
            `        o.register_step_post_hook(lambda o, *_: times(1 / ${factor}, o))`,
          ].join('\n')
        : setRate(rates);
    case 'transformers':
      return [
        'class Rate(transformers.TrainerCallback):',
        ...(number === null
          ? [
              '    def on_step_begin(self, *_, optimizer, lr_scheduler, **__):',
              '        for g, rate in zip(optimizer.param_groups, lr_scheduler.get_last_lr()):',
              `            g["lr"] = ${factor} * rate`,
            ]
          : ['    def on_step_begin(self, *_, optimizer, **__):', `        ${setGroups('g', rates)}`]),
        'trainer.add_callback(Rate())',
      ].join('\n');
    case 'keras':
    case 'keras-fit':
      return rate === null
        ? `optimizer.learning_rate = optimizer.learning_rate * ${factor}`
        : `optimizer.learning_rate = ${number}`;
    case 'jax':
      return rate === null
        ? `optimizer = optax.chain(optimizer, optax.scale(${factor}))`
        : `learning_rate=${number},  # of the optimizer`;
    case 'tfjs':
      // That of SGD reads its rate from a tensor of its own.
      return rate === null
        ? null
        : `optimizer.setLearningRate?.(${number}) ?? (optimizer.learningRate = ${number});`;
    default:
      return null;
  }
}

/**
 * A lower weight decay of every group; null where it stands in the call that makes the optimizer. Trainers that load a checkpoint bring
 * that of before back with it, so that theirs is set later, from the first one, which a group keeps: a second resume lowers it no further.
 */
export function pasteDecay(loop: TrainingLoop | null, factor: number): string | null {
  switch (loop) {
    case 'torch':
    case 'accelerate':
      return `for group in optimizer.param_groups: group["weight_decay"] *= ${factor}`;
    case 'lightning':
    case 'lightning-manual':
      return [
        'def on_before_optimizer_step(self, optimizer):  # of the LightningModule',
        '    for g in optimizer.param_groups:',
        `        g["weight_decay"] = ${factor} * g.setdefault("first_decay", g["weight_decay"])`,
      ].join('\n');
    case 'transformers':
      return [
        'class Decay(transformers.TrainerCallback):',
        '    def on_step_begin(self, *_, optimizer, **__):',
        '        for g in optimizer.param_groups:',
        `            g["weight_decay"] = ${factor} * g.setdefault("first_decay", g["weight_decay"])`,
        'trainer.add_callback(Decay())',
      ].join('\n');
    case 'keras':
    case 'keras-fit':
      return `optimizer.weight_decay *= ${factor}`;
    default:
      return null;
  }
}

/** Trainers that draw batches by themselves: the skip list is for their data. */
const OWN_BATCHES: readonly TrainingLoop[] = ['transformers', 'lightning', 'lightning-manual', 'keras-fit'];

/** Batches to leave out, as the training loop counts steps; a range where the steps follow one another. */
export function pasteSkip(loop: TrainingLoop | null, steps: readonly number[]): string | null {
  if (loop !== null && OWN_BATCHES.includes(loop)) return null;
  const [first, last] = [steps[0]!, steps.at(-1)!];
  const inRow = last - first + 1 === steps.length;
  if (loop === 'tfjs')
    return inRow
      ? first === last
        ? `if (step === ${first}) continue;`
        : `if (step >= ${first} && step <= ${last}) continue;`
      : `if ([${steps.join(', ')}].includes(step)) continue;`;
  if (first === last) return `if step == ${first}: continue`;
  const which = inRow ? `range(${first}, ${last + 1})` : `{${steps.join(', ')}}`;
  return `if step in ${which}: continue`;
}
