/**
 * Records the gradient steps of a TensorFlow.js training around a divergence, so that `clippy-diag` can say what would have
 * prevented it.
 *
 *     import { clippyRecorder } from 'clippy-diag/recorder';
 *     const recorder = clippyRecorder({ variables, optimizer, folder: 'capture' });
 *     // your own loop:
 *     const { value, grads } = optimizer.computeGradients(() => loss(batch));
 *     recorder.record(step, value, grads, { batch: { dense: batch.x, 'label/click': batch.y } });
 *     optimizer.applyGradients(grads);
 *     // or, once, before model.fit, which then is recorded with its batches:
 *     clippyRecorder({ variables, optimizer: model.optimizer, folder: 'capture' }).attach(model);
 *
 * In memory are the gradients since the older of two snapshots of variables and optimizer state, which are renewed every K
 * steps, so a capture begins K to 2K steps before the incident. When the judge of `analyze` or a trigger (`triggers.ts`) sees
 * one, or after `flush()`, what is in memory is written, and each of the next `after` steps is added as it comes. Every file
 * appears whole or not at all. It imports neither tfjs nor Node: in a browser say where files go (`files`).
 */
import type { Words } from '../../step/tensor/sketch.ts';
import { numberOf } from './number-of.ts';
import {
  type LedgerEntry,
  type LedgerFiles,
  parametersOf,
  type TfjsLedger,
  tfjsLedger,
} from './tfjs-ledger.ts';
import { finiteWatch, gradientNorm, lossWatch, normWatch } from './triggers.ts';

/** What is used of a tensor or variable of tfjs. */
export interface RecordedTensor {
  readonly shape: readonly number[];
  dataSync(): ArrayLike<number>;
}

export interface RecordedVariable extends RecordedTensor {
  readonly name: string;
}

/** What is used of an optimizer of tf.train; `ClippyAdagrad` is one. */
export interface RecordedOptimizer {
  readonly iterations: number;
  computeGradients(f: never, variables?: never): { value: RecordedTensor; grads: RecordedGradients };
  getConfig(): Readonly<Record<string, unknown>>;
}

export type RecordedGradients = Readonly<Record<string, RecordedTensor>>;

/** What is used of a tf.LayersModel. */
export interface RecordedModel {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
}

/** Where the files of a capture go. Names are paths below its place, with slashes. */
export interface CaptureFiles {
  /** Whether a folder is there. */
  exists(folder: string): boolean;
  /** Writes a file whole or not at all; folders are made. */
  write(path: string, bytes: Uint8Array): void;
  /** Gives a folder its name, once it is whole. */
  rename(from: string, to: string): void;
  /** Copies a file of the program, such as a model description; absent where there are none. */
  copy?(from: string, to: string): void;
  /** Adds bytes to the end of a file, and removes a file; a ledger needs both. */
  append?(path: string, bytes: Uint8Array): void;
  remove?(path: string): void;
}

export interface RecorderOptions<Variable extends RecordedTensor = RecordedTensor> {
  /** The tf.Variables that are trained; `read()` of a layer's weight gives one, which tfjs types as a tensor. */
  readonly variables: readonly Variable[];
  /** A tf.train optimizer (Adagrad, SGD, Momentum, Adam, RMSProp) or `ClippyAdagrad`. */
  readonly optimizer: RecordedOptimizer;
  /** Where the capture goes; a second incident goes to `<folder>-2`, up to `maxCaptures`. Default `capture`. */
  readonly folder?: string;
  /** K: steps between two snapshots. Default 20. */
  readonly every?: number;
  /** Steps recorded after the incident. Default 34. */
  readonly after?: number;
  /** Clipping that you do yourself, e.g. {rule: 'global-norm', maxNorm: 1}; pass gradients from before it. */
  readonly clipping?: Readonly<Record<string, unknown>>;
  /** The capture's model description, copied into the folder. */
  readonly modelFile?: string;
  /** What the manifest names as framework, e.g. `tfjs ${tf.version.tfjs}`. */
  readonly framework?: string;
  /** Default 3. */
  readonly maxCaptures?: number;
  /** Default: the file system of Node. */
  readonly files?: CaptureFiles;
  /**
   * Whether some hundred bytes of every step are kept in the folder `ledger` next to the capture (`<name>-ledger` for a
   * capture of another name), by which `clippy-diag compare` finds where two runs part. Default: from 100,000
   * parameters on.
   */
  readonly ledger?: boolean;
  /** Steps from one whose tensors are summarised to the next. Default: 1 up to 5,000 parameters, else 256. */
  readonly ledgerEvery?: number;
}

export interface RecordExtra {
  /** Losses of tasks, by name. */
  readonly tasks?: Readonly<Record<string, number>>;
  /** Tensors of the batch for closed loops. */
  readonly batch?: Readonly<Record<string, RecordedTensor>>;
  /** Names the batch, or each of its rows; kept in the ledger, for `clippy-diag who`. */
  readonly batchId?: number | string | readonly (number | string)[];
}

export interface TfjsRecorder {
  /**
   * Takes one step, before `applyGradients`. It never stops the training: what it cannot do is a warning, and it records no more.
   *
   * @param loss a number or a scalar tensor
   * @param grads gradients by variable name, before any clipping
   */
  record(step: number, loss: number | RecordedTensor, grads: RecordedGradients, extra?: RecordExtra): void;
  /** Writes a capture at the next step, incident or not, and records on for `after` steps. */
  flush(reason?: string): void;
  /**
   * Records every `optimizer.minimize`, which model.fit and model.trainOnBatch call. With a model its batches too: inputs under
   * their names, targets as `label/<output>`.
   */
  attach(model?: RecordedModel): TfjsRecorder;
  /** Why nothing is recorded any more, or null. */
  readonly stopped: string | null;
}

interface Held {
  readonly dtype: 'F32' | 'I32';
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array;
}
type Tensors = Record<string, Held>;

interface Taken {
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  readonly tasks: Readonly<Record<string, number>>;
  readonly tensors: Tensors;
  readonly parameters: Tensors;
  readonly state: Tensors | null;
}

/** What a class of optimizers is in a capture: name, options, state of a variable, and the clipping that it does itself. */
interface Kind {
  readonly name: string;
  /** Lists of the optimizer that hold the slots, and the capture's names of those. */
  readonly slots: Readonly<Record<string, string>>;
  options(config: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
  clipping?(config: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
}

const OPTIMIZERS: Readonly<Record<string, Kind>> = {
  Adagrad: {
    name: 'adagrad',
    slots: { accumulatedGrads: 'accumulator' },
    options: ({ initialAccumulatorValue, epsilon }) => ({
      initialAccumulatorValue,
      // AdagradOptimizer has no option for it: it takes the backend's ε.
      epsilon: epsilon ?? 1e-7,
      epsilonInside: true,
      accumulator: 'standard',
    }),
  },
  ClippyAdagrad: {
    name: 'adagrad',
    slots: {},
    options: ({ initialAccumulatorValue, epsilon, accumulator }) => ({
      initialAccumulatorValue,
      epsilon,
      epsilonInside: true,
      accumulator,
    }),
    clipping: ({ variableRelativeThreshold, absoluteThreshold, accumulatorRelativeThreshold, ...rest }) => ({
      rule: 'clippy',
      variableRelativeThreshold,
      absoluteThreshold,
      accumulatorRelativeThreshold,
      accumulator: rest.accumulator,
      epsilon: rest.epsilon,
    }),
  },
  SGD: { name: 'sgd', slots: {}, options: () => ({}) },
  Momentum: {
    name: 'sgd',
    slots: { accumulations: 'momentum' },
    options: ({ momentum, useNesterov }) => ({ momentum, nesterov: useNesterov }),
  },
  Adam: {
    name: 'adam',
    slots: { accumulatedFirstMoment: 'm', accumulatedSecondMoment: 'v' },
    options: ({ beta1, beta2, epsilon }) => ({ beta1, beta2, epsilon }),
  },
  RMSProp: {
    name: 'rmsprop',
    slots: { accumulatedMeanSquares: 'v', accumulatedMoments: 'momentum', accumulatedMeanGrads: 'm' },
    options: ({ decay, momentum, epsilon, centered }) => ({
      rho: decay,
      momentum,
      epsilon,
      centered,
      epsilonInside: true,
      learningRateInside: true,
    }),
  },
};

/** Losses before the first recorded step that a capture keeps, so that its band is known. */
const HISTORY = 500;
/** Parameters from which on a ledger is kept unasked. */
const LEDGER_FROM = 100_000;

/** What tfjs keeps of a slot: the variable under a name that begins with that of its owner. */
interface Slot {
  readonly originalName: string;
  readonly variable: RecordedTensor | undefined;
}

/**
 * A recorder; `record` each step, or `attach` once.
 *
 * @throws where a variable has no name, the optimizer cannot be replayed, or there is no file system and `files` is not given
 */
export function clippyRecorder(given: RecorderOptions): TfjsRecorder {
  const options = withNames(given);
  const { variables, optimizer } = options;
  const files = options.files ?? nodeFiles();
  const { className } = optimizer.constructor as unknown as { readonly className: string };
  const kind = Object.hasOwn(OPTIMIZERS, className) ? OPTIMIZERS[className] : undefined;
  if (kind === undefined)
    throw new Error(
      `clippy-recorder: ${className} cannot be replayed; known are ${Object.keys(OPTIMIZERS).join(', ')}`,
    );
  const captures = new Captures(options, kind, files);
  let ledger = wantsLedger(options, files) ? ledgerOf(options, className, files) : null;
  let steps = 0;
  let stopped: string | null = null;
  /** The batch that an attached model is about to train on. */
  let batchAtHand: Readonly<Record<string, RecordedTensor>> = {};
  const recorder: TfjsRecorder = {
    record(step, loss, grads, extra = {}) {
      const value = (): number => (typeof loss === 'number' ? loss : loss.dataSync()[0]!);
      const own = { ...extra, batch: extra.batch ?? batchAtHand };
      if (stopped === null) stopped = failureOf('stopped', () => captures.take(step, value(), grads, own));
      if (ledger === null) return;
      const failure = failureOf('the ledger stopped', () =>
        ledger?.take(
          ledgerEntry(variables, optimizer, { step, loss: value(), grads, extra: own }, () =>
            stateOf(kind, optimizer, variables),
          ),
        ),
      );
      if (failure !== null) ledger = null;
    },
    flush(reason = 'requested') {
      captures.wanted = reason;
    },
    attach(model) {
      const computeGradients = optimizer.computeGradients.bind(optimizer);
      optimizer.computeGradients = (f, list) => {
        const result = computeGradients(f, list);
        recorder.record(steps++, result.value, result.grads);
        return result;
      };
      if (model !== undefined)
        heardBatches(model, (batch) => {
          batchAtHand = batch;
        });
      return recorder;
    },
    get stopped() {
      return stopped;
    },
  };
  return recorder;
}

/** A capture that is being written. */
interface Open {
  path: string;
  /** Steps to come. */
  left: number;
  readonly manifest: { readonly steps: object[] };
}

/** Keeps the last steps in memory, and writes a capture when an incident begins or one is asked for. */
class Captures {
  /** Why a capture is to be written at the next step, incident or not; null where none is. */
  wanted: string | null = null;
  readonly #options: RecorderOptions<RecordedVariable>;
  readonly #kind: Kind;
  readonly #files: CaptureFiles;
  readonly #every: number;
  /** Steps since the older of the two snapshots. */
  #ring: Taken[] = [];
  #losses: { readonly step: number; readonly loss: number }[] = [];
  #since = 0;
  #count = 0;
  readonly #watch = lossWatch();
  readonly #norms = normWatch();
  readonly #finite = finiteWatch();
  /** The first steps, until the loss has fallen or a capture was written; of a run that learns nothing they are written. */
  #first: Taken[] | null = [];
  /** An incident at the last step of a capture, for which nothing was in memory. */
  #late: string | null = null;
  #open: Open | null = null;

  constructor(options: RecorderOptions<RecordedVariable>, kind: Kind, files: CaptureFiles) {
    this.#options = options;
    this.#kind = kind;
    this.#files = files;
    this.#every = options.every ?? 20;
  }

  take(step: number, loss: number, grads: RecordedGradients, extra: RecordExtra): void {
    const { optimizer, maxCaptures = 3, after = 34 } = this.#options;
    const { learningRate } = optimizer as unknown as { readonly learningRate: number };
    const tensors = this.#tensorsOf(grads, extra);
    const taken: Taken = {
      step,
      loss,
      learningRate,
      tasks: extra.tasks ?? {},
      tensors,
      ...this.#snapshot(),
    };
    if (this.#open === null) this.#ring.push(taken);
    else this.#append(this.#open, taken, true);
    const watched = this.#watch.add(loss);
    if (this.#watch.learnt) this.#first = null;
    if (this.#first !== null && this.#first.length <= after) this.#first.push(taken);
    const begins = this.#begins(taken, watched?.reason ?? null);
    // After the last step of a capture nothing is in memory: what asks for another then has it a step later.
    const ended = this.#open === null && this.#ring.length === 0;
    const asked = this.wanted ?? (this.#count < maxCaptures ? (this.#late ?? begins) : null);
    if (this.#open === null && !ended && asked !== null) {
      const first = watched?.nothingLearnt && asked === watched.reason ? this.#first : null;
      this.#begin(asked, first ?? this.#ring, first === null ? after : 0);
    }
    this.#late = ended ? begins : null;
    this.#losses.push({ step, loss });
    if (this.#losses.length > 2 * HISTORY + 4 * this.#every)
      this.#losses = this.#losses.slice(-HISTORY - 2 * this.#every);
  }

  /** Why an incident begins at a step: what its loss shows, else its tensors. */
  #begins({ tensors, parameters, state }: Taken, judged: string | null): string | null {
    const { maxCaptures = 3 } = this.#options;
    const broken = this.#finite({ ...tensors, ...parameters, ...state });
    const changed = this.#norms(gradientNorm(tensors));
    // A changed norm never takes the last capture: a loss that is lost is worth more.
    return judged ?? broken ?? (this.#count < maxCaptures - 1 ? changed : null);
  }

  #tensorsOf(grads: RecordedGradients, { batch = {} }: RecordExtra): Tensors {
    const tensors: Tensors = {};
    for (const [name, tensor] of Object.entries(batch)) tensors[`batch/${name}`] = copy(tensor);
    for (const { name } of this.#options.variables) {
      const gradient = grads[name];
      // A variable that the loss of this step does not use has none.
      if (gradient != null) tensors[`grad/${name}`] = copy(gradient);
    }
    return tensors;
  }

  /** Every K steps the variables, and the optimizer's state where no capture is open; two snapshots are kept. */
  #snapshot(): Pick<Taken, 'parameters' | 'state'> {
    const parameters: Tensors = {};
    if (this.#since++ % this.#every !== 0) return { parameters, state: null };
    const { variables, optimizer } = this.#options;
    for (const variable of variables) parameters[`param/${variable.name}`] = copy(variable);
    if (this.#open !== null) return { parameters, state: null };
    const snapshots = this.#ring.flatMap((taken, i) => (taken.state === null ? [] : [i]));
    if (snapshots.length > 1) this.#ring = this.#ring.slice(snapshots.at(-1));
    return { parameters, state: stateOf(this.#kind, optimizer, variables) };
  }

  /** Adds a step to a capture; after the last one at hand its manifest. */
  #append(to: Open, taken: Taken, isLast: boolean): void {
    const file = `step-${String(taken.step).padStart(8, '0')}.safetensors`;
    this.#files.write(`${to.path}/${file}`, safetensors({ ...taken.tensors, ...taken.parameters }));
    const tasks = Object.entries(taken.tasks).map(([task, value]) => [task, numberOf(value)]);
    to.manifest.steps.push({
      step: taken.step,
      file,
      learningRate: taken.learningRate,
      loss: numberOf(taken.loss),
      ...(tasks.length > 0 ? { tasks: Object.fromEntries(tasks) } : {}),
    });
    if (!isLast) return;
    this.#files.write(
      `${to.path}/capture.json`,
      new TextEncoder().encode(JSON.stringify(to.manifest, null, 1)),
    );
    if (--to.left === 0) {
      this.#open = null;
      this.#since = 0;
    }
  }

  /** Writes steps as a capture, to which the next `after` are added. */
  #begin(reason: string, held: readonly Taken[], after: number): void {
    const { folder = 'capture', modelFile } = this.#options;
    this.#count++;
    this.wanted = null;
    this.#first = null;
    let target = folder;
    for (let n = 2; this.#files.exists(target); n++) target = `${folder}-${n}`;
    const first = held[0]!;
    const opened: Open = {
      path: `${target}.partial`,
      manifest: this.#manifest(first, { step: held.at(-1)!.step, reason }),
      left: after + 1,
    };
    this.#open = opened;
    this.#files.write(
      `${opened.path}/initial.safetensors`,
      safetensors({ ...first.parameters, ...first.state }),
    );
    if (modelFile !== undefined)
      this.#files.copy?.(modelFile, `${opened.path}/${modelFile.split('/').at(-1)}`);
    for (const [i, taken] of held.entries())
      this.#append(opened, i === 0 ? { ...taken, parameters: {} } : taken, i === held.length - 1);
    this.#files.rename(opened.path, target);
    opened.path = target;
    this.#ring = [];
  }

  #manifest(first: Taken, flushed: { readonly step: number; readonly reason: string }): Open['manifest'] {
    const { optimizer, variables, modelFile, framework = 'tfjs', clipping } = this.#options;
    const before = this.#losses.filter((point) => point.step < first.step).slice(-HISTORY);
    const config = optimizer.getConfig();
    return {
      version: 1,
      framework,
      optimizer: {
        name: this.#kind.name,
        learningRate: first.learningRate,
        weightDecay: 0,
        ...this.#kind.options(config),
      },
      clipping: clipping ?? this.#kind.clipping?.(config) ?? { rule: 'none' },
      parameters: variables.map(({ name, shape }) => ({ name, shape, ...layoutOf(name, shape.length) })),
      ...(modelFile === undefined ? {} : { model: modelFile.split('/').at(-1) }),
      flushed,
      history: { steps: before.map((point) => point.step), loss: before.map(({ loss }) => numberOf(loss)) },
      steps: [],
    } as Open['manifest'];
  }
}

/** The state of an optimizer as it is, by `state/slot/variable`. */
function stateOf(kind: Kind, optimizer: RecordedOptimizer, variables: readonly RecordedVariable[]): Tensors {
  const tensors: Tensors = {};
  const lists = optimizer as unknown as Readonly<Record<string, readonly Slot[] | undefined>>;
  for (const [list, slot] of Object.entries(kind.slots))
    for (const { originalName, variable } of lists[list] ?? [])
      if (variable)
        tensors[`state/${slot}/${originalName.slice(0, originalName.lastIndexOf('/'))}`] = copy(variable);
  const own = optimizer as { accumulatorOf?(name: string): RecordedTensor | undefined };
  for (const { name } of variables) {
    const accumulator = own.accumulatorOf?.(name);
    if (accumulator !== undefined) tensors[`state/accumulator/${name}`] = copy(accumulator);
    tensors[`state/step/${name}`] = {
      dtype: 'F32',
      shape: [],
      data: Float32Array.of(optimizer.iterations),
    };
  }
  return tensors;
}

/** Calls what may not stop a training; returns what was thrown, said once, or null. */
function failureOf(what: string, call: () => void): string | null {
  try {
    call();
    return null;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    console.warn(`clippy-recorder: ${what}, training goes on: ${why}`);
    return why;
  }
}

/** Left open, by size alone; where files can only be written whole there is none. */
function withNames(options: RecorderOptions): RecorderOptions<RecordedVariable> {
  const isVariable = (tensor: RecordedTensor): tensor is RecordedVariable => 'name' in tensor;
  const { variables } = options;
  if (!variables.every(isVariable))
    throw new TypeError('clippy-recorder: variables are tf.Variables, which have names; a tensor was given');
  return { ...options, variables };
}

function wantsLedger({ ledger, variables }: RecorderOptions, files: CaptureFiles): boolean {
  if (ledger !== undefined) return ledger;
  return parametersOf(variables) >= LEDGER_FROM && files.append !== undefined && files.remove !== undefined;
}

function ledgerOf(
  options: RecorderOptions<RecordedVariable>,
  optimizer: string,
  files: CaptureFiles,
): TfjsLedger {
  const { folder = 'capture', framework = 'tfjs', variables, ledgerEvery } = options;
  if (files.append === undefined || files.remove === undefined)
    throw new Error('clippy-recorder: a ledger needs `append` and `remove` of `files`');
  if (ledgerEvery !== undefined && !(Number.isInteger(ledgerEvery) && ledgerEvery >= 1))
    throw new Error(`clippy-recorder: ledgerEvery is ${ledgerEvery}; it must be a whole number from 1 on`);
  const place = folder.replace(/[^/]+$/, (name) => (name === 'capture' ? 'ledger' : `${name}-ledger`));
  return tfjsLedger(place, files as LedgerFiles, {
    framework,
    optimizer,
    tensors: variables,
    every: ledgerEvery,
  });
}

/** A step as the ledger takes it, before its update; tensors are read and not copied. */
function ledgerEntry(
  variables: readonly RecordedVariable[],
  optimizer: RecordedOptimizer,
  taken: { step: number; loss: number; grads: RecordedGradients; extra: RecordExtra },
  state: () => Tensors,
): LedgerEntry {
  const { step, loss, grads, extra } = taken;
  const read = (tensor: RecordedTensor | null | undefined): Words | null =>
    tensor == null ? null : wordsOf(tensor);
  const { learningRate } = optimizer as unknown as { readonly learningRate: number };
  const plain = Object.entries({ ...optimizer.getConfig(), learningRate }).filter(([, value]) =>
    ['number', 'string', 'boolean'].includes(typeof value),
  );
  return {
    step,
    loss,
    weights: Object.fromEntries(variables.map((variable) => [variable.name, read(variable)])),
    gradients: Object.fromEntries(variables.map(({ name }) => [name, read(grads[name])])),
    state: () =>
      Object.fromEntries(
        Object.entries(state()).map(([name, { data }]) => [name.slice('state/'.length), data]),
      ),
    batch: Object.fromEntries(Object.entries(extra.batch ?? {}).map(([name, own]) => [name, wordsOf(own)])),
    batchId: extra.batchId,
    options: Object.fromEntries(plain.map(([key, value]) => [`0.${key}`, value])),
  };
}

/** The values of a tensor as they are; those of a list, which no typed array holds, as int32. */
const wordsOf = (tensor: RecordedTensor): Words => {
  const data = tensor.dataSync();
  return ArrayBuffer.isView(data) ? (data as unknown as Words) : Int32Array.from(data);
};

/** Names the tensors that a model's training function is called with: inputs, then targets. */
function heardBatches(model: RecordedModel, hear: (batch: Record<string, RecordedTensor>) => void): void {
  type Train = (data: readonly RecordedTensor[]) => unknown;
  // A tf.Sequential trains the model inside.
  const inner = (model as unknown as { readonly model?: RecordedModel | null }).model;
  const trained = (inner ?? model) as RecordedModel & { makeTrainFunction(): Train };
  const make = trained.makeTrainFunction.bind(trained);
  const names = [...trained.inputNames, ...trained.outputNames.map((name) => `label/${name}`)];
  trained.makeTrainFunction = () => {
    const train = make();
    return (data) => {
      hear(Object.fromEntries(data.slice(0, names.length).map((tensor, i) => [names[i]!, tensor])));
      return train(data);
    };
  };
}

function copy(tensor: RecordedTensor): Held {
  const data = tensor.dataSync();
  return data instanceof Float32Array
    ? { dtype: 'F32', shape: tensor.shape, data: data.slice() }
    : { dtype: 'I32', shape: tensor.shape, data: Int32Array.from(data) };
}

function layoutOf(name: string, rank: number) {
  // Variables of a second model get names such as dense/kernel_1.
  const last = name.split('/').at(-1)!.replace(/_\d+$/, '');
  const layout = last === 'kernel' && rank === 2 ? 'IO' : last === 'kernel' && rank === 4 ? 'HWIO' : 'none';
  return { layout, embedding: last === 'embeddings' };
}

/** u64 length of the header, JSON header padded with spaces to 8 bytes, the tensors row by row, little-endian. */
function safetensors(tensors: Tensors): Uint8Array {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const size = Math.ceil(text.length / 8) * 8;
  const out = new Uint8Array(8 + size + offset);
  new DataView(out.buffer).setBigUint64(0, BigInt(size), true);
  out.fill(32, 8, 8 + size);
  out.set(text, 8);
  let at = 8 + size;
  for (const { data } of Object.values(tensors)) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

/** What is used of node:fs; taken from the process, so that a bundle for browsers holds no import of it. */
interface NodeFiles {
  existsSync(path: string): boolean;
  mkdirSync(path: string, options: { recursive: true }): void;
  openSync(path: string, flags: string): number;
  writeSync(file: number, bytes: Uint8Array): number;
  fsyncSync(file: number): void;
  closeSync(file: number): void;
  renameSync(from: string, to: string): void;
  rmSync(path: string, options: { recursive: boolean; force: true }): void;
  copyFileSync(from: string, to: string): void;
}

function nodeFiles(): CaptureFiles {
  const { process } = globalThis as {
    process?: { getBuiltinModule?: (id: string) => unknown };
  };
  const fs = process?.getBuiltinModule?.('node:fs') as NodeFiles | undefined;
  if (fs === undefined)
    throw new Error(
      'clippy-recorder: there is no file system here (Node 20.16 and newer have one for it): say where files go with `files`',
    );
  const made = new Set<string>();
  return {
    exists: (folder) => fs.existsSync(folder),
    write(path, bytes) {
      const folder = path.slice(0, path.lastIndexOf('/'));
      if (!made.has(folder)) {
        // What an earlier process left half written.
        if (folder.endsWith('.partial')) fs.rmSync(folder, { recursive: true, force: true });
        fs.mkdirSync(folder, { recursive: true });
        made.add(folder);
      }
      const file = fs.openSync(`${path}.tmp`, 'w');
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(file, bytes.subarray(at));
      fs.fsyncSync(file);
      fs.closeSync(file);
      fs.renameSync(`${path}.tmp`, path);
    },
    rename(from, to) {
      fs.renameSync(from, to);
      made.delete(from);
    },
    copy: (from, to) => fs.copyFileSync(from, to),
    append(path, bytes) {
      const folder = path.slice(0, path.lastIndexOf('/'));
      if (!made.has(folder)) fs.mkdirSync(folder, { recursive: true });
      made.add(folder);
      const file = fs.openSync(path, 'a');
      for (let at = 0; at < bytes.length; ) at += fs.writeSync(file, bytes.subarray(at));
      fs.closeSync(file);
    },
    remove: (path) => fs.rmSync(path, { recursive: false, force: true }),
  };
}
