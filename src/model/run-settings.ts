/** What the hyperparameters of a run say of its optimizer and its clipping. Keys and values are untrusted text. */
import type { Run } from './run.ts';

type Hyperparameters = Run['hyperparameters'];

/** Names under which trainers keep the limit of the global norm. */
const LIMIT_NAMES = [
  'max_grad_norm',
  'grad_clip',
  'gradient_clip_val',
  'gradient_clipping',
  'clip_grad',
  'clip_grad_norm',
  'clip_norm',
  'clipnorm',
  'global_clipnorm',
  'max_norm',
];

/** Names under which trainers keep the optimizer. */
const OPTIMIZER_NAMES = ['optim', 'optimizer', 'optimizer_name', 'optimizer_type', 'opt', 'optim_type'];

const lastPart = (name: string): string => name.split(/[./]/).at(-1)!.toLowerCase();

/** The limit of the global gradient norm, above 0; undefined where none is named. */
export function clipLimitOf(hyperparameters: Hyperparameters): number | undefined {
  for (const [name, value] of hyperparameters)
    if (LIMIT_NAMES.includes(lastPart(name)) && typeof value === 'number' && value > 0) return value;
  return undefined;
}

/**
 * The optimizer in lower case as it was logged (`adamw_torch`, `adagrad`); undefined where none is named. `optimizer.name`
 * counts too.
 */
export function optimizerNameOf(hyperparameters: Hyperparameters): string | undefined {
  for (const [name, value] of hyperparameters) {
    const own = OPTIMIZER_NAMES.includes(lastPart(name));
    const nested = /(?:^|[./])optim(?:izer)?[./](?:name|type|class_name|_target_)$/i.test(name);
    if ((own || nested) && typeof value === 'string' && value !== '') return value.toLowerCase();
  }
  return undefined;
}
