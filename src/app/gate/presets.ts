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
  summary:
    'a run that ends diverged, dead or non-finite fails, and so do weights that are not finite; one that came back, or climbs, is reported',
  rules: {
    'non-finite-loss': 'error',
    'full-divergence': 'error',
    'never-learned': { severity: 'error', missing: 'skip' },
    'job-crashed': { severity: 'error', missing: 'skip' },
    'missing-loss': { severity: 'error', missing: 'skip' },
    'dead-run': { severity: 'error', missing: 'skip' },
    'loss-scale-falls': { severity: 'error', missing: 'skip' },
    drift: 'warning',
    'micro-divergence': 'warning',
    'loss-column-stops': { severity: 'warning', missing: 'skip' },
    'non-finite-tensor': { severity: 'error', missing: 'skip' },
    'accumulator-reset': { severity: 'warning', missing: 'skip' },
    audit: { severity: 'error', missing: 'skip' },
  },
};

export const PRESETS = {
  recommended,
  strict: {
    summary:
      'no incident at all, no climb, no lost steps, and no value of loss or gradient norm that is not finite',
    rules: {
      ...recommended.rules,
      drift: 'error',
      'micro-divergence': 'error',
      'loss-column-stops': { severity: 'error', missing: 'skip' },
      'accumulator-reset': { severity: 'error', missing: 'skip' },
      'repeated-or-lost-steps': { severity: 'error', missing: 'skip' },
      'nan(loss) == 0': 'error',
      'nan(grad_norm) == 0': { severity: 'error', missing: 'skip' },
    },
  },
  recsys: {
    summary: 'ranking models: every task counts, and an AUC that falls to chance fails',
    rules: {
      ...recommended.rules,
      'micro-divergence': 'error',
      'metric-collapse': { severity: 'error', missing: 'skip' },
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
      'non-finite-gradient-norm': { severity: 'warning', missing: 'skip' },
    },
  },
} as const satisfies Record<string, Preset>;
