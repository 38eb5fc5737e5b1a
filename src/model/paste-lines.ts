/**
 * Lines for the user's own training script, by training loop: what is known about trainers, held as data. A new trainer is one entry
 * here and its name in training-loop.ts. A number replaces `{{name}}`. A line that a loop does not have is left out.
 */
import type { TrainingLoop } from './training-loop.ts';

/** What a line does. Those of `clip …` take the options of their rule by name. */
export type PastePurpose =
  | 'clip global-norm'
  /** The largest magnitude in place of the Euclidean norm. */
  | 'clip global-norm inf'
  | 'clip layer-norm'
  | 'clip value'
  | 'clip agc'
  /** Sets {{rate}} for every parameter group. */
  | 'rate'
  /** Sets {{rates}}, comma-separated, one for each parameter group. */
  | 'rate by group'
  /** Multiplies the rate that the script has by {{factor}}. */
  | 'rate factor'
  /** Multiplies the weight decay that the script has by {{factor}}. */
  | 'decay factor'
  /** Leaves out the batch of step {{first}}. */
  | 'skip step'
  /** Leaves out the batches of the steps {{first}} to {{last}}; {{end}} is the step after them. */
  | 'skip range'
  /** Leaves out the batches of {{steps}}, comma-separated. */
  | 'skip steps'
  /** Leaves out the rows with {{ids}}, comma-separated, of every batch; `ids` are those of the batch's rows. */
  | 'skip rows';

type TrainerLines = Readonly<Partial<Record<PastePurpose, string>>>;

/** A loop in Python that draws its batches itself. Trainers that draw them take a skip list instead. */
const OWN_LOOP: TrainerLines = {
  'skip step': 'if step == {{first}}: continue',
  'skip range': 'if step in range({{first}}, {{end}}): continue',
  'skip steps': 'if step in {{{steps}}}: continue',
  'skip rows':
    'keep = [row for row, id in enumerate(ids) if id not in {{{ids}}}]  # of each batch, before it is used',
};

/** Optimizers with parameter groups that the script holds. */
const OWN_GROUPS: TrainerLines = {
  rate: 'for group in optimizer.param_groups: group["lr"] = {{rate}}',
  'rate by group': 'for group, rate in zip(optimizer.param_groups, [{{rates}}]): group["lr"] = rate',
  'rate factor': 'for group in optimizer.param_groups: group["lr"] *= {{factor}}',
  'decay factor': 'for group in optimizer.param_groups: group["weight_decay"] *= {{factor}}',
};

/**
 * Trainers that load a checkpoint bring rate, schedule and decay of before back with it, so theirs are set at each step. A group keeps
 * its first decay, so that a second resume lowers it no further.
 */
const LIGHTNING_HOOK = 'def on_before_optimizer_step(self, optimizer):  # of the LightningModule';
const LIGHTNING_DECAY = `${LIGHTNING_HOOK}
    for g in optimizer.param_groups:
        g["weight_decay"] = {{factor}} * g.setdefault("first_decay", g["weight_decay"])`;

const KERAS: TrainerLines = {
  'clip global-norm': 'global_clipnorm={{maxNorm}},  # in the optimizer',
  'clip layer-norm': 'clipnorm={{maxNorm}},  # in the optimizer',
  'clip value': 'clipvalue={{clipValue}},  # in the optimizer',
  rate: 'optimizer.learning_rate = {{rate}}',
  'rate factor': 'optimizer.learning_rate = optimizer.learning_rate * {{factor}}',
  'decay factor': 'optimizer.weight_decay *= {{factor}}',
};

export const PASTE_LINES: Readonly<Record<TrainingLoop, TrainerLines>> = {
  torch: {
    ...OWN_LOOP,
    ...OWN_GROUPS,
    'clip global-norm': 'torch.nn.utils.clip_grad_norm_(model.parameters(), {{maxNorm}})',
    'clip global-norm inf':
      'torch.nn.utils.clip_grad_norm_(model.parameters(), {{maxNorm}}, norm_type=float("inf"))',
    'clip layer-norm': 'for p in model.parameters(): torch.nn.utils.clip_grad_norm_(p, {{maxNorm}})',
    'clip value': 'torch.nn.utils.clip_grad_value_(model.parameters(), {{clipValue}})',
  },
  accelerate: {
    ...OWN_LOOP,
    ...OWN_GROUPS,
    'clip global-norm':
      'if accelerator.sync_gradients: accelerator.clip_grad_norm_(model.parameters(), {{maxNorm}})',
    'clip global-norm inf':
      'if accelerator.sync_gradients: accelerator.clip_grad_norm_(model.parameters(), {{maxNorm}}, norm_type=float("inf"))',
    'clip value':
      'if accelerator.sync_gradients: accelerator.clip_grad_value_(model.parameters(), {{clipValue}})',
  },
  transformers: {
    'clip global-norm': 'max_grad_norm={{maxNorm}},  # in TrainingArguments(...)',
    rate: `class Rate(transformers.TrainerCallback):
    def on_step_begin(self, *_, optimizer, **__):
        for g in optimizer.param_groups: g["lr"] = {{rate}}
trainer.add_callback(Rate())`,
    'rate by group': `class Rate(transformers.TrainerCallback):
    def on_step_begin(self, *_, optimizer, **__):
        for g, rate in zip(optimizer.param_groups, [{{rates}}]): g["lr"] = rate
trainer.add_callback(Rate())`,
    'rate factor': `class Rate(transformers.TrainerCallback):
    def on_step_begin(self, *_, optimizer, lr_scheduler, **__):
        for g, rate in zip(optimizer.param_groups, lr_scheduler.get_last_lr()):
            g["lr"] = {{factor}} * rate
trainer.add_callback(Rate())`,
    'decay factor': `class Decay(transformers.TrainerCallback):
    def on_step_begin(self, *_, optimizer, **__):
        for g in optimizer.param_groups:
            g["weight_decay"] = {{factor}} * g.setdefault("first_decay", g["weight_decay"])
trainer.add_callback(Decay())`,
  },
  lightning: {
    'clip global-norm': 'gradient_clip_val={{maxNorm}},  # in Trainer(...)',
    'clip value': 'gradient_clip_val={{clipValue}}, gradient_clip_algorithm="value",  # in Trainer(...)',
    rate: `${LIGHTNING_HOOK}
    for g in optimizer.param_groups: g["lr"] = {{rate}}`,
    'rate by group': `${LIGHTNING_HOOK}
    for g, rate in zip(optimizer.param_groups, [{{rates}}]): g["lr"] = rate`,
    'rate factor': `def optimizer_step(self, *args, **kwargs):  # of the LightningModule
    for g in self.optimizers().param_groups: g["lr"] *= {{factor}}
    super().optimizer_step(*args, **kwargs)
    for g in self.optimizers().param_groups: g["lr"] /= {{factor}}`,
    'decay factor': LIGHTNING_DECAY,
  },
  /** Several optimizers, each with groups of its own: no line sets a rate by group. */
  'lightning-manual': {
    'clip global-norm': `${LIGHTNING_HOOK}
    self.clip_gradients(optimizer, gradient_clip_val={{maxNorm}}, gradient_clip_algorithm="norm")`,
    'clip value': `${LIGHTNING_HOOK}
    self.clip_gradients(optimizer, gradient_clip_val={{clipValue}}, gradient_clip_algorithm="value")`,
    rate: `${LIGHTNING_HOOK}
    for g in optimizer.param_groups: g["lr"] = {{rate}}`,
    'rate factor': `def on_train_start(self):  # of the LightningModule
    def times(factor, optimizer):
        for g in optimizer.param_groups: g["lr"] *= factor
    for o in self.trainer.optimizers:
        o.register_step_pre_hook(lambda o, *_: times({{factor}}, o))
        o.register_step_post_hook(lambda o, *_: times(1 / {{factor}}, o))`,
    'decay factor': LIGHTNING_DECAY,
  },
  keras: { ...OWN_LOOP, ...KERAS },
  'keras-fit': KERAS,
  jax: {
    ...OWN_LOOP,
    'clip global-norm': 'optimizer = optax.chain(optax.clip_by_global_norm({{maxNorm}}), optimizer)',
    'clip value': 'optimizer = optax.chain(optax.clip({{clipValue}}), optimizer)',
    'clip agc': 'optimizer = optax.chain(optax.adaptive_grad_clip({{clipping}}, {{epsilon}}), optimizer)',
    rate: 'learning_rate={{rate}},  # of the optimizer',
    'rate factor': 'optimizer = optax.chain(optimizer, optax.scale({{factor}}))',
  },
  tfjs: {
    // SGD reads its rate from a tensor of its own.
    rate: 'optimizer.setLearningRate?.({{rate}}) ?? (optimizer.learningRate = {{rate}});',
    'skip step': 'if (step === {{first}}) continue;',
    'skip range': 'if (step >= {{first}} && step <= {{last}}) continue;',
    'skip steps': 'if ([{{steps}}].includes(step)) continue;',
    'skip rows': 'const keep = ids.flatMap((id, row) => ([{{ids}}].includes(id) ? [] : [row]));',
  },
};

/**
 * A line with its numbers.
 *
 * @param loop null or undefined where it is not known whose loop it is: its batches can be left out all the same, in Python
 * @param values by the names that the line has in braces
 * @returns null where the loop has no line for the purpose
 * @throws Error where the line has a name that `values` lacks
 */
export function pasteLine(
  loop: TrainingLoop | null,
  purpose: PastePurpose,
  values: Readonly<Record<string, unknown>>,
): string | null {
  const line = (loop === null ? OWN_LOOP : PASTE_LINES[loop])[purpose];
  if (line === undefined) return null;
  return line.replace(/\{\{(\w+)\}\}/g, (_, name: string) => {
    if (!Object.hasOwn(values, name)) throw new Error(`"${purpose}" has no ${name}`);
    return String(values[name]);
  });
}
