/** Policies to start from. Later rules of a config replace those of a preset by id. */

type PresetRule =
  | 'note'
  | 'warning'
  | 'error'
  | { severity: 'note' | 'warning' | 'error'; max?: number; missing?: 'error' | 'warn' | 'skip' };

interface Preset {
  readonly summary: string;
  readonly rules: Readonly<Record<string, PresetRule>>;
}

const recommended: Preset = {
  summary: 'a run that ends diverged fails; one that came back, or climbs, is reported',
  rules: {
    'non-finite': 'error',
    'full-divergence': 'error',
    drift: 'warning',
    'micro-divergence': 'warning',
  },
};

export const PRESETS = {
  recommended,
  strict: {
    summary: 'no incident at all, no climb, and no non-finite value in loss or gradient norm',
    rules: {
      'non-finite': 'error',
      'full-divergence': 'error',
      drift: 'error',
      'micro-divergence': 'error',
      'nan(loss) == 0': 'error',
      'nan(grad_norm) == 0': { severity: 'error', missing: 'skip' },
    },
  },
  recsys: {
    summary: 'ranking models: every task counts, and an AUC that falls to chance fails',
    rules: {
      ...recommended.rules,
      'micro-divergence': 'error',
      'nan(task_loss) == 0': { severity: 'error', missing: 'skip' },
      'nan(eval_loss) == 0': { severity: 'error', missing: 'skip' },
    },
  },
  llm: {
    summary: 'long runs of language models: spikes that come back are a budget, not a failure',
    rules: {
      ...recommended.rules,
      'micro-divergence': { severity: 'error', max: 3 },
      'nan(loss) == 0': 'warning',
      'nan(grad_norm) == 0': { severity: 'warning', missing: 'skip' },
    },
  },
} as const satisfies Record<string, Preset>;
