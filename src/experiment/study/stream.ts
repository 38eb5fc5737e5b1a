/**
 * The built-in stream: traffic of a ranking model whose distribution wanders, and may shift.
 *
 * A fixed random teacher turns 16 dense features and the ids of a user and an item into labels, yes or no and real numbers
 * in turn. The mean of the features wanders along one direction, with a period of 40,000 rows. In the shift a share of the
 * rows comes from a surface whose features, and whose real labels, are `strength` times as large.
 */
import type { LossName } from '../../differentiate/autodiff/ranking-spec.ts';
import { type RandomVectors, randomVectors } from '../../differentiate/curvature/random.ts';
import type { StudyColumn } from './study-column.ts';

/** The built-in stream: docs/matrix.md says what its numbers mean. */
export interface StreamSettings {
  readonly seed: number;
  /** From this share of the training part on, up to its end or `until`, a part of the rows comes from elsewhere. */
  readonly shift: {
    readonly at: number;
    readonly until: number;
    readonly strength: number;
    readonly share: number;
  };
  readonly noise: number;
  readonly heavyTails: number;
  readonly tasks: number;
  /** Only with windows; else the split says how many. */
  readonly rows: number | null;
}

const DENSE = 16;
const HIDDEN = 16;
const IDS = [
  { name: 'user', vocabulary: 500, dim: 8 },
  { name: 'item', vocabulary: 200, dim: 8 },
] as const;
const PERIOD = 40_000;

const TASKS: readonly { readonly name: string; readonly loss: LossName; readonly threshold: number }[] = [
  { name: 'click', loss: 'sigmoid-cross-entropy', threshold: 0 },
  { name: 'watch', loss: 'mean-squared-error', threshold: 0 },
  { name: 'like', loss: 'sigmoid-cross-entropy', threshold: 1 },
  { name: 'rating', loss: 'mean-squared-error', threshold: 0 },
  { name: 'share', loss: 'sigmoid-cross-entropy', threshold: 2 },
  { name: 'dwell', loss: 'mean-squared-error', threshold: 0 },
];
export const MOST_TASKS = TASKS.length;

/** The columns of the stream's table. */
export const streamColumns = ({ tasks }: StreamSettings): StudyColumn[] => [
  ...Array.from({ length: DENSE }, (_, i): StudyColumn => ({ name: `dense_${i}`, kind: 'dense' })),
  ...IDS.map(({ name, dim }): StudyColumn => ({ name, kind: 'categorical', dim })),
  ...TASKS.slice(0, tasks).map(
    ({ name, loss }): StudyColumn => ({ name, kind: 'label', task: name, loss, weight: 1 }),
  ),
];

/**
 * The stream's table.
 *
 * @param rows in all, the first `training` of which the shift's shares are of
 */
export function streamTable(
  settings: StreamSettings,
  rows: number,
  training: number,
): Map<string, Float64Array> {
  const { shift, noise, heavyTails, tasks } = settings;
  const teacher = randomVectors(settings.seed);
  const hidden = teacher.gaussian(DENSE * HIDDEN).map((x) => x / 4);
  const readout = teacher.gaussian(HIDDEN * MOST_TASKS).map((x) => x / 4);
  const direction = teacher.gaussian(DENSE).map((x) => x / 4);
  const tastes = IDS.map(({ vocabulary }) => teacher.gaussian(vocabulary * MOST_TASKS).map((x) => x / 2));
  // A stream of its own, so that another number of rows does not change the teacher.
  const random: RandomVectors = randomVectors(settings.seed ^ 0x5deece66);
  const dense = Array.from({ length: DENSE }, () => new Float64Array(rows));
  const ids = IDS.map(() => new Float64Array(rows));
  const labels = TASKS.map(() => new Float64Array(rows));
  const [first, end] = [shift.at * training, shift.until * training];
  for (let row = 0; row < rows; row++) {
    const gaussian = random.gaussian(DENSE + MOST_TASKS + 1);
    const uniform = random.uniform(IDS.length + 1);
    const tail = heavyTails === 0 ? 1 : Math.exp(heavyTails * gaussian[DENSE + MOST_TASKS]!);
    const drift = Math.sin((2 * Math.PI * row) / PERIOD);
    const x = Float64Array.from(direction, (d, i) => tail * gaussian[i]! + drift * d);
    const taste = new Float64Array(MOST_TASKS);
    for (let k = 0; k < HIDDEN; k++) {
      let sum = 0;
      for (let i = 0; i < DENSE; i++) sum += x[i]! * hidden[i * HIDDEN + k]!;
      const unit = 1.7 * Math.tanh(0.7 * sum);
      for (let t = 0; t < MOST_TASKS; t++) taste[t] = taste[t]! + unit * readout[k * MOST_TASKS + t]!;
    }
    for (const [k, { vocabulary }] of IDS.entries()) {
      // A few ids are frequent and most are rare.
      const id = Math.floor(vocabulary * uniform[k]! ** 3);
      ids[k]![row] = id;
      for (let t = 0; t < MOST_TASKS; t++) taste[t] = taste[t]! + tastes[k]![id * MOST_TASKS + t]!;
    }
    const shifted = row >= first && row < end && uniform[IDS.length]! < shift.share;
    const scale = shifted ? shift.strength : 1;
    for (let i = 0; i < DENSE; i++) dense[i]![row] = scale * x[i]!;
    for (const [t, { loss, threshold }] of TASKS.entries()) {
      const error = noise * gaussian[DENSE + t]!;
      labels[t]![row] =
        loss === 'mean-squared-error'
          ? scale * (1.5 * taste[t]! + 0.1 * error)
          : 6 * taste[t]! + error > threshold
            ? 1
            : 0;
    }
  }
  return new Map([
    ...dense.map((values, i) => [`dense_${i}`, values] as const),
    ...IDS.map(({ name }, k) => [name, ids[k]!] as const),
    ...TASKS.slice(0, tasks).map(({ name }, t) => [name, labels[t]!] as const),
  ]);
}
