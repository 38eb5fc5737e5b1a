import { NO_RULE } from '../../model/replay.ts';
import type { TensorRule } from './rule.ts';

/** No clipping: factor 1 everywhere. */
export const none: TensorRule = {
  id: NO_RULE,
  title: 'No clipping',
  scope: 'tensor',
  place: 'tensor',
  stage: 'gradient',
  mayAmplify: false,
  keepsDirection: true,
  identity: true,
  loose: {},
  options: [],
  mainOption: null,
  order: () => 'train without clipping',
  docs: {
    summary: 'Leaves every gradient unchanged; the baseline of every comparison.',
    equation: 'g ← g',
    references: [],
    differences: [],
  },
  measure: (_seen, _options, factors) => {
    factors[0] = 1;
    return 0;
  },
};
