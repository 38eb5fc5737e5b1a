import type { InspectedCheckpoint } from '../../model/checkpoint.ts';
import type { Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { RATIO } from '../../model/options.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import { between, betweenEach, stepsBetween } from './checkpoint-run.ts';

/**
 * Settings of PyTorch's `param_groups` and of Keras's optimizer configs that stay as they are while a run lives. Others are left
 * alone: learning rates follow a schedule, and some optimizers count in their groups (`k`, `d`, `weight_sum`).
 */
const LASTING = [
  ...['weight_decay', 'decoupled_weight_decay', 'eps', 'epsilon', 'lr_decay', 'amsgrad', 'centered'],
  ...['clipnorm', 'global_clipnorm', 'clipvalue', 'nesterov'],
] as const;
/** Those that are compared by their distance from 1: 0.9 and 0.99 are far apart. */
const BELOW_ONE: ReadonlySet<string> = new Set([
  'momentum',
  'dampening',
  'alpha',
  'rho',
  'betas.0',
  'betas.1',
  'betas.2',
  'beta_1',
  'beta_2',
]);
const names = [...LASTING, ...BELOW_ONE].map((name) => name.replace('.', '\\.')).join('|');
const SETTING = new RegExp(`(?:^|[./])(?:param_groups\\.(\\d+)|optimizer_config)\\.(${names})$`);

/** A number, flags as 0 and 1, and what it is compared by. */
interface Setting {
  readonly value: number;
  readonly distance: number;
}

/** By the user's word for them; with the group where there are several. */
function settingsOf({ metadata }: InspectedCheckpoint): ReadonlyMap<string, Setting> {
  const found: { readonly name: string; readonly group: string; readonly value: number }[] = [];
  for (const [key, value] of metadata) {
    const [, group = '0', name] = SETTING.exec(key) ?? [];
    if (name !== undefined && (typeof value === 'number' || typeof value === 'boolean'))
      found.push({ name, group, value: Number(value) });
  }
  const several = found.some(({ group }) => group !== '0');
  return new Map(
    found.map(({ name, group, value }) => [
      several ? `${name} of group ${group}` : name,
      { value, distance: BELOW_ONE.has(name) ? 1 - value : value },
    ]),
  );
}

/** The larger over the smaller; ∞ where one alone is 0 or they have not one sign. */
function change(before: Setting, now: Setting): number {
  if (before.distance === now.distance) return 1;
  const ratio = now.distance / before.distance;
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
    betweenEach(run, (before, now): readonly Finding[] => {
      const limit = thresholds('optimizer-settings-jump', 'change');
      const old = settingsOf(before);
      const jumps = [...settingsOf(now)]
        .flatMap(([name, is]) => {
          const was = old.get(name);
          return was === undefined ? [] : [{ name, was, is, size: change(was, is) }];
        })
        .filter(({ size }) => size > limit)
        .sort((a, b) => b.size - a.size);
      const [first] = jumps;
      if (first === undefined) return [];
      const words = jumps
        .slice(0, 3)
        .map(
          ({ name, was, is }) => `${name} went from ${formatNumber(was.value)} to ${formatNumber(is.value)}`,
        );
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
