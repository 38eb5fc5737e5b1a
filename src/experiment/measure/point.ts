/** Where curvature is measured: parameters, optimizer state and batches, from a capture or from files. */
import { join } from 'node:path';
import { batchTensor, type ColumnMap, readBatch } from '../../differentiate/autodiff/batches.ts';
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import {
  type MatchedObjective,
  type OpenOptions,
  openObjective,
} from '../../differentiate/autodiff/open-objective.ts';
import { plainName, type SourceTensor } from '../../differentiate/autodiff/parameters.ts';
import type { Checkpoint, TensorInfo } from '../../model/checkpoint.ts';
import { diagError, located } from '../../model/errors.ts';
import type { OptionValue } from '../../model/options.ts';
import { entriesOf } from '../../read/bytes/folder.ts';
import { kindOfPath, openFile, openSibling } from '../../read/bytes/source.ts';
import type { Capture } from '../../read/captures/read.ts';
import {
  kerasOptimizerOptions,
  savedOptimizerGroups,
  savedOptimizerOptions,
} from '../../read/checkpoints/optimizer-options.ts';
import { type CheckpointFile, checkpointFile, sniffCheckpoint } from '../../read/checkpoints/registry.ts';
import { chooseOptimizer, type OptimizerChoice } from '../../step/optimizers/registry.ts';
import { leavesAll, type RuleChoice } from '../../step/rules/choice.ts';
import { alongRecorded } from '../replay/along-recorded.ts';
import { prepareReplay, recordedSetup } from '../replay/from-capture.ts';
import { freshTensor, type TensorState } from '../replay/tensors.ts';

export interface CurvaturePoint {
  /** Path of the checkpoint or capture. */
  readonly name: string;
  readonly step: number | null;
  readonly model: MatchedObjective;
  readonly batches: readonly Batch[];
  /** Loss that was recorded there for the first batch; null where none was. */
  readonly recordedLoss: number | null;
  /** Parameters and state, in the layout of their source. */
  readonly tensors: readonly TensorState[];
  /** One for each group of `tensors`; null where no optimizer is known. */
  readonly optimizers: readonly OptimizerChoice[] | null;
  /** One for each group; null where not known. */
  readonly learningRates: readonly number[] | null;
  /** State that the preconditioner needs and the source does not have. */
  readonly missingState: readonly string[];
  readonly notes: readonly string[];
  /** Why the comparison with the limit may not be what it seems. */
  readonly caveats: readonly string[];
}

/** A batch of a capture's step. @throws batch-empty where none was recorded */
export async function captureBatch(capture: Capture, index: number): Promise<Batch> {
  const recorded = await capture.batch(index);
  if (recorded.size === 0)
    throw diagError('batch-empty', {}, { path: join(capture.path, capture.steps[index]!.file) });
  return new Map([...recorded].map(([name, { shape, data }]) => [name, batchTensor(name, shape, data)]));
}

/**
 * Opens the model of a capture: the one named, else the one that the capture names (never a module).
 *
 * @param sources tensors that are to be its parameters, and `from`, the file that they are of; default the capture's own
 */
export async function openCaptureModel(
  capture: Capture,
  model: string | undefined,
  options: OpenOptions,
  sources: readonly SourceTensor[] = capture.manifest.parameters,
  from: string = capture.path,
): Promise<MatchedObjective> {
  const own = capture.manifest.model;
  if (model === undefined && own === null)
    throw diagError('capture-without-model', { path: capture.path }, { path: capture.path });
  // A capture may come from a stranger: its model is in its folder, and only a module that the user names may be run.
  if (model === undefined) await (await openSibling(join(capture.path, 'capture.json'), own!)).close();
  return openObjective(model ?? join(capture.path, own!), sources, from, {
    sample: async () => [await captureBatch(capture, 0)],
    ...options,
    trusted: model !== undefined,
  });
}

/**
 * The point of a capture: its initial state and first recorded batch, or the state before `at`, rolled there with the
 * recorded gradients under the recorded clipping.
 *
 * @param batches how many steps' batches to average over, from that step on
 * @throws capture-step-unknown, capture-without-model
 */
export async function capturePoint(
  capture: Capture,
  options: OpenOptions & { readonly model?: string; readonly at?: number; readonly batches?: number },
): Promise<CurvaturePoint> {
  const index = options.at === undefined ? 0 : capture.steps.findIndex(({ step }) => step === options.at);
  if (index < 0)
    throw diagError(
      'capture-step-unknown',
      { step: options.at!, first: capture.steps[0]!.step, last: capture.steps.at(-1)!.step },
      { path: capture.path },
    );
  const model = await openCaptureModel(capture, options.model, options);
  return closedOnError(model, () => pointInCapture(capture, model, index, options.batches ?? 1));
}

/** A model whose point cannot be made is of no use: its threads and processes end. */
async function closedOnError<T>(model: MatchedObjective, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await model.objective.close();
    throw error;
  }
}

async function pointInCapture(
  capture: Capture,
  model: MatchedObjective,
  index: number,
  wanted: number,
): Promise<CurvaturePoint> {
  const prepared = await prepareReplay(capture, 'float32');
  const { setup, missingState, notes } = prepared;
  const { tensors, optimizers } = await alongRecorded({ capture, prepared }, index);
  const batches: Batch[] = [];
  for (const [i, { file }] of capture.steps.slice(index, index + wanted).entries()) {
    const batch = await captureBatch(capture, index + i);
    await located({ path: join(capture.path, file) }, () => model.objective.check([batch]));
    batches.push(batch);
  }
  if (batches.length < wanted)
    notes.push(
      `the capture has ${batches.length} steps from there on, not ${wanted}: so many batches were taken`,
    );
  return {
    name: capture.path,
    step: capture.steps[index]!.step,
    model,
    batches,
    recordedLoss: capture.steps[index]!.loss,
    tensors,
    // Clippy's own accumulator replaces the optimizer's, as in the steps that were taken.
    optimizers,
    learningRates: capture.steps[index]!.learningRates,
    missingState,
    notes,
    caveats: clippingCaveat(setup.clipping),
  };
}

const clippingCaveat = (clipping: RuleChoice): string[] =>
  leavesAll(clipping) ? [] : [clippedBy(clipping.label)];

const clippedBy = (label: string): string =>
  `the run was clipped by ${label}; the limit is that of its optimizer alone: where the rule shrinks the step, more is tolerated`;

/** Of weight decay that acts on the step. */
export const decayLeftOut = (decay: number): string =>
  `the weight decay of ${decay} is no part of the loss: what it adds to the curvature is left out`;

export interface FilePointOptions extends OpenOptions {
  readonly model: string;
  readonly batch: readonly string[];
  readonly map: ColumnMap;
  readonly optimizer?: OptimizerChoice;
  readonly learningRate?: number;
  /** Options that the user stated; the others are the checkpoint's own where it has them. Default: all as given. */
  readonly stated?: ReadonlySet<string>;
}

/**
 * The checkpoints of a path: itself, or those of a folder in the order of their steps; the shards of an index are one.
 * One that cannot be opened is the last, and says so when it is opened.
 *
 * @returns whoever asks closes them
 * @throws folder-without-inputs
 */
export async function checkpointsAt(path: string): Promise<CheckpointFile[]> {
  if ((await kindOfPath(path)) !== 'folder') return [checkpointFile(path)];
  const { entries } = await entriesOf(path);
  const found: { file: CheckpointFile; step: number }[] = [];
  const shards = new Set<string>();
  for (const entry of entries) {
    const file = entry.kind === 'folder' ? undefined : await recognised(entry.path);
    if (file === undefined) continue;
    const checkpoint = await file.open().catch(() => undefined);
    for (const shard of checkpoint?.shards ?? []) shards.add(join(path, shard));
    found.push({ file, step: checkpoint?.step ?? Number.POSITIVE_INFINITY });
  }
  const isShard = ({ file }: { readonly file: CheckpointFile }): boolean => shards.has(file.path);
  for (const { file } of found.filter(isShard)) await file.close();
  if (found.length === 0) throw diagError('folder-without-inputs', { path, files: entries.length }, { path });
  return found
    .filter((one) => !isShard(one))
    .sort((a, b) => a.step - b.step || (a.file.path < b.file.path ? -1 : 1))
    .map(({ file }) => file);
}

/** The checkpoint in a file; undefined for any other file. */
async function recognised(path: string): Promise<CheckpointFile | undefined> {
  const source = await openFile(path).catch(() => undefined);
  // An unreadable file may be one: opening it gives the reason.
  if (source === undefined) return (await kindOfPath(path)) === 'file' ? checkpointFile(path) : undefined;
  const format = source.byteLength === 0 ? undefined : await sniffCheckpoint(source);
  if (format !== undefined) return checkpointFile(path, { source, format });
  await source.close();
  return undefined;
}

/** The point of a checkpoint file. @throws model-names, model-shapes, checkpoint-values and what reading throws */
export const checkpointPoint = async (
  file: CheckpointFile,
  options: FilePointOptions,
): Promise<CurvaturePoint> => pointOf(await file.open(), fileSources(file.path, options));

function fileSources(path: string, options: FilePointOptions): PointSources {
  return {
    ...options,
    optimizers: options.optimizer === undefined ? [] : [options.optimizer],
    defaultsApply: options.stated !== undefined,
    groupOf: () => 0,
    caveats: [],
    onForeignState: (slots) =>
      `the checkpoint also holds the state ${slots.join(', ')}, which ${options.optimizer!.optimizer.id} with these options does not have: was it the optimizer of this run?`,
    openModel: (sources) =>
      openObjective(options.model, sources, path, {
        sample: ({ inputs }) =>
          Promise.all(options.batch.map((file) => readBatch(file, inputs, options.map))),
        ...options,
        trusted: true,
      }),
    readBatches: async ({ objective }) => {
      const batches: Batch[] = [];
      for (const file of options.batch)
        await located({ path: file }, async () => {
          batches.push(await readBatch(file, objective.inputs, options.map));
          await objective.check(batches.slice(-1));
        });
      return batches;
    },
  };
}

/**
 * The point of a checkpoint of the run that a capture is of: with the capture's model, its first recorded batch, and its
 * optimizers with the options that the checkpoint itself holds.
 *
 * @param checkpoint stays open
 * @param learningRate of all groups at the checkpoint, where it is known and the checkpoint does not hold it; without
 *   use where the capture's groups have learning rates of their own
 * @throws capture-several-groups, checkpoint-other-optimizer, and what `checkpointPoint` throws
 */
export async function checkpointOfCapture(
  checkpoint: Checkpoint,
  capture: Capture,
  learningRate: number | undefined,
): Promise<CurvaturePoint> {
  const { path } = checkpoint;
  const { optimizers, clipping } = recordedSetup(capture.manifest, capture.path);
  const groups = new Map(capture.manifest.parameters.map(({ name, group }) => [plainName(name), group]));
  const common = new Set(capture.steps[0]!.learningRates).size === 1;
  return pointOf(checkpoint, {
    openModel: (sources) => openCaptureModel(capture, undefined, {}, sources, path),
    readBatches: async () => [await captureBatch(capture, 0)],
    optimizers,
    defaultsApply: false,
    groupOf: (name) => {
      const group = optimizers.length === 1 ? 0 : groups.get(plainName(name));
      if (group === undefined)
        throw diagError(
          'capture-several-groups',
          { groups: optimizers.length, name },
          { path: capture.path },
        );
      return group;
    },
    stated: new Set(),
    caveats: clippingCaveat(clipping),
    onForeignState: (slots) => {
      const { id } = optimizers[0]!.optimizer;
      throw diagError('checkpoint-other-optimizer', { slots, optimizer: id }, { path });
    },
    ...(learningRate === undefined || !common ? {} : { learningRate }),
  });
}

interface PointSources extends Pick<FilePointOptions, 'learningRate' | 'stated'> {
  /** One for each group; none where no optimizer is known. */
  readonly optimizers: readonly OptimizerChoice[];
  /** Whether options that were not stated are our defaults rather than those of the run. */
  readonly defaultsApply: boolean;
  /** Group of a parameter of the checkpoint. */
  groupOf(name: string): number;
  readonly caveats: readonly string[];
  /** The caveat that the checkpoint has state of another optimizer; may throw. */
  onForeignState(slots: readonly string[]): string;
  openModel(sources: readonly SourceTensor[]): Promise<MatchedObjective>;
  readBatches(model: MatchedObjective): Promise<readonly Batch[]>;
}

async function pointOf(checkpoint: Checkpoint, options: PointSources): Promise<CurvaturePoint> {
  const parameters = checkpoint.tensors.filter(({ role }) => role === 'parameter');
  const sources: SourceTensor[] = parameters.map(({ name, shape, layout }) => ({
    name,
    shape,
    layout,
    layoutGuessed: true,
  }));
  const model = await options.openModel(sources);
  return closedOnError(model, () => pointInCheckpoint(checkpoint, parameters, sources, model, options));
}

async function pointInCheckpoint(
  checkpoint: Checkpoint,
  parameters: readonly TensorInfo[],
  sources: readonly SourceTensor[],
  model: MatchedObjective,
  options: PointSources,
): Promise<CurvaturePoint> {
  const batches = await options.readBatches(model);
  const { optimizers, learningRates, notes } = withSavedOptions(checkpoint, options);
  const found: FoundState = { isFresh: isFresh(checkpoint), missing: new Set(), foreign: new Set() };
  const tensors: TensorState[] = [];
  for (const [k, info] of parameters.entries()) {
    const meta = { ...sources[k]!, embedding: false };
    const w = await floats(checkpoint, info);
    if (optimizers.length === 0) {
      tensors.push({ ...meta, w, slots: {}, stepsTaken: 0, group: 0 });
      continue;
    }
    const group = options.groupOf(meta.name);
    const tensor = freshTensor(meta, w, optimizers[group]!, 'float32', group);
    await restoreState(checkpoint, tensor, optimizers[group]!, found);
    tensors.push(tensor);
  }
  return {
    name: checkpoint.path,
    step: checkpoint.step,
    model,
    batches,
    recordedLoss: null,
    tensors,
    optimizers: optimizers.length === 0 ? null : optimizers,
    learningRates,
    missingState: [...found.missing],
    notes,
    caveats: [
      ...options.caveats,
      ...(found.foreign.size === 0 ? [] : [options.onForeignState([...found.foreign])]),
    ],
  };
}

/** Before the first step of a training there is no state yet; where some is there that no parameter owns, it had begun. */
const isFresh = ({ step, tensors }: Checkpoint): boolean =>
  step === 0 &&
  tensors.every((t) => t.role !== 'optimizer_state' || t.elements === 1 || t.parameter !== undefined);

/** What is known of a checkpoint's optimizer state, and what is found tensor by tensor. */
interface FoundState {
  readonly isFresh: boolean;
  /** Names of what the optimizer needs and the checkpoint does not hold. */
  readonly missing: Set<string>;
  /** Names of state that the optimizer does not have. */
  readonly foreign: Set<string>;
}

/** Gives a tensor the optimizer's state and the number of steps that a checkpoint holds of it. */
async function restoreState(
  checkpoint: Checkpoint,
  tensor: TensorState,
  { optimizer, options }: OptimizerChoice,
  { isFresh, missing, foreign }: FoundState,
): Promise<void> {
  const state = checkpoint.tensors.filter(
    (t) => t.role === 'optimizer_state' && plainName(t.parameter ?? '') === plainName(tensor.name),
  );
  for (const [slot, values] of Object.entries(tensor.slots)) {
    const stored = state.find((t) => t.slot === slot);
    if (stored === undefined && isFresh) continue;
    const isOfSomeParameter = checkpoint.tensors.some((t) => t.slot === slot && t.parameter === undefined);
    if (stored === undefined && isOfSomeParameter) missing.add(`${slot} whose parameter is known`);
    else if (stored === undefined || stored.elements !== values.length) missing.add(slot);
    else values.set(await floats(checkpoint, stored));
  }
  for (const { slot, elements } of state)
    if (
      slot !== undefined &&
      elements === tensor.w.length &&
      elements > 1 &&
      !Object.hasOwn(tensor.slots, slot)
    )
      foreign.add(slot);
  const steps = state.find((t) => t.slot === 'step');
  const saved = steps === undefined ? checkpoint.step : Number((await checkpoint.read(steps.name))[0]);
  // A number that counts nothing is as good as none.
  const taken = saved !== null && saved >= 0 && Number.isFinite(saved) ? saved : null;
  // Without the number of steps a bias correction is off by as much as 1/(1 − β₂).
  if (optimizer.countsSteps?.(options) && taken === null) missing.add('step');
  tensor.stepsTaken = taken ?? 0;
}

/** The optimizers as asked for, with the checkpoint's own value of whatever was not stated. */
function withSavedOptions(
  checkpoint: Checkpoint,
  sources: PointSources,
): { optimizers: readonly OptimizerChoice[]; learningRates: readonly number[] | null; notes: string[] } {
  const { optimizers, learningRate, defaultsApply } = sources;
  const notes = new Set<string>();
  const groups = savedOptimizerGroups(checkpoint);
  const chosen: OptimizerChoice[] = [];
  const learningRates: number[] = [];
  for (const [group, { optimizer, options }] of optimizers.entries()) {
    const asked: Record<string, OptionValue> = { ...options };
    if (learningRate !== undefined) asked.learningRate = learningRate;
    const saved = groups.length === optimizers.length ? groups[group] : undefined;
    const { learningRate: rate, ...rest } = mergedOptions(
      checkpoint,
      optimizer.id,
      saved,
      asked,
      sources,
      notes,
    );
    chosen.push(chooseOptimizer(optimizer.id, rest));
    if (typeof rate === 'number' && rate > 0) learningRates.push(rate);
  }
  if (defaultsApply && chosen.length > learningRates.length)
    notes.add(
      'no learning rate is known, so that the eigenvalues have no ratio: state it as in --optimizer adam:learningRate=1e-3',
    );
  return {
    optimizers: chosen,
    learningRates: chosen.length > 0 && learningRates.length === chosen.length ? learningRates : null,
    notes: [...notes],
  };
}

/** The options of one group: what was stated, else what the checkpoint was saved with, else what was asked for. */
function mergedOptions(
  checkpoint: Checkpoint,
  id: OptimizerChoice['optimizer']['id'],
  savedOfGroup: ReturnType<typeof savedOptimizerOptions> | undefined,
  asked: Readonly<Record<string, OptionValue>>,
  { stated, defaultsApply }: PointSources,
  notes: Set<string>,
): Record<string, OptionValue> {
  const merged: Record<string, OptionValue> = { ...asked };
  const keras = kerasOptimizerOptions(checkpoint, id);
  const own = keras?.saved ?? savedOfGroup ?? savedOptimizerOptions(checkpoint);
  const assumed = [...(keras?.defaults ?? [])].filter(([name]) => defaultsApply && !stated?.has(name));
  for (const [name, value] of assumed) merged[name] = value;
  if (assumed.length > 0)
    notes.add(
      `the checkpoint does not say ${assumed.map(([name]) => name).join(', ')}: Keras's default is used, ${assumed.map(([name, value]) => `${name}=${value}`).join(', ')}`,
    );
  if (keras !== undefined && keras.weightDecay > 0) notes.add(decayLeftOut(keras.weightDecay));
  if (keras !== undefined && keras.clipping.length > 0) notes.add(clippedBy(keras.clipping.join(', ')));
  if (stated === undefined) return merged;
  const taken: string[] = [];
  for (const [name, value] of own) {
    if (name !== 'learningRate' && !Object.hasOwn(merged, name)) continue;
    if (merged[name] === value) continue;
    if (stated.has(name))
      notes.add(`${name} is ${merged[name]} as asked for; the checkpoint was saved with ${value}`);
    else {
      merged[name] = value;
      taken.push(`${name}=${value}`);
    }
  }
  if (taken.length > 0) notes.add(`from the checkpoint's own optimizer: ${taken.join(', ')}`);
  return merged;
}

async function floats(checkpoint: Checkpoint, { name, dtype }: TensorInfo): Promise<Float32Array> {
  if (dtype.startsWith('C')) throw diagError('complex-values', { name }, { path: checkpoint.path });
  const data = await checkpoint.read(name);
  if (data instanceof Float32Array) return data;
  return Float32Array.from(data as Float64Array, Number);
}
