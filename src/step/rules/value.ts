import { type OptionSpec, POSITIVE } from '../../model/options.ts';
import { wasInForce } from './in-force.ts';
import { type EntryRule, NEEDS_GRADIENTS } from './rule.ts';

const OPTIONS = [
  {
    name: 'clipValue',
    type: 'number',
    default: 1,
    ...POSITIVE,
    meaning: 'largest magnitude c that an entry of the gradient may keep',
  },
] as const satisfies readonly OptionSpec[];

/** gᵢ ← clamp(gᵢ, −c, c): PyTorch's `clip_grad_value_`, Keras's `clipvalue`. NaN stays NaN, ±Infinity becomes ±c. */
export const value: EntryRule<typeof OPTIONS> = {
  id: 'value',
  title: 'Clipping by value',
  scope: 'entry',
  place: 'entry',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: false,
  loose: { clipValue: Number.POSITIVE_INFINITY },
  options: OPTIONS,
  mainOption: 'clipValue',
  sweepOption: 'clipValue',
  order: ({ clipValue }) => `clip each gradient entry at ${clipValue}`,
  docs: {
    summary: 'Clamps every entry of the gradient to ±c, which changes its direction.',
    equation: 'g_i ← max(−c, min(c, g_i))',
    references: [
      'torch.nn.utils.clip_grad_value_',
      'Keras optimizers, argument `clipvalue`',
      'tf.clip_by_value',
    ],
    differences: ['The same in PyTorch, Keras and TensorFlow; ±Infinity becomes ±c, NaN stays NaN.'],
    fromLog: 'that it was on and did not hold, where the settings next to the log name such clipping',
  },
  fromLog: (log, { clipValue }) => wasInForce(log, 'entries', clipValue) ?? { missing: NEEDS_GRADIENTS },
  paste: () => 'clip value',
  bound: ({ clipValue }) => clipValue,
  clamp: ({ x, largest: known }, options, out) => {
    const limit = options.clipValue;
    if (known !== undefined && known <= limit) return { index: 0, factor: 1 };
    let largest = limit;
    let index = 0;
    let nan = -1;
    for (let i = 0; i < x.length; i++) {
      const g = x[i]!;
      const size = Math.abs(g);
      out[i] = size > limit ? (g > 0 ? limit : -limit) : g;
      if (size > largest) {
        largest = size;
        index = i;
      } else if (Number.isNaN(g)) nan = i;
    }
    if (nan >= 0) return { index: nan, factor: Number.NaN };
    return { index, factor: largest === limit ? 1 : limit / largest };
  },
};
