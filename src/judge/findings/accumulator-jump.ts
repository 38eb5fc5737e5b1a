import type { Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { POSITIVE, RATIO, SHARE } from '../../model/options.ts';
import {
  SETTLED,
  type StepFinding,
  type StepWatcher,
  tensorsNamed,
  type WalkedGradient,
  type WalkedMove,
  type WalkedStep,
  type WalkedTensor,
} from './capture-finding.ts';

const advice =
  'Look at the batches of these steps. If the run learns no more after them, go on from a state before them without them, or put the optimizer state of before back; a clipping rule before the accumulator (clippy, agc, value) keeps the squares out of it.';

/** Steps between two jumps that are reported as one. */
const NEAR = 3;

interface Jump {
  readonly first: number;
  last: number;
  share: number;
  names: ReadonlySet<string>;
  /** Mean logarithm of the growth of the roots up to it, over all entries with a past. */
  readonly before: number;
  /** Steps that were walked up to it. */
  readonly walked: number;
}

export const accumulatorJump = {
  id: 'accumulator-jump',
  title: 'Gradients far beyond what the second moment expects',
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
      origin:
        'half of the rate is lost for longer than the capture goes on: a warning; less, or a shorter loss, is a note',
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
effective rate η/√G is left, as the geometric mean over all entries with a past, at the end of the capture. Where more than \`lost\` of the rate is gone there, it is a
warning: Adagrad's sums never fall, and a mean takes the steps that the message says to forget. If it forgets in fewer steps than the capture has after the jump, it is a note,
and so is what came back. The twin: a mean that follows slowly lags, and steps are too
long instead of too short. It is found where the root mean square of gradient/√v̂ over all entries with a past, v̂ after the step, is \`lag\` or more. The gradient is the one that was clipped as recorded.`,
    advice,
    references: [
      'Wortsman et al., Stable and low-precision training for large-scale vision-language models, 2023 (arXiv 2304.13013), section 3.4',
      'Duchi et al., Adaptive subgradient methods, JMLR 2011: the rate of an entry falls with the sum of its squares',
    ],
  },
  watch({ path }, threshold): StepWatcher {
    const roots = new Roots();
    const jumps: Jump[] = [];
    const lags: Lag[] = [];
    /** Mean logarithm of the growth of the roots since the walk began. */
    let level = 0;
    let walked = 0;
    let keeps = 0;
    let seen = false;
    return {
      before: (tensors) => roots.keep(tensors),
      after(tensors, step, { factors }) {
        const grown = roots.growth(tensors, step, factors, threshold('growth'));
        walked++;
        if (grown.count === 0) return;
        seen = true;
        keeps = Math.max(keeps, grown.keeps);
        const before = level;
        level += grown.logGrowth / grown.count;
        const share = grown.jumped / grown.count;
        if (share >= threshold('share'))
          addJump(jumps, { first: step.step, last: step.step, share, names: grown.names, before, walked });
        const mean = Math.sqrt(grown.squares / grown.count);
        if (grown.keeps < 1 && mean >= threshold('lag')) lags.push({ step: step.step, mean });
      },
      findings() {
        if (!seen) return [];
        const told = jumps.map((jump) => jumpFinding(jump, { level, walked, keeps }, path, threshold));
        return lags.length === 0 ? told : [...told, lagFinding(lags, path, threshold('lag'))];
      },
    };
  },
} as const satisfies StepFinding;

interface Lag {
  readonly step: number;
  /** Root mean square of gradient over root. */
  readonly mean: number;
}

/** How the roots of the second moments changed in one step. */
interface Growth {
  /** Entries with a past. */
  readonly count: number;
  /** Those whose root grew by at least the given factor. */
  readonly jumped: number;
  /** Sum of the logarithms of the growth. */
  readonly logGrowth: number;
  /** Sum of (gradient / root)². */
  readonly squares: number;
  /** Tensors with entries that jumped. */
  readonly names: ReadonlySet<string>;
  /** The largest share of its second moments that a tensor keeps. */
  readonly keeps: number;
}

/** The roots of all second moments before a step. */
class Roots {
  /** By tensor; null for one without a second moment or a past. */
  readonly #kept: (Float64Array | null)[] = [];

  keep(tensors: readonly WalkedTensor[]): void {
    for (const [t, { second, stepsTaken }] of tensors.entries()) {
      if (second === null || stepsTaken < SETTLED) {
        this.#kept[t] = null;
        continue;
      }
      const { values, initial, correction } = second;
      const into = this.#kept[t] ?? new Float64Array(values.length);
      // An entry that never had a gradient has no past: NaN.
      for (let i = 0; i < values.length; i++)
        into[i] = values[i] === initial ? Number.NaN : Math.sqrt(values[i]! * correction);
      this.#kept[t] = into;
    }
  }

  growth(
    tensors: readonly WalkedTensor[],
    { gradients }: WalkedStep,
    factors: WalkedMove['factors'],
    jump: number,
  ): Growth {
    let [count, jumped, logGrowth, squares] = [0, 0, 0, 0];
    const names = new Set<string>();
    let keeps = 0;
    for (const [t, { name, second }] of tensors.entries()) {
      const old = this.#kept[t];
      const gradient = gradients[t]!;
      if (old == null || gradient.absent) continue;
      keeps = Math.max(keeps, second!.keeps);
      const of = rootGrowth(old, second!, jump);
      if (of.jumped > 0) names.add(name);
      count += of.count;
      jumped += of.jumped;
      logGrowth += of.logGrowth;
      squares += squaredRatios(old, second!, gradient, factors[t]!);
    }
    return { count, jumped, logGrowth, squares, names, keeps };
  }
}

type Second = NonNullable<WalkedTensor['second']>;

/** Of one tensor: entries with a past, those that jumped, and the sum of the logarithms of their growth. */
function rootGrowth(
  old: Float64Array,
  { values, correction }: Second,
  jump: number,
): Pick<Growth, 'count' | 'jumped' | 'logGrowth'> {
  let [count, jumped, logGrowth, product] = [0, 0, 0, 1];
  for (let i = 0; i < old.length; i++) {
    const was = old[i]!;
    const is = Math.sqrt(values[i]! * correction);
    if (!(was > 0) || !Number.isFinite(is)) continue;
    count++;
    // One logarithm for many entries: a capture may have millions.
    product *= is / was;
    if (!(product > 1e-100 && product < 1e100)) {
      logGrowth += Math.log(product);
      product = 1;
    }
    if (is >= jump * was) jumped++;
  }
  return { count, jumped, logGrowth: logGrowth + Math.log(product) };
}

/** Sum of (gradient / root)² over the entries of one tensor with a past. */
function squaredRatios(
  old: Float64Array,
  { values, correction }: Second,
  { values: g, rows }: WalkedGradient,
  factor: number,
): number {
  let squares = 0;
  const width = rows === undefined || rows.length === 0 ? 1 : g.length / rows.length;
  for (let k = 0; k < g.length; k++) {
    const i = rows === undefined ? k : rows[Math.floor(k / width)]! * width + (k % width);
    const root = Math.sqrt(values[i]! * correction);
    if (old[i]! > 0 && root > 0) squares += ((factor * g[k]!) / root) ** 2;
  }
  return squares;
}

/** Adds a step at which entries jump to the jump before it, where that is near. */
function addJump(jumps: Jump[], jump: Jump): void {
  const last = jumps.at(-1);
  if (last === undefined || jump.first - last.last > NEAR) {
    jumps.push(jump);
    return;
  }
  last.last = jump.last;
  last.share = Math.max(last.share, jump.share);
  last.names = new Set([...last.names, ...jump.names]);
}

/** The whole walk: its mean logarithm of the growth of the roots, its steps, and the share of a second moment that a step keeps. */
interface Walked {
  readonly level: number;
  readonly walked: number;
  readonly keeps: number;
}

/**
 * Steps in which a mean of squares forgets what it took, so that more than a share of the effective rate is back: of
 * `left * keeps ** (-steps / 2) = share`. Infinite for a sum.
 */
const stepsToForget = (left: number, share: number, keeps: number): number =>
  Math.ceil((2 * Math.log(share / left)) / Math.log(1 / keeps));

function jumpFinding(
  { first, last, share, names, before, walked }: Jump,
  whole: Walked,
  path: string,
  threshold: (name: string) => number,
): Finding {
  const left = Math.exp(before - whole.level);
  const least = 1 - threshold('lost');
  const isLow = left < least;
  const steps = isLow ? stepsToForget(left, least, whole.keeps) : 0;
  const ahead = !isLow
    ? ''
    : whole.keeps < 1
      ? `; the mean forgets it in ${formatNumber(steps, 'rough')} steps`
      : ', and a sum never comes back';
  const at = first === last ? `step ${first}` : `steps ${first} to ${last}`;
  const unit = 'share of the entries';
  return {
    id: accumulatorJump.id,
    severity: isLow && steps > whole.walked - walked ? 'warning' : 'note',
    message: `the second moment of ${formatNumber(100 * share)} % of the entries, in ${tensorsNamed([...names])}, jumps at ${at}: at the end of the capture the effective rate is ${formatNumber(100 * left)} % of that before${ahead}`,
    steps: [first, last],
    series: null,
    measured: { name: 'entries that jump', value: share, unit },
    threshold: { name: 'entries that jump', value: threshold('share'), unit },
    locations: [...names].slice(0, 5).map((tensor) => ({ path, tensor })),
    advice,
  };
}

/** @param lags at least one */
function lagFinding(lags: readonly Lag[], path: string, limit: number): Finding {
  const first = lags[0]!;
  const worst = lags.reduce((a, b) => (b.mean > a.mean ? b : a));
  const unit = 'root mean square';
  return {
    id: accumulatorJump.id,
    severity: 'note',
    message: `Adam's second moment lags behind the gradients at ${lags.length === 1 ? `step ${first.step}` : `${lags.length} steps, the first of them ${first.step}`}: gradient over root is ${formatNumber(worst.mean)} in the mean square at step ${worst.step}, so that the step is that much too long`,
    steps: [first.step, lags.at(-1)!.step],
    series: null,
    measured: { name: 'gradient over root', value: worst.mean, unit },
    threshold: { name: 'gradient over root', value: limit, unit },
    locations: [{ path }],
    advice:
      'Clip the gradient by its own history, lower β₂ so that the second moment follows, or clip the update (`rms` in the form of StableAdamW); look at the batch of this step.',
  };
}
