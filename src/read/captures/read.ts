/**
 * Reads a capture: `capture.json`, `initial.safetensors` and one file for each step. Opening reads the manifest and the
 * headers of all files, so that damage is known before the first step; values are read one step at a time.
 */
import { basename, dirname, join } from 'node:path';
import type { Checkpoint, TensorData, TensorInfo } from '../../model/checkpoint.ts';
import { DiagError, diagError, type ErrorRecord } from '../../model/errors.ts';
import type { Account, LossReason } from '../../model/log.ts';
import { closest } from '../../model/nearest.ts';
import { parseUniqueJson } from '../../model/unique-json.ts';
import { allocate, firstNotFinite, type Precision, type Values } from '../../step/tensor/values.ts';
import { listFolder } from '../bytes/folder.ts';
import { openFile, openSibling, sizeOfPath } from '../bytes/source.ts';
import { DTYPE_BYTES } from '../checkpoints/dtypes.ts';
import { safetensors } from '../checkpoints/safetensors.ts';
import { inOneStream, lossReasonOf } from '../checkpoints/stored-bytes.ts';
import { gapsOf } from './gaps.ts';
import { type CaptureManifest, type CaptureParameter, type ManifestStep, readManifest } from './manifest.ts';
import { tellRecorder } from './status.ts';

/** Gradient of one parameter: whole, or the rows of an embedding, each once and ascending. */
export interface RecordedGradient {
  readonly values: Values;
  readonly rows?: Int32Array;
  /** The parameter had no gradient in this step: it and its state stay as they are. `values` is empty. */
  readonly absent?: true;
}

export interface CapturedStep extends ManifestStep {
  /** In the order of `manifest.parameters`. */
  readonly gradients: readonly RecordedGradient[];
  /** Parameters before the step, where the recorder kept a snapshot; by name. */
  readonly parameters: ReadonlyMap<string, Values>;
  /** Parameters after the step, of an optimizer without a formula; by name. */
  readonly after: ReadonlyMap<string, Values>;
}

export interface InitialState {
  /** In the order of `manifest.parameters`. */
  readonly parameters: readonly Values[];
  /** State by slot, for each parameter; `step` is a single number. */
  readonly slots: readonly ReadonlyMap<string, Values>[];
}

export interface BatchTensor {
  readonly shape: readonly number[];
  readonly dtype: TensorInfo['dtype'];
  readonly data: TensorData;
}

export interface Capture {
  readonly kind: 'capture';
  /** The folder. */
  readonly path: string;
  readonly manifest: CaptureManifest;
  /** The steps that can be used: those before the first that is missing or damaged. */
  readonly steps: readonly ManifestStep[];
  /** Damage that leaves the steps before it usable. */
  readonly errors: readonly ErrorRecord[];
  /** Steps of the manifest that cannot be used. */
  readonly lost: number;
  /**
   * Of the manifest, the initial state, the steps in the order of the manifest, the model that it names and step files
   * that it does not name, which count as one after another. Tensors are the records.
   */
  readonly account: Account;
  /** @param only names of the parameters that are read; others are empty. Default all */
  initial(precision: Precision, only?: ReadonlySet<string>): Promise<InitialState>;
  /** Steps that the optimizer had taken before the first recorded one, of each parameter whose state counts them. */
  ages(): Promise<readonly number[]>;
  /**
   * One step by its position in `steps`.
   *
   * @param used a step that nobody needs any more: the gradients may be written over its own
   * @param only names of the parameters that are read; others have an empty gradient that counts as absent. Default all
   */
  step(
    index: number,
    precision: Precision,
    used?: CapturedStep,
    only?: ReadonlySet<string>,
  ): Promise<CapturedStep>;
  /** Names of the parameters that have a gradient in a step; null where none was recorded there. Left out, all have one. */
  trained?(index: number): Promise<ReadonlySet<string> | null>;
  /** Types in which the parameters are stored before the first step, by name: those of the training. */
  readonly dtypes: ReadonlyMap<string, TensorInfo['dtype']>;
  /** Names of the buffers that are stored with the initial state, such as running statistics. */
  readonly buffers: readonly string[];
  /** Whether state of the optimizer is stored with it. */
  readonly hasState: boolean;
  /** Names and shapes of the batch tensors of a step; empty where none was recorded. */
  batch(index: number): Promise<ReadonlyMap<string, BatchTensor>>;
}

const MANIFEST = 'capture.json';

const parseManifest = (text: string, path: string): unknown =>
  parseUniqueJson({ text, path, what: MANIFEST, maxDepth: 16 }, ({ kind, problem, cause }) =>
    diagError(
      'capture-malformed',
      { problem: kind === 'syntax' ? `it is not valid JSON (${problem})` : problem },
      { path },
      cause,
    ),
  );

const INITIAL = 'initial.safetensors';
/** A step entry takes some hundred bytes: far above any real capture. */
const MANIFEST_LIMIT = 64 * 2 ** 20;

/** Whether a folder is a capture. */
export const isCapture = async (folder: string): Promise<boolean> =>
  (await listFolder(folder))?.includes(MANIFEST) === true;

/**
 * Opens a capture by its folder or its `capture.json`.
 *
 * @throws capture-manifest-missing, recorder-without-capture, capture-malformed, capture-version, capture-learning-rate, capture-names,
 *   capture-shape, capture-no-steps; what reading the manifest and `initial.safetensors` throws
 */
export async function openCapture(path: string): Promise<Capture> {
  const folder = basename(path) === MANIFEST ? dirname(path) : path;
  const files = (await listFolder(folder)) ?? [];
  // Opening it shows whether it is missing or not a folder.
  if (files.length === 0) await (await openFile(folder)).close();
  if (!files.includes(MANIFEST)) {
    await tellRecorder(folder);
    throw diagError(
      'capture-manifest-missing',
      { path: folder, nearest: await captureIn(folder) },
      { path: folder },
    );
  }
  const manifestPath = join(folder, MANIFEST);
  const manifest = readManifest(parseManifest(await textOf(manifestPath), manifestPath), manifestPath);
  const open = async (file: string): Promise<Checkpoint> => {
    const source = await openSibling(manifestPath, file);
    try {
      const opened = await safetensors.open(source);
      // A step whose tensor is cut off by the end of the file is not complete.
      const [damage] = opened.errors;
      if (damage !== undefined)
        throw new DiagError(damage.id, damage.message, 3, damage as { path: string }, damage.hint);
      return opened;
    } catch (error) {
      await source.close();
      throw error;
    }
  };
  const withFile = async <T>(file: string, use: (opened: Checkpoint) => T | Promise<T>): Promise<T> => {
    const opened = await open(file);
    try {
      return await use(opened);
    } finally {
      await opened.close();
    }
  };

  const sizeOf = async (file: string): Promise<number> => {
    const size = await sizeOfPath(join(folder, file));
    return Number.isNaN(size) ? 0 : size;
  };
  const accounts = [overheadOf(await sizeOf(MANIFEST))];
  const stored = await withFile(INITIAL, async (initial) => {
    checkInitial(manifest, initial);
    accounts.push(await tensorsOf(initial));
    return storedIn(initial);
  });
  const errors: ErrorRecord[] = [];
  let whole = 0;
  for (const step of manifest.steps) {
    try {
      if (!files.includes(step.file) && !step.file.includes('/'))
        throw diagError('capture-step-missing', { step: step.step, file: step.file }, { path: manifestPath });
      await withFile(step.file, async (opened) => {
        checkStep(manifest, step, opened);
        accounts.push(await tensorsOf(opened));
      });
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      errors.push(error.toRecord());
      const reason = error.code === 'capture-step-missing' ? 'absent' : lossReasonOf(error.code);
      accounts.push(lossOf(reason, await sizeOf(step.file)));
      break;
    }
    whole++;
  }
  const lost = manifest.steps.length - whole;
  if (lost > 0 && whole > 0)
    errors.push(
      diagError(
        'capture-cut',
        { lost, kept: whole, step: manifest.steps[whole]!.step, last: manifest.steps[whole - 1]!.step },
        { path: manifestPath },
      ).toRecord(),
    );
  // A step is replayed from the one before: those behind a break are of no use.
  for (const { file } of manifest.steps.slice(whole + 1))
    accounts.push(lossOf('cut-off', await sizeOf(file)));
  if (manifest.model !== null) accounts.push(overheadOf(await sizeOf(manifest.model)));
  const stray = strayFiles(manifest, files, folder);
  for (const { path: extra } of stray) accounts.push(lossOf('no-record', await sizeOf(basename(extra!))));
  errors.push(...stray, ...gapErrors(manifest, manifestPath));
  if (whole === 0) throw asError(errors[0]!);
  const steps = manifest.steps.slice(0, whole);

  return {
    kind: 'capture',
    path: folder,
    manifest,
    steps,
    errors,
    lost,
    account: inOneStream(accounts),
    ...stored,
    initial: (precision, only) =>
      withFile(INITIAL, (opened) => readInitial(manifest, opened, precision, only)),
    ages: () => withFile(INITIAL, agesIn),
    step: (index, precision, used, only) => {
      const step = steps[index]!;
      return withFile(step.file, (opened) => readStep(manifest, step, opened, precision, used, only));
    },
    trained: (index) => trainedAt(manifest, steps[index]!, withFile),
    batch: (index) => withFile(steps[index]!.file, readBatch),
  };
}

/** The parameters that have a gradient in a step. */
async function trainedAt(
  { parameters }: CaptureManifest,
  { hasGradients, file }: ManifestStep,
  withFile: <T>(name: string, work: (opened: Checkpoint) => Promise<T>) => Promise<T>,
): Promise<ReadonlySet<string> | null> {
  if (!hasGradients) return null;
  return withFile(file, async (opened) => {
    const names = byName(opened);
    const found = parameters.filter(
      ({ name }) => names.has(`grad/${name}`) || names.has(`grad/${name}/indices`),
    );
    return new Set(found.map(({ name }) => name));
  });
}

/** What is stored with the initial state, by its names. */
function storedIn({ tensors }: Checkpoint): Pick<Capture, 'dtypes' | 'buffers' | 'hasState'> {
  const under = (prefix: string) =>
    tensors.flatMap(({ name, dtype }) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), dtype] as const] : [],
    );
  return {
    dtypes: new Map(under('param/')),
    buffers: under('buffer/').map(([name]) => name),
    hasState: under('state/').length > 0,
  };
}

const overheadOf = (bytes: number): Account => ({
  bytes,
  records: 0,
  overhead: bytes,
  passedOver: 0,
  lost: [],
});

/** A step file of no use. */
const lossOf = (reason: LossReason, bytes: number): Account => ({
  bytes,
  records: 0,
  overhead: 0,
  passedOver: 0,
  lost: [{ reason, records: 1, bytes, at: 0 }],
});

/** The purposes of the tensors of a step; others are skipped. */
const READ = /^(?:grad|param|param-after|state|batch|buffer)\//;

/** The account of a file of a capture, in which tensors of no known purpose are skipped. */
async function tensorsOf(opened: Checkpoint): Promise<Account> {
  const { records, passedOver, ...account } = await opened.account();
  const unread = opened.tensors
    .filter(({ name }) => !READ.test(name))
    .reduce((sum, { elements, dtype }) => sum + elements * DTYPE_BYTES[dtype], 0);
  return { ...account, records: records - unread, passedOver: passedOver + unread };
}

async function textOf(path: string): Promise<string> {
  const source = await openFile(path);
  try {
    if (source.byteLength > MANIFEST_LIMIT)
      throw diagError(
        'limit-exceeded',
        { what: `${MANIFEST} in bytes`, found: source.byteLength, limit: MANIFEST_LIMIT, hint: '' },
        { path },
      );
    return new TextDecoder().decode(await source.slice(0, source.byteLength));
  } finally {
    await source.close();
  }
}

const asError = (record: ErrorRecord): DiagError =>
  new DiagError(record.id, record.message, 3, { ...record, path: record.path ?? '' }, record.hint);

/** Step files that the manifest does not name. */
function strayFiles(manifest: CaptureManifest, files: readonly string[], folder: string): ErrorRecord[] {
  const named = new Set(manifest.steps.map((step) => step.file));
  return files
    .filter((file) => /^step-\d+\.safetensors$/.test(file) && !named.has(file))
    .map((file) =>
      diagError(
        'capture-step-extra',
        { step: Number(/\d+/.exec(file)![0]), file },
        { path: join(folder, file) },
      ).toRecord(),
    );
}

const gapErrors = (manifest: CaptureManifest, path: string): ErrorRecord[] =>
  gapsOf(manifest).map(({ step, before, after }) =>
    diagError('capture-step-gap', { step, before, after }, { path }).toRecord(),
  );

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, k) => size === b[k]);

function checkShape(info: TensorInfo, shape: readonly number[], path: string): void {
  if (!sameShape(info.shape, shape))
    throw diagError(
      'capture-shape',
      { tensor: info.name, found: `[${info.shape.join(', ')}]`, expected: `[${shape.join(', ')}]` },
      { path, tensor: info.name },
    );
}

/** Tensors of a file by name, less those of which the manifest knows the parameter. */
function checkNames(
  opened: Checkpoint,
  prefix: string,
  parameters: readonly CaptureParameter[],
  required: boolean,
): Map<string, TensorInfo> {
  const found = new Map(
    opened.tensors.filter(({ name }) => name.startsWith(prefix)).map((info) => [info.name, info]),
  );
  const known = new Set(
    parameters.flatMap(({ name }) => [prefix + name, `${prefix}${name}/indices`, `${prefix}${name}/values`]),
  );
  for (const name of found.keys())
    if (!known.has(name))
      throw diagError(
        'capture-names',
        { problem: `tensor "${name}" belongs to no parameter of ${MANIFEST}`, nearest: closest(name, known) },
        { path: opened.path, tensor: name },
      );
  for (const { name } of parameters)
    if (required && !found.has(prefix + name) && !found.has(`${prefix}${name}/indices`))
      throw diagError(
        'capture-names',
        {
          problem: `the tensor "${prefix}${name}" is missing`,
          nearest: closest(prefix + name, found.keys()) || 'none',
        },
        { path: opened.path },
      );
  return found;
}

function checkInitial(manifest: CaptureManifest, opened: Checkpoint): void {
  const found = checkNames(opened, 'param/', manifest.parameters, true);
  const slots = slotsByOwner(opened);
  for (const parameter of manifest.parameters) {
    checkShape(found.get(`param/${parameter.name}`)!, parameter.shape, opened.path);
    for (const { info, slot } of slots.get(parameter.name) ?? [])
      if (slot !== 'step') checkShape(info, parameter.shape, opened.path);
  }
  for (const owner of slots.keys())
    if (!found.has(`param/${owner}`))
      throw diagError(
        'capture-names',
        {
          problem: `the state of "${owner}" belongs to no parameter of ${MANIFEST}`,
          nearest: closest(
            owner,
            manifest.parameters.map(({ name }) => name),
          ),
        },
        { path: opened.path },
      );
}

/** State tensors `state/<slot>/<name>` by the name of their parameter. Slots hold no slash, names may. */
function slotsByOwner(
  opened: Checkpoint,
): Map<string, { readonly info: TensorInfo; readonly slot: string }[]> {
  const owners = new Map<string, { info: TensorInfo; slot: string }[]>();
  for (const info of opened.tensors) {
    const [, slot, owner] = /^state\/([^/]+)\/(.*)$/s.exec(info.name) ?? [];
    if (owner === undefined) continue;
    owners.set(owner, [...(owners.get(owner) ?? []), { info, slot: slot! }]);
  }
  return owners;
}

function checkStep(manifest: CaptureManifest, step: ManifestStep, opened: Checkpoint): void {
  const found = checkNames(opened, 'grad/', manifest.parameters, manifest.version === 1);
  const { path } = opened;
  for (const { name, shape } of manifest.parameters) {
    if (!found.has(`grad/${name}`) && !found.has(`grad/${name}/indices`)) continue;
    const dense = found.get(`grad/${name}`);
    if (dense !== undefined) {
      checkShape(dense, shape, path);
      continue;
    }
    const indices = found.get(`grad/${name}/indices`)!;
    const values = found.get(`grad/${name}/values`);
    if (values === undefined)
      throw diagError(
        'capture-names',
        {
          problem: `step ${step.step} has "grad/${name}/indices" without "grad/${name}/values"`,
          nearest: 'none',
        },
        { path, tensor: indices.name },
      );
    checkShape(indices, [indices.elements], path);
    checkShape(values, [indices.elements, ...shape.slice(1)], path);
  }
  for (const prefix of ['param/', 'param-after/']) {
    const snapshots = checkNames(opened, prefix, manifest.parameters, false);
    for (const { name, shape } of manifest.parameters) {
      const snapshot = snapshots.get(prefix + name);
      if (snapshot !== undefined) checkShape(snapshot, shape, path);
    }
  }
}

/** Values in the precision asked for. @throws capture-values for integers where numbers are expected */
async function valuesOf(
  opened: Checkpoint,
  { name, dtype, elements }: TensorInfo,
  precision: Precision,
): Promise<Values> {
  if (dtype === (precision === 'float32' ? 'F32' : 'F64'))
    return writeOver(allocate(precision, elements), opened, name);
  const data = await opened.read(name);
  if (!(data instanceof Float32Array) && !(data instanceof Float64Array))
    throw diagError(
      'capture-values',
      { tensor: name, problem: 'it holds whole numbers, not floating-point ones' },
      { path: opened.path, tensor: name },
    );
  const values = allocate(precision, data.length);
  values.set(data);
  return values;
}

/** Writes the values of a tensor over others of its type. */
async function writeOver(values: Values, opened: Checkpoint, name: string): Promise<Values> {
  if ((await opened.fill?.(name, values)) === true) return values;
  let at = 0;
  for await (const piece of opened.stream(name)) {
    values.set(piece as Values, at);
    at += piece.length;
  }
  return values;
}

async function readInitial(
  manifest: CaptureManifest,
  opened: Checkpoint,
  precision: Precision,
  only?: ReadonlySet<string>,
): Promise<InitialState> {
  const finite = async (info: TensorInfo): Promise<Values> => {
    const { name } = info;
    const values = await valuesOf(opened, info, precision);
    const index = firstNotFinite(values);
    if (index >= 0)
      throw diagError(
        'capture-values',
        { tensor: name, problem: `entry ${index} is ${values[index]} in the initial state` },
        { path: opened.path, tensor: name },
      );
    return values;
  };
  const parameters: Values[] = [];
  const slots: Map<string, Values>[] = [];
  const owners = slotsByOwner(opened);
  const named = byName(opened);
  for (const { name } of manifest.parameters) {
    if (only?.has(name) === false) {
      parameters.push(allocate(precision, 0));
      slots.push(new Map());
      continue;
    }
    parameters.push(await finite(named.get(`param/${name}`)!));
    const own = new Map<string, Values>();
    for (const { info, slot } of owners.get(name) ?? []) {
      // A count may be stored as an integer.
      if (slot === 'step') own.set(slot, Float64Array.from(await opened.read(info.name), Number));
      else own.set(slot, await finite(info));
    }
    slots.push(own);
  }
  return { parameters, slots };
}

/** Counts of steps in the optimizer's state. */
async function agesIn(opened: Checkpoint): Promise<number[]> {
  const counts = opened.tensors.filter(({ name }) => name.startsWith('state/step/'));
  const read = await Promise.all(counts.map(({ name }) => opened.read(name)));
  return read.map(([count]) => Number(count));
}

const byName = ({ tensors }: Checkpoint): Map<string, TensorInfo> =>
  new Map(tensors.map((info) => [info.name, info]));

async function readStep(
  manifest: CaptureManifest,
  step: ManifestStep,
  opened: Checkpoint,
  precision: Precision,
  used: CapturedStep | undefined,
  only?: ReadonlySet<string>,
): Promise<CapturedStep> {
  const names = byName(opened);
  const gradients: RecordedGradient[] = [];
  const parameters = new Map<string, Values>();
  const after = new Map<string, Values>();
  if (!step.hasGradients)
    throw diagError(
      'capture-gradients-missing',
      { step: step.step, missing: manifest.steps.filter(({ hasGradients }) => !hasGradients).length },
      { path: opened.path },
    );
  for (const [k, { name, shape }] of manifest.parameters.entries()) {
    if (only?.has(name) === false) {
      gradients.push({ values: allocate(precision, 0), absent: true });
      continue;
    }
    const dense = names.get(`grad/${name}`);
    const before = used?.gradients[k]?.values;
    if (dense?.dtype === 'F32' && dense.elements === before?.length)
      gradients.push({ values: await writeOver(before, opened, dense.name) });
    else if (dense !== undefined) gradients.push({ values: await valuesOf(opened, dense, precision) });
    else if (!names.has(`grad/${name}/indices`))
      gradients.push({ values: allocate(precision, 0), absent: true });
    else {
      const indices = await opened.read(`grad/${name}/indices`);
      const values = await valuesOf(opened, names.get(`grad/${name}/values`)!, precision);
      gradients.push(coalesce(indices, values, shape[0] ?? 0, opened.path, `grad/${name}/indices`));
    }
    const [snapshot, moved] = [names.get(`param/${name}`), names.get(`param-after/${name}`)];
    if (snapshot !== undefined) parameters.set(name, await valuesOf(opened, snapshot, precision));
    if (moved !== undefined) after.set(name, await valuesOf(opened, moved, precision));
  }
  return { ...step, gradients, parameters, after };
}

/**
 * Rows ascending and each once: repeated indices are added, as every framework does before the step.
 *
 * @throws capture-values for an index outside of the table
 */
function coalesce(
  indices: TensorData,
  values: Values,
  tableRows: number,
  path: string,
  tensor: string,
): RecordedGradient {
  const order = new Map<number, number[]>();
  for (let k = 0; k < indices.length; k++) {
    const row = Number(indices[k]);
    if (!(Number.isInteger(row) && row >= 0 && row < tableRows))
      throw diagError(
        'capture-values',
        { tensor, problem: `row ${row} is outside of a table of ${tableRows} rows` },
        { path, tensor },
      );
    const places = order.get(row);
    if (places === undefined) order.set(row, [k]);
    else places.push(k);
  }
  const rows = Int32Array.from(order.keys()).sort();
  const width = indices.length === 0 ? 0 : values.length / indices.length;
  const sums = allocate(values instanceof Float32Array ? 'float32' : 'float64', rows.length * width);
  rows.forEach((row, r) => {
    for (const k of order.get(row)!)
      for (let i = 0; i < width; i++) sums[r * width + i] = sums[r * width + i]! + values[k * width + i]!;
  });
  return { values: sums, rows };
}

async function readBatch(opened: Checkpoint): Promise<ReadonlyMap<string, BatchTensor>> {
  const batch = new Map<string, BatchTensor>();
  for (const { name, shape, dtype } of opened.tensors)
    if (name.startsWith('batch/'))
      batch.set(name.slice('batch/'.length), { shape, dtype, data: await opened.read(name) });
  return batch;
}

/** The only capture directly in a folder, as a recorder leaves it next to a log; '' where there is none, or more. */
async function captureIn(folder: string): Promise<string> {
  const found: string[] = [];
  for (const name of (await listFolder(folder)) ?? [])
    if (await isCapture(join(folder, name))) found.push(join(folder, name));
  return found.length === 1 ? found[0]! : '';
}
