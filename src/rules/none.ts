import type { TensorRule } from './rule.ts';

/** No clipping: factor 1 everywhere. */
export const none: TensorRule = {
  id: 'none',
  title: 'No clipping',
  scope: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  loose: {},
  options: [],
  mainOption: null,
  docs: {
    summary: 'Leaves every gradient as it is; the baseline of every comparison.',
    equation: 'g ← g',
    references: [],
    differences: [],
  },
  measure: (_seen, _options, factors) => {
    factors[0] = 1;
    return 0;
  },
};
