/** What a checkpoint says of the training that wrote it: its optimizer, and the clipping that a Keras optimizer holds. */
import type { InspectedCheckpoint } from '../../model/checkpoint.ts';

/** Keys of PyTorch's `param_groups` that only one optimizer has. */
const TORCH_KEYS = [
  ['initial_accumulator_value', 'Adagrad'],
  ['centered', 'RMSprop'],
  ['dampening', 'SGD'],
  ['rho', 'Adadelta'],
  ['momentum_decay', 'NAdam'],
] as const;

/** Clipping by the arguments of a Keras optimizer. */
const KERAS_CLIPPING = ['clipnorm', 'global_clipnorm', 'clipvalue'] as const;

/**
 * Settings by the names that a config has for them: `optimizer`, `clipnorm`, `global_clipnorm`, `clipvalue`. Empty where
 * the file does not tell; Adam and AdamW of a PyTorch that does not tell them apart are `adam or adamw`.
 */
export function settingsInCheckpoint({
  framework,
  metadata,
}: Pick<InspectedCheckpoint, 'framework' | 'metadata'>): ReadonlyMap<string, string | number> {
  const found = new Map<string, string | number>();
  const named = metadata.get('optimizer');
  if (framework === 'keras' && typeof named === 'string' && named !== '') {
    found.set('optimizer', named.toLowerCase());
    for (const name of KERAS_CLIPPING) {
      const limit = metadata.get(`optimizer_config.${name}`);
      if (typeof limit === 'number' && limit > 0) found.set(name, limit);
    }
    return found;
  }
  const keys = new Map<string, unknown>();
  for (const [key, value] of metadata) {
    const [, option] = /^(?:.*[./])?param_groups\.0\.([^.]+)/s.exec(key) ?? [];
    if (option !== undefined && !keys.has(option)) keys.set(option, value);
  }
  const [, own] = TORCH_KEYS.find(([key]) => keys.has(key)) ?? [];
  if (own !== undefined) found.set('optimizer', own.toLowerCase());
  else if (keys.has('amsgrad') && keys.has('betas')) {
    const decoupled = keys.get('decoupled_weight_decay');
    found.set(
      'optimizer',
      (decoupled === true ? 'AdamW' : decoupled === false ? 'Adam' : 'Adam or AdamW').toLowerCase(),
    );
  }
  return found;
}
