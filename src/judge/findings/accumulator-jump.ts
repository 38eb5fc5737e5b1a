import type { Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { POSITIVE, RATIO, SHARE } from '../../model/options.ts';
import {
  SETTLED,
  type StepFinding,
  type StepWatcher,
  tensorsNamed,
  type WalkedTensor,
} from './capture-finding.ts';

const advice =
  'Look at the batches of these steps. If the run learns no more after them, go on from a state before them without them, or put the optimizer state of before back; a clipping rule before the accumulator (clippy, agc, value) keeps the squares out of it.';

/** Steps between two jumps that are told as one. */
const NEAR = 3;

interface Jump {
  readonly first: number;
  last: number;
  share: number;
  names: ReadonlySet<string>;
  /** Mean logarithm of the growth of the roots up to it, over all entries with a past. */
  readonly before: number;
}

export const accumulatorJump = {
  id: 'accumulator-jump',
  title: "The optimizer's second moment is inconsistent with the recorded gradients",
  severity: 'warning',
  thresholds: [
    {
      name: 'growth',
      value: 3,
      unit: 'ratio of the root after to before the step',
      range: RATIO,
      origin:
        'an entry whose root grows threefold keeps a third of its effective rate, under which runs with a poisoned accumulator learn no more',
    },
    {
      name: 'share',
      value: 0.1,
      unit: 'share of the entries with a past',
      range: SHARE,
      origin:
        'after twenty steps of the optimizer, no calm step of 67 recorded runs of bench/causes moves more than one entry in 120 so far (1,188 steps of Adagrad, Adam and RMSProp), none of fixtures/ one in fifty',
    },
    {
      name: 'lost',
      value: 0.5,
      unit: 'share of the effective rate',
      range: SHARE,
      origin: 'half of the rate is gone for good: a warning; less, or what comes back, is a note',
    },
    {
      name: 'lag',
      value: 2.3,
      unit: 'root mean square of gradient over root of the second moment',
      range: POSITIVE,
      origin:
        'arXiv 2304.13013 calls a step with an RMS of 2.3 and above an RMS spike; loss spikes follow within eight steps',
    },
  ],
  docs: {
    summary:
      'In one step the accumulator of many entries grows so much that they learn far slower, or Adam’s second moment is far below the squares that it meets.',
    details: `The recorded run is walked step by step. An entry jumps if the root of its second moment (G of Adagrad, v̂ of Adam and RMSProp) grows by \`growth\`
in one step; a step is found if at least a \`share\` of the entries with a past jump, after twenty steps of the optimizer. The message has the share and how much of the
effective rate η/√G is left, as the geometric mean over all entries with a past, right after and at the end of the capture. Adagrad's sums never fall: where more than
\`lost\` of the rate is gone at the end, it is a warning. A mean forgets, and what came back is a note. The twin: a mean that follows slowly lags, and steps are too
long instead of too short. It is found where the root mean square of gradient/√v̂ over all entries with a past, v̂ after the step, is \`lag\` or more. The gradient is the one that was clipped as recorded.`,
    advice,
    references: [
      'Wortsman et al., Stable and low-precision training for large-scale vision-language models, 2023 (arXiv 2304.13013), section 3.4',
      'Duchi et al., Adaptive subgradient methods, JMLR 2011: the rate of an entry falls with the sum of its squares',
    ],
  },
  watch({ path }, threshold): StepWatcher {
    const kept: (Float64Array | null)[] = [];
    const jumps: Jump[] = [];
    const lags: { step: number; mean: number }[] = [];
    /** Mean logarithm of the growth of the roots since the walk began. */
    let level = 0;
    let forgets = false;
    let seen = false;
    const rootsOf = ({ second }: WalkedTensor, into: Float64Array): Float64Array => {
      const { values, initial, correction } = second!;
      // An entry that never met a gradient has no past: NaN.
      for (let i = 0; i < values.length; i++)
        into[i] = values[i] === initial ? Number.NaN : Math.sqrt(values[i]! * correction);
      return into;
    };
    return {
      before(tensors) {
        for (const [t, tensor] of tensors.entries())
          kept[t] =
            tensor.second === null || tensor.stepsTaken < SETTLED
              ? null
              : rootsOf(tensor, kept[t] ?? new Float64Array(tensor.second.values.length));
      },
      after(tensors, { step, gradients }, { factors }) {
        let count = 0;
        let jumped = 0;
        let [growth, product, squares] = [0, 1, 0];
        let meansOnly = true;
        const names = new Set<string>();
        for (const [t, tensor] of tensors.entries()) {
          const old = kept[t];
          const { values: g, rows, absent } = gradients[t]!;
          if (old == null || absent) continue;
          const { values, correction, kind } = tensor.second!;
          if (kind === 'mean') forgets = true;
          else meansOnly = false;
          let here = 0;
          for (let i = 0; i < old.length; i++) {
            const was = old[i]!;
            const is = Math.sqrt(values[i]! * correction);
            if (!(was > 0) || !Number.isFinite(is)) continue;
            count++;
            // One logarithm for many entries: a capture may have millions.
            product *= is / was;
            if (!(product > 1e-100 && product < 1e100)) {
              growth += Math.log(product);
              product = 1;
            }
            if (is >= threshold('growth') * was) here++;
          }
          if (here > 0) names.add(tensor.name);
          jumped += here;
          const width = rows === undefined || rows.length === 0 ? 1 : g.length / rows.length;
          for (let k = 0; k < g.length; k++) {
            const i = rows === undefined ? k : rows[Math.floor(k / width)]! * width + (k % width);
            const root = Math.sqrt(values[i]! * correction);
            if (old[i]! > 0 && root > 0) squares += ((factors[t]! * g[k]!) / root) ** 2;
          }
        }
        if (count === 0) return;
        seen = true;
        const before = level;
        level += (growth + Math.log(product)) / count;
        const share = jumped / count;
        if (share >= threshold('share')) {
          const last = jumps.at(-1);
          if (last !== undefined && step - last.last <= NEAR) {
            last.last = step;
            last.share = Math.max(last.share, share);
            last.names = new Set([...last.names, ...names]);
          } else jumps.push({ first: step, last: step, share, names, before });
        }
        const mean = Math.sqrt(squares / count);
        if (meansOnly && mean >= threshold('lag')) lags.push({ step, mean });
      },
      findings() {
        if (!seen) return [];
        const found = jumps.map(({ first, last, share, names, before }): Finding => {
          const left = Math.exp(before - level);
          const gone = left <= 1 - threshold('lost');
          const steps = first === last ? `step ${first}` : `steps ${first} to ${last}`;
          return {
            id: accumulatorJump.id,
            severity: gone ? 'warning' : 'note',
            message: `the second moment of ${formatNumber(100 * share)} % of the entries, in ${tensorsNamed([...names])}, jumps at ${steps}: at the end of the capture the effective rate is ${formatNumber(100 * left)} % of that before${gone ? (forgets ? '; it comes back as the mean forgets, if the run goes on' : ', and a sum never comes back') : ''}`,
            steps: [first, last],
            series: null,
            measured: { name: 'entries that jump', value: share, unit: 'share of the entries' },
            threshold: { name: 'entries that jump', value: threshold('share'), unit: 'share of the entries' },
            locations: [...names].slice(0, 5).map((tensor) => ({ path, tensor })),
            advice,
          };
        });
        const [lag] = lags;
        if (lag === undefined) return found;
        const worst = lags.reduce((a, b) => (b.mean > a.mean ? b : a));
        return [
          ...found,
          {
            id: accumulatorJump.id,
            severity: 'note',
            message: `Adam's second moment lags behind the gradients at ${lags.length === 1 ? `step ${lag.step}` : `${lags.length} steps, the first of them ${lag.step}`}: gradient over root is ${formatNumber(worst.mean)} in the mean square at step ${worst.step}, so that the step is that much too long`,
            steps: [lag.step, lags.at(-1)!.step],
            series: null,
            measured: { name: 'gradient over root', value: worst.mean, unit: 'root mean square' },
            threshold: { name: 'gradient over root', value: threshold('lag'), unit: 'root mean square' },
            locations: [{ path }],
            advice:
              'Clip the gradient by its own history, lower β₂ so that the second moment follows, or clip the update (`rms` in the form of StableAdamW); look at the batch of this step.',
          },
        ];
      },
    };
  },
} as const satisfies StepFinding;
