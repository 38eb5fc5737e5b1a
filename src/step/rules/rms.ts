import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import type { TensorRule } from './rule.ts';

const OPTIONS = [
  {
    name: 'threshold',
    type: 'number',
    default: 1,
    ...POSITIVE,
    meaning: 'd, the root mean square above which the direction is scaled',
  },
  {
    name: 'form',
    type: 'choice',
    default: 'adafactor',
    choices: ['adafactor', 'stable-adamw'],
    meaning: 'RMS of the direction itself, or of g/√v̂',
  },
] as const satisfies readonly OptionSpec[];

/** Update clipping of Adafactor and StableAdamW: the direction of a tensor is divided by max(1, RMS/d). */
export const rms: TensorRule<typeof OPTIONS> = {
  id: 'rms',
  title: 'RMS clipping of the update (Adafactor, StableAdamW)',
  scope: 'tensor',
  place: 'tensor',
  stage: 'direction',
  mayAmplify: false,
  keepsDirection: true,
  loose: { threshold: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'threshold',
  sweepOption: 'threshold',
  undefinedFor: (optimizer, options) => {
    if (optimizer.hasTrustRatio) return 'its trust ratio undoes any scaling of the direction';
    if (options.form === 'stable-adamw' && !optimizer.hasSecondMoment)
      return 'stable-adamw compares g with the second moment v of Adam, and it keeps none';
    return null;
  },
  order: ({ threshold }) => `clip the RMS of each update at ${threshold}`,
  docs: {
    summary: 'Divides the direction of a tensor by its root mean square where that is above a threshold.',
    equation: 'r ← r / max(1, RMS(u)/d); adafactor: u = r; stable-adamw: u = g/max(√v̂, ε)',
    references: [
      'Shazeer and Stern, Adafactor, 2018 (arXiv 1804.04235), section 6 and Algorithm 4',
      'Wortsman et al., Stable and low-precision training for large-scale vision-language models, 2023 (arXiv 2304.13013), Algorithm 2',
    ],
    differences: [
      'Adafactor has no momentum, so its r is g/√v; with another optimizer r is what that optimizer steps along.',
      'StableAdamW takes the mean of g²/max(v̂, ε²) with v̂ after this step, bias-corrected, and leaves the momentum out. Its threshold is 1.',
      'Decoupled weight decay is not scaled, as in the authors’ code; optimi’s StableAdamW scales it too.',
      'Adafactor’s factored second moment is not part of the rule.',
    ],
  },
  measure: ({ x, gradient, secondMoment, secondMomentCorrection, epsilon }, options, factors) => {
    let sum = 0;
    if (options.form === 'adafactor') for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!;
    else {
      const floor = epsilon * epsilon;
      for (let i = 0; i < x.length; i++) {
        const g = gradient![i]!;
        if (g !== 0) sum += (g * g) / Math.max(secondMoment![i]! * secondMomentCorrection, floor);
      }
    }
    const ratio = Math.sqrt(sum / Math.max(x.length, 1)) / options.threshold;
    factors[0] = ratio <= 1 ? 1 : 1 / ratio;
    return 0;
  },
};
