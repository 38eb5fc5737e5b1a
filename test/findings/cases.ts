/** For every finding about checkpoints a run of them in which it is found, and the step that it must name. */
import type { CHECKPOINT_FINDINGS } from '../../src/judge/findings/registry.ts';
import type { InspectedCheckpoint, InspectedTensor } from '../../src/model/checkpoint.ts';

type Id = keyof typeof CHECKPOINT_FINDINGS;

interface Case<Of extends Id> {
  readonly run: readonly InspectedCheckpoint[];
  /** The checkpoints between which it is found. */
  readonly steps: readonly [number, number];
  /** For each threshold that it declares another number, at which it is not found. */
  readonly thresholds: Readonly<
    Record<(typeof CHECKPOINT_FINDINGS)[Of]['thresholds'][number]['name'], number>
  >;
}

/** A checkpoint of tensors by name; `m/…` are first moments, `acc/…` accumulators, `buffer/…` buffers, all others parameters. */
export function checkpoint(
  step: number | null,
  tensors: Readonly<Record<string, readonly number[] | null>>,
): InspectedCheckpoint {
  return {
    path: `step-${step}.safetensors`,
    kind: 'checkpoint',
    format: 'safetensors',
    framework: null,
    step,
    metadata: new Map(),
    errors: [],
    account: { bytes: 0, records: 0, overhead: 0, passedOver: 0, lost: [] },
    tensors: Object.entries(tensors).map(([name, values]) => tensor(name, values)),
  };
}

/** Null stands for values that could not be read. */
function tensor(name: string, values: readonly number[] | null): InspectedTensor {
  const [kind] = name.split('/');
  const info = {
    name,
    dtype: 'F32',
    shape: [values?.length ?? 2],
    elements: values?.length ?? 2,
    layout: 'none',
    role: kind === 'buffer' ? 'buffer' : kind === 'm' || kind === 'acc' ? 'optimizer_state' : 'parameter',
    ...(kind === 'm' ? { slot: 'm' } : kind === 'acc' ? { slot: 'accumulator' } : {}),
    flags: [],
  } as const;
  if (values === null) return info;
  const finite = values.filter(Number.isFinite);
  return {
    ...info,
    sum: finite.reduce((sum, value) => sum + value, 0),
    norm: Math.hypot(...finite),
    min: finite.length === 0 ? null : Math.min(...finite),
    max: finite.length === 0 ? null : Math.max(...finite),
    nan: values.filter(Number.isNaN).length,
    posInf: values.filter((value) => value === Number.POSITIVE_INFINITY).length,
    negInf: values.filter((value) => value === Number.NEGATIVE_INFINITY).length,
  };
}

/** Three checkpoints in which nothing is amiss. */
export const HEALTHY = [
  checkpoint(100, { a: [3, 4], b: [1, 2], 'acc/a': [1, 1], 'm/a': [0.1, 0.2], 'buffer/mean': [0, 0] }),
  checkpoint(200, { a: [3.1, 4], b: [1, 2.5], 'acc/a': [2, 2], 'm/a': [0.1, -0.2], 'buffer/mean': [1, 1] }),
  checkpoint(300, { a: [3.2, 4], b: [1, 2.6], 'acc/a': [3, 2], 'm/a': [0, 0], 'buffer/mean': [1, 2] }),
];

export const CASES: { readonly [Of in Id]: Case<Of> } = {
  'non-finite-tensor': {
    run: [...HEALTHY, checkpoint(400, { a: [3, Number.NaN], b: [1, 2], 'acc/a': [4, 4], 'm/a': [0, 1] })],
    steps: [300, 400],
    thresholds: {},
  },
  'accumulator-reset': {
    run: [...HEALTHY, checkpoint(400, { a: [3, 5], b: [1, 2], 'acc/a': [0.1, 0.1], 'm/a': [0, 1] })],
    steps: [300, 400],
    thresholds: { tolerance: 0.99 },
  },
  'parameter-norm-jump': {
    run: [...HEALTHY, checkpoint(400, { a: [300, 500], b: [100, 200], 'acc/a': [4, 4], 'm/a': [0, 1] })],
    steps: [300, 400],
    thresholds: { growth: 1000 },
  },
  'optimizer-settings-jump': {
    run: [...HEALTHY, { ...HEALTHY[2]!, step: 400 }].map((one) => ({
      ...one,
      metadata: new Map<string, number | boolean>([
        ['optimizer.param_groups.0.lr', 1 / one.step!],
        ['optimizer.param_groups.0.weight_decay', one.step === 400 ? 100 : 0.01],
        ['optimizer.param_groups.0.betas.1', 0.999],
        ['optimizer.param_groups.0.amsgrad', false],
      ]),
    })),
    steps: [300, 400],
    thresholds: { change: 1e6 },
  },
  'frozen-tensor': {
    run: HEALTHY.map((one, i) =>
      checkpoint(one.step, { a: [3 + i, 4], b: [1, 2], 'acc/a': [1 + i, 1], 'm/a': [0.1, 0.2] }),
    ),
    steps: [100, 300],
    thresholds: { checkpoints: 4 },
  },
};
