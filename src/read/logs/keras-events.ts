/**
 * What the TensorBoard callback of Keras writes: `epoch_loss` counts epochs, `batch_loss` counts batches, and both are in
 * one file. They are joined on the axis of batches, and running means are undone.
 *
 * A `batch_*` value is the mean since its epoch began (keras/src/trainers/trainer.py: metrics are reset at the start of an
 * epoch, and `logs` are their results so far). Source of the tags: keras/src/callbacks/tensorboard.py.
 */

import type { Column } from '../../model/column.ts';
import { counted } from '../../model/format-number.ts';
import type { Role } from '../../model/run.ts';
import type { Conventional, PlacedSeries } from './format.ts';
import { isLossName, roleByName } from './metric-roles.ts';
import { meanBetween } from './running-means.ts';

const COUNTS = ['batch', 'epoch', 'evaluation'] as const;
const EVALUATION_END = '_vs_iterations';

interface Tag<Series> {
  readonly series: Series;
  readonly before: string;
  readonly counts: (typeof COUNTS)[number];
  readonly quantity: string;
}

function tagOf<Series extends PlacedSeries>(series: Series): Tag<Series> | undefined {
  // `validation/epoch_click_loss`: the prefix, what it counts, the quantity.
  const { name } = series;
  const before = name.slice(0, name.lastIndexOf('/') + 1);
  const tag = name.slice(before.length);
  const counts = COUNTS.find((one) => tag.startsWith(`${one}_`));
  if (counts === undefined || (counts === 'evaluation') !== tag.endsWith(EVALUATION_END)) return undefined;
  const quantity = tag.slice(counts.length + 1, counts === 'evaluation' ? -EVALUATION_END.length : undefined);
  return quantity === '' ? undefined : { series, before, counts, quantity };
}

/** The points of a series in one file, as indices. */
const inFile = ({ step, pathOffsets }: PlacedSeries, file: number): [from: number, to: number] => [
  pathOffsets[file] ?? step.length,
  pathOffsets[file + 1] ?? step.length,
];

/** A batch that was logged, with what its place in the file says about it. */
interface Batch {
  readonly index: number;
  readonly file: number;
  /** As it was logged. */
  readonly step: number;
  /** The epoch that it belongs to: the first whose record follows it. */
  readonly epoch: number;
  /** Epochs of its file before that one. */
  readonly within: number;
}

/** Batches of a series with their epochs. A writer logs epochs and batches in the order of their time. */
function batchesOf(batch: PlacedSeries, epoch: PlacedSeries): Batch[] {
  const found: Batch[] = [];
  let before = -1;
  for (let file = 0; file < batch.pathOffsets.length; file++) {
    const [from, to] = inFile(batch, file);
    const [first, end] = inFile(epoch, file);
    const start = first < end ? epoch.step.at(first)! : before + 1;
    let at = first;
    for (let index = from; index < to; index++) {
      while (at < end && epoch.byteOffset!.at(at)! < batch.byteOffset!.at(index)!) at++;
      const here = at < end ? epoch.step.at(at)! : at > first ? epoch.step.at(at - 1)! + 1 : start;
      found.push({ index, file, step: batch.step.at(index)!, epoch: here, within: here - start });
    }
    if (end > first) before = epoch.step.at(end - 1)!;
  }
  return found;
}

/** Number of the first batch: TensorFlow 1 counted from 0, Keras since then from 1. */
const firstBatch = (batches: readonly Batch[]): 0 | 1 => (batches.some(({ step }) => step === 0) ? 0 : 1);

/** Files whose batches count from their own first epoch: the job was restarted, and with it the counter. */
function startedAgain(batches: readonly Batch[], base: number): ReadonlySet<number> {
  const files = new Set<number>();
  const seen = new Set<number>();
  for (const { file, step, epoch, within } of batches) {
    if (seen.has(file)) continue;
    seen.add(file);
    // A stride may hide the first batches. A counter that went on has passed one batch or more per epoch.
    if (epoch > within && step - base < Math.max(1, epoch)) files.add(file);
  }
  return files;
}

/**
 * Batches per epoch: every batch s of epoch e has `e·B < s ≤ (e + 1)·B`, counted from 1.
 *
 * @returns undefined where epochs have different lengths, or nothing bounds them from above
 */
function batchesPerEpoch(
  batches: readonly Batch[],
  base: number,
  again: ReadonlySet<number>,
): number | undefined {
  let least = 1;
  let most = Number.POSITIVE_INFINITY;
  for (const { file, step, epoch, within } of batches) {
    const before = again.has(file) ? within : epoch;
    const count = step - base + 1;
    least = Math.max(least, Math.ceil(count / (before + 1)));
    if (before > 0) most = Math.min(most, Math.floor((count - 1) / before));
  }
  return Number.isFinite(most) && least <= most ? least : undefined;
}

/** Batches per epoch from evaluations, which are logged at the last batch of their epoch. */
function fromEvaluations(tags: readonly Tag<PlacedSeries>[]): number | undefined {
  for (const { series: evaluated, before, quantity } of tags.filter(
    ({ counts }) => counts === 'evaluation',
  )) {
    const epoch = tags.find(
      (one) => one.counts === 'epoch' && one.before === before && one.quantity === quantity,
    )?.series;
    if (epoch === undefined || epoch.step.length !== evaluated.step.length || epoch.step.length === 0)
      continue;
    const ratio = evaluated.step.at(0)! / (epoch.step.at(0)! + 1);
    if (
      Number.isInteger(ratio) &&
      ratio > 0 &&
      epoch.step.every((at, k) => (at + 1) * ratio === evaluated.step.at(k)!)
    )
      return ratio;
  }
  return undefined;
}

/** Float32 has 24 bits. */
const ROUNDING = 2 ** -23;

interface Undone {
  readonly step: Float64Array;
  readonly value: Float64Array;
  /** Indices of the points in the series as logged. */
  readonly from: readonly number[];
  readonly distance: number;
  /** Points that the rounding of the mean hides. */
  readonly hidden: number;
}

/**
 * Undoes the mean since the epoch began ({@link meanBetween}). Null unless the log shows that it is such a
 * mean: the last value of each epoch must be the epoch's value.
 */
function undo(
  logged: PlacedSeries,
  epochs: PlacedSeries,
  batches: readonly Batch[],
  place: (batch: Batch) => { readonly step: number; readonly count: number },
  length: number,
): Undone | null {
  const ends = new Map<number, number>();
  for (const batch of batches)
    if (place(batch).count === length) ends.set(batch.epoch, logged.value.at(batch.index)!);
  let shown = 0;
  for (let k = 0; k < epochs.step.length; k++) {
    const end = ends.get(epochs.step.at(k)!);
    const mean = epochs.value.at(k)!;
    if (end === undefined || !Number.isFinite(end) || !Number.isFinite(mean)) continue;
    if (Math.abs(end - mean) > 2 * ROUNDING * Math.abs(mean)) return null;
    shown++;
  }
  if (shown < 2) return null;
  const step: number[] = [];
  const value: number[] = [];
  const from: number[] = [];
  const distances = new Map<number, number>();
  const positive = logged.value.every((one) => !(one < 0));
  let hidden = 0;
  let before = { key: '', count: 0, mean: 0 };
  for (const batch of batches) {
    const { step: at, count } = place(batch);
    const key = `${batch.file} ${batch.epoch}`;
    const mean = logged.value.at(batch.index)!;
    const last = key === before.key && before.count < count ? before : { count: 0, mean: 0 };
    const distance = count - last.count;
    const own = meanBetween(last.count, last.mean, count, mean);
    const error = (ROUNDING * (count * Math.abs(mean) + last.count * Math.abs(last.mean))) / distance;
    before = { key, count, mean };
    // A mean that is not finite stays so to the end of its epoch: it is kept as logged.
    if (Number.isFinite(mean) && positive && last.count > 0 && !(own > error)) {
      hidden++;
      continue;
    }
    distances.set(distance, (distances.get(distance) ?? 0) + 1);
    step.push(at);
    value.push(Number.isFinite(mean) ? own : mean);
    from.push(batch.index);
  }
  const [distance = 1] = [...distances].sort((a, b) => b[1] - a[1])[0] ?? [];
  return { step: Float64Array.from(step), value: Float64Array.from(value), from, distance, hidden };
}

/** A series of the points at some indices, with other steps and values. */
function taken<Series extends PlacedSeries>(series: Series, name: string, undone: Undone): Series {
  const { step, value, from } = undone;
  const gather = (all: Column): Column => Float64Array.from(from, (index) => all.at(index)!);
  const { gaps: _, ...rest } = series;
  return {
    ...rest,
    name,
    step,
    value,
    ...(series.wallTime === undefined ? {} : { wallTime: gather(series.wallTime) }),
    ...(series.byteOffset === undefined ? {} : { byteOffset: gather(series.byteOffset) }),
    missing: 0,
    refused: 0,
    pathOffsets: series.pathOffsets.map((offset) => {
      const at = from.findIndex((index) => index >= offset);
      return at < 0 ? from.length : at;
    }),
  } as unknown as Series;
}

const listed = (names: readonly string[]): string =>
  names.length <= 3 ? names.join(', ') : `${names.slice(0, 3).join(', ')} and ${names.length - 3} more`;

const longest = <Series extends PlacedSeries>(some: readonly Tag<Series>[]): Series | undefined =>
  some.reduce<Series | undefined>(
    (best, { series }) => (best === undefined || series.step.length > best.step.length ? series : best),
    undefined,
  );
const ofTraining = <Series extends PlacedSeries>(some: readonly Tag<Series>[]): Tag<Series>[] =>
  some.filter(({ before }) => before === '');

/** The series of event files by Keras, on one axis; undefined where another program wrote them. */
export function kerasEvents<Series extends PlacedSeries>(
  all: readonly Series[],
): Conventional<Series> | undefined {
  const tags = all.flatMap((series) => tagOf(series) ?? []);
  const epochs = tags.filter(({ counts }) => counts === 'epoch');
  const epoch = longest(ofTraining(epochs));
  // The callback writes only these. What a program adds under its own names is on its own axis.
  if (epoch === undefined || !epochs.some(({ quantity }) => isLossName(quantity))) return undefined;
  const batch = longest(ofTraining(tags).filter(({ counts }) => counts === 'batch'));
  const batches =
    batch?.byteOffset === undefined || epoch.byteOffset === undefined ? [] : batchesOf(batch, epoch);
  const base = batches.length === 0 ? 1 : firstBatch(batches);
  const again = startedAgain(batches, base);
  const perEpoch = batchesPerEpoch(batches, base, again) ?? fromEvaluations(tags);
  return perEpoch === undefined
    ? byEpoch(all, tags, batch)
    : new OnBatches(tags, epoch, { batches, base, again, perEpoch }).joined(all);
}

/** What the series of epochs are of, by their names. */
const quantitiesOf = (tags: readonly Tag<PlacedSeries>[]): Map<string, string> =>
  new Map(
    tags
      .filter(({ counts }) => counts === 'epoch')
      .map(({ series, before, quantity }) => [series.name, before === '' ? quantity : `val_${quantity}`]),
  );

/** The series as they are, where nothing says how many batches an epoch has. */
function byEpoch<Series extends PlacedSeries>(
  all: readonly Series[],
  tags: readonly Tag<Series>[],
  batch: Series | undefined,
): Conventional<Series> {
  const epochs = tags.filter(({ counts }) => counts === 'epoch').map(({ series }) => series.name);
  const quantities = quantitiesOf(tags);
  const losses = batch === undefined ? [] : epochs.filter((name) => isLossName(quantities.get(name)!));
  const notes =
    batch === undefined
      ? []
      : [
          `Keras: ${listed(epochs)} count epochs, and the log does not say how many batches each has: they are shown by epoch and not judged together with ${batch.name}, which may be a mean since its epoch began`,
        ];
  return {
    series: all,
    quantities,
    roles: new Map(losses.map((name) => [name, 'other'])),
    stepUnit: batch === undefined && all.length === tags.length ? 'epoch' : 'step',
    notes,
  };
}

/** How batches are counted. */
interface Counting {
  readonly batches: readonly Batch[];
  /** Number of the first batch. */
  readonly base: number;
  /** Files whose batches count from their own first epoch. */
  readonly again: ReadonlySet<number>;
  readonly perEpoch: number;
}

/** Series of epochs and of batches, joined on the axis of batches. */
class OnBatches<Series extends PlacedSeries> {
  private readonly quantities: Map<string, string>;
  private readonly roles = new Map<string, Role>();
  private readonly added: Series[] = [];
  /** Means that were undone, and those of which the log does not show that they are means. */
  private readonly shown: string[] = [];
  private readonly open: string[] = [];
  private hidden = 0;

  constructor(
    private readonly tags: readonly Tag<Series>[],
    private readonly epoch: Series,
    private readonly counting: Counting,
  ) {
    this.quantities = quantitiesOf(tags);
  }

  /** Batches before the first of a file, where its counter began again. */
  private shift(file: number): number {
    const { again, batches, perEpoch } = this.counting;
    const first = again.has(file) ? batches.find((one) => one.file === file)! : undefined;
    return first === undefined ? 0 : (first.epoch - first.within) * perEpoch;
  }

  private place({ file, step, epoch }: Batch): { step: number; count: number } {
    const { base, perEpoch } = this.counting;
    const at = step + this.shift(file);
    return { step: at, count: at - base + 1 - epoch * perEpoch };
  }

  private placed({ series, counts, quantity }: Tag<Series>): Series {
    const { base, perEpoch, again } = this.counting;
    if (counts === 'epoch') {
      // A learning rate applies to the whole epoch: it was set when the epoch began.
      const isRate = roleByName(quantity) === 'learning_rate';
      const step = series.step.map((at) => (isRate ? at * perEpoch + base : (at + 1) * perEpoch + base - 1));
      return { ...series, step };
    }
    if (counts !== 'batch' || again.size === 0) return series;
    const own = batchesOf(series, this.epoch);
    return { ...series, step: Float64Array.from(own, (batch) => this.place(batch).step) };
  }

  /** Looks at a series of batches, with the one of its epochs. */
  private look({ series, quantity }: Tag<Series>): void {
    const { quantities, roles, counting } = this;
    const mean = ofTraining(this.tags).find((one) => one.counts === 'epoch' && one.quantity === quantity);
    quantities.set(series.name, quantity);
    if (mean === undefined) return;
    if (!isLossName(quantity)) {
      // The epoch's series has it; within the epoch it is the mean so far.
      roles.set(series.name, 'other');
      return;
    }
    roles.set(mean.series.name, 'other');
    if (counting.perEpoch === 1) return;
    const place = (batch: Batch) => this.place(batch);
    const undone = undo(series, mean.series, batchesOf(series, this.epoch), place, counting.perEpoch);
    if (undone === null) {
      this.open.push(series.name);
      return;
    }
    const name = `${series.name} (${undone.distance === 1 ? 'per step' : `mean of ${undone.distance} steps`})`;
    this.added.push(taken(series, name, undone));
    quantities.set(name, quantity);
    roles.set(series.name, 'other');
    this.shown.push(series.name);
    this.hidden += undone.hidden;
  }

  private notes(): string[] {
    const { added, shown, open, hidden, counting } = this;
    const notes = [
      `Keras: an epoch has ${counted(counting.perEpoch, 'batch', 'batches')}; epoch_* tags are shown at the last batch of their epoch, learning rates at its first`,
    ];
    if (counting.again.size > 0)
      notes.push(
        'Keras counted batches from the start of the job; they are counted on from the epochs before',
      );
    if (shown.length > 0)
      notes.push(
        `${listed(shown)}: the mean since its epoch began, as its last value of each epoch is the epoch's; undone in ${listed(added.map(({ name }) => name))}, which is judged${hidden === 0 ? '' : `, without ${counted(hidden, 'point')} that the rounding of the mean hides`}`,
      );
    if (open.length > 0)
      notes.push(
        `${listed(open)}: Keras logs the mean since the epoch began; this log does not show whether it is one, so that it is judged as logged: a spike is smaller than it was, and a level may seem to change where an epoch begins`,
      );
    return notes;
  }

  joined(all: readonly Series[]): Conventional<Series> {
    const { tags, quantities, roles, added, counting } = this;
    for (const one of ofTraining(tags)) if (one.counts === 'batch') this.look(one);
    const isOfEpochs = ({ before, quantity }: Tag<Series>): boolean =>
      tags.some((one) => one.counts === 'epoch' && one.before === before && one.quantity === quantity);
    for (const one of tags)
      if (one.counts === 'evaluation' && isOfEpochs(one)) roles.set(one.series.name, 'other');
    const known = new Map(tags.map((one) => [one.series, one]));
    const series = all.map((one) => {
      const tag = known.get(one);
      return tag === undefined ? one : this.placed(tag);
    });
    return {
      series: [...added, ...series],
      quantities,
      roles,
      stepUnit: 'step',
      epochs: { batches: counting.perEpoch, first: counting.base },
      notes: this.notes(),
    };
  }
}
