import type { InspectedCheckpoint } from '../model/checkpoint.ts';
import type { Finding } from '../model/finding.ts';
import { formatNumber } from '../model/format-number.ts';
import { RATIO } from '../model/options.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import { between, stepsBetween } from './checkpoint-run.ts';

/**
 * Settings of PyTorch's `param_groups` and of Keras's optimizer configs that stay as they are while a run lives. Others are left
 * alone: learning rates follow a schedule, and some optimizers count in their groups (`k`, `d`, `weight_sum`).
 */
const LASTING = [
  ...['weight_decay', 'decoupled_weight_decay', 'eps', 'epsilon', 'alpha', 'lr_decay', 'amsgrad', 'centered'],
  ...['clipnorm', 'global_clipnorm', 'clipvalue', 'nesterov'],
] as const;
/** Those that are compared by their distance from 1: 0.9 and 0.99 are far apart. */
const BELOW_ONE = [
  'momentum',
  'dampening',
  'rho',
  'betas.0',
  'betas.1',
  'betas.2',
  'beta_1',
  'beta_2',
] as const;
const names = [...LASTING, ...BELOW_ONE].map((name) => name.replace('.', '\\.')).join('|');
const SETTING = new RegExp(`(?:^|[./])(?:param_groups\\.(\\d+)|optimizer_config)\\.(${names})$`);

/** Numbers by the user's word for them, flags as 0 and 1; with the group where there are several. */
function settingsOf({ metadata }: InspectedCheckpoint): ReadonlyMap<string, number> {
  const found: { readonly name: string; readonly group: string; readonly value: number }[] = [];
  for (const [key, value] of metadata) {
    const [, group = '0', name] = SETTING.exec(key) ?? [];
    if (name !== undefined && (typeof value === 'number' || typeof value === 'boolean'))
      found.push({ name, group, value: Number(value) });
  }
  const several = found.some(({ group }) => group !== '0');
  return new Map(
    found.map(({ name, group, value }) => [several ? `${name} of group ${group}` : name, value]),
  );
}

/** By how much two values of a setting differ: the larger over the smaller, ∞ where one alone is 0 or they have not one sign. */
function change(name: string, before: number, now: number): number {
  const offset = BELOW_ONE.some((one) => name === one || name.startsWith(`${one} `)) ? 1 : 0;
  const [a, b] = [offset - before, offset - now];
  if (a === b) return 1;
  const ratio = b / a;
  return ratio > 0 ? Math.max(ratio, 1 / ratio) : Number.POSITIVE_INFINITY;
}

const advice = 'Look for what set it: a configuration that was edited before a resume, or a typing error.';

export const optimizerSettingsJump = {
  id: 'optimizer-settings-jump',
  title: 'A setting of the optimizer changed between checkpoints',
  severity: 'warning',
  thresholds: [
    {
      name: 'change',
      value: 5,
      unit: 'the larger over the smaller, of momentum and betas of what they lack to 1',
      range: RATIO,
      origin: 'ours: schedules of weight decay and of momentum change less from one checkpoint to the next',
    },
  ],
  docs: {
    summary: 'A setting that lasts as long as a run is another one than in the checkpoint before.',
    details: `Weight decay, ε, momentum, β and clipping are chosen once. A checkpoint of PyTorch holds them in \`param_groups\`, one of Keras in the
optimizer's configuration. Where one of them is \`change\` times what it was in the checkpoint before, or begins or ceases to be 0, somebody or something set it
meanwhile. It need not be wrong, but what came after it is another training. Learning rates are not looked at: they follow a schedule.`,
    advice,
    references: [],
  },
  least: 2,
  find: (run, thresholds) =>
    run.flatMap((now, index): readonly Finding[] => {
      const before = run[index - 1];
      if (before === undefined) return [];
      const limit = thresholds('optimizer-settings-jump', 'change');
      const old = settingsOf(before);
      const jumps = [...settingsOf(now)]
        .flatMap(([name, value]) => {
          const was = old.get(name);
          return was === undefined ? [] : [{ name, was, value, size: change(name, was, value) }];
        })
        .filter(({ size }) => size > limit)
        .sort((a, b) => b.size - a.size);
      const [first] = jumps;
      if (first === undefined) return [];
      const words = jumps
        .slice(0, 3)
        .map(({ name, was, value }) => `${name} went from ${formatNumber(was)} to ${formatNumber(value)}`);
      const more = jumps.length - words.length;
      return [
        {
          id: 'optimizer-settings-jump',
          severity: 'warning',
          message: `${words.join(', ')}${more === 0 ? '' : ` and ${more} more`} ${between(before, now)}`,
          steps: stepsBetween(before, now),
          series: null,
          measured: { name: 'change', value: first.size, unit: 'ratio' },
          threshold: { name: 'change', value: limit, unit: 'ratio' },
          locations: [{ path: now.path }],
          advice,
        },
      ];
    }),
} as const satisfies CheckpointFinding;
