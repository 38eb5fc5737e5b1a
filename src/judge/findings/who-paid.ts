import type { Finding } from '../../model/finding.ts';
import { formatCount, formatNumber } from '../../model/format-number.ts';
import { COUNT, SHARE } from '../../model/options.ts';
import type { StepFinding, StepWatcher, WalkedGradient, WalkedTensor } from './capture-finding.ts';

const advice =
  'Clip what is large where it is large: by tensor, unit or row (agc, clippy, adagc), or leave the embedding tables out of the global norm (global-norm:1,embeddings=false) and clip them by themselves.';

/** A tensor, or a row of an embedding. */
interface Payer {
  readonly tensor: number;
  readonly row: number | null;
  readonly square: number;
  readonly entries: number;
}

/** Squared norms of whole tensors, and of embeddings by touched row; rows without a gradient are left out. */
function payersOf(tensors: readonly WalkedTensor[], gradients: readonly WalkedGradient[]): Payer[] {
  const payers: Payer[] = [];
  for (const [t, { shape, embedding }] of tensors.entries()) {
    const { values, rows, absent } = gradients[t]!;
    if (absent || values.length === 0) continue;
    const width =
      rows !== undefined
        ? values.length / rows.length
        : embedding && shape.length >= 2
          ? values.length / shape[0]!
          : values.length;
    for (let start = 0, k = 0; start < values.length; start += width, k++) {
      let square = 0;
      for (let i = start; i < start + width; i++) square += values[i]! * values[i]!;
      if (square !== 0)
        payers.push({
          tensor: t,
          row: width === values.length && rows === undefined ? null : (rows?.[k] ?? k),
          square,
          entries: width,
        });
    }
  }
  return payers.sort((a, b) => b.square - a.square);
}

/** Names of the payers: rows of a tensor together, at most five of them. */
function named(payers: readonly Payer[], tensors: readonly WalkedTensor[]): string {
  const rows = new Map<number, (number | null)[]>();
  for (const { tensor, row } of payers) rows.set(tensor, [...(rows.get(tensor) ?? []), row]);
  return [...rows]
    .slice(0, 3)
    .map(([t, all]) => {
      const { name } = tensors[t]!;
      if (all[0] === null) return `"${name}"`;
      const shown = all.slice(0, 5).join(', ');
      return `${all.length === 1 ? 'row' : `${formatCount(all.length)} rows`} of "${name}" (${shown}${all.length > 5 ? ', …' : ''})`;
    })
    .join(' and ');
}

export const whoPaid = {
  id: 'who-paid',
  title: 'A few rows or one small tensor make the global clip scale everything else to nothing',
  severity: 'warning',
  thresholds: [
    {
      name: 'share',
      value: 0.9,
      unit: 'share of the squared norm',
      range: SHARE,
      origin: 'without these the norm would be less than a third: they alone decide the factor',
    },
    {
      name: 'few',
      value: 0.05,
      unit: 'share of the entries of the model',
      range: SHARE,
      origin: 'one entry in twenty: the other nineteen are scaled for what they have not done',
    },
    {
      name: 'kept',
      value: 0.1,
      unit: 'factor of the clip',
      range: SHARE,
      origin: 'a tenth of a gradient is a step that hardly moves',
    },
    {
      name: 'steps',
      value: 3,
      unit: 'recorded steps',
      range: COUNT,
      origin: 'one such step costs one step, and is a note; it is a warning where it keeps happening',
    },
  ],
  docs: {
    summary:
      'Under a clip by the norm of all gradients a few embedding rows, or one small tensor, hold nearly all of the norm, and all others are scaled to nothing with them.',
    details: `At each recorded step at which a factor for all tensors (\`global-norm\`, \`autoclip\`, \`zclip\` …) was \`kept\` or less, the squared norm of the gradient before clipping is
shared out: by tensor, and of embeddings by row. The largest are taken until they hold a \`share\` of it. If they are at most \`few\` of all entries of the model, the rest
paid for them. One or two such steps are a note; from \`steps\` on it is a warning. A clip that acts as hard on a norm that all tensors share is no finding: then the whole step was large.`,
    advice,
    references: [
      'Tang et al., Improving Training Stability for Multitask Ranking Models, 2023 (arXiv 2302.09178), section 4.1',
    ],
  },
  watch({ path, globalClip }, threshold): StepWatcher | string {
    if (!globalClip) return 'no clip by the norm of all gradients was on while recording';
    const found: {
      step: number;
      factor: number;
      share: number;
      entries: number;
      of: number;
      text: string;
      names: string[];
    }[] = [];
    return {
      after(tensors, { step, gradients }, { factors }) {
        const present = tensors.flatMap((_, t) => (gradients[t]!.absent ? [] : [factors[t]!]));
        const factor = Math.max(...present);
        if (!(factor <= threshold('kept')) || factor === 0) return;
        const payers = payersOf(tensors, gradients);
        const total = payers.reduce((sum, { square }) => sum + square, 0);
        if (!Number.isFinite(total) || total === 0) return;
        let [sum, count, entries] = [0, 0, 0];
        while (sum < threshold('share') * total && count < payers.length) {
          sum += payers[count]!.square;
          entries += payers[count]!.entries;
          count++;
        }
        const of = tensors.reduce((all, { w }) => all + w.length, 0);
        if (entries > threshold('few') * of) return;
        const who = payers.slice(0, count);
        found.push({
          step,
          factor,
          share: sum / total,
          entries,
          of,
          text: named(who, tensors),
          names: [...new Set(who.map(({ tensor }) => tensors[tensor]!.name))],
        });
      },
      findings(): readonly Finding[] {
        if (found.length === 0) return [];
        const worst = found.reduce((a, b) => (b.factor < a.factor ? b : a));
        const often = found.length >= threshold('steps');
        return [
          {
            id: whoPaid.id,
            severity: often ? 'warning' : 'note',
            message: `at step ${worst.step} ${worst.text} hold ${formatNumber(100 * worst.share)} % of the squared norm with ${formatNumber((100 * worst.entries) / worst.of)} % of the entries, and the clip scales everything else to ${formatNumber(worst.factor)} with them${found.length === 1 ? '' : `; so at ${found.length} recorded steps`}`,
            steps: [found[0]!.step, found.at(-1)!.step],
            series: null,
            measured: { name: 'factor of all others', value: worst.factor, unit: 'factor' },
            threshold: { name: 'factor of all others', value: threshold('kept'), unit: 'factor' },
            locations: worst.names.slice(0, 5).map((tensor) => ({ path, tensor })),
            advice,
          },
        ];
      },
    };
  },
} as const satisfies StepFinding;
