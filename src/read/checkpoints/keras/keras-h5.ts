/**
 * HDF5 files of Keras: a full model or its weights, of Keras 2 and 3, and any other HDF5 file that holds arrays.
 *
 * | file | where weights are | where the optimizer is |
 * |---|---|---|
 * | Keras 2 model, Keras 3 `.h5` | `model_weights/<layer>/<weight name>` | `optimizer_weights/<weight name>` |
 * | Keras 2 weights | `<layer>/<weight name>` | not there |
 * | Keras 3 `.weights.h5` | `layers/<layer>/vars/<i>` | `optimizer/vars/<i>` |
 *
 * The attributes `model_config` and `training_config` are JSON and are treated as data; a Lambda layer in them is named
 * in the metadata and never decoded.
 */

import type { Checkpoint } from '../../../model/checkpoint.ts';
import { DiagError, type ErrorCode, type ErrorRecord } from '../../../model/errors.ts';
import type { LossReason } from '../../../model/log.ts';
import { type ByteSource, type Extent, placeOf } from '../../bytes/source.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import { isFloating } from '../dtypes.ts';
import type { CheckpointFormat } from '../format.ts';
import { HDF5_SIGNATURE, type Hdf5File, type Hdf5Object, openHdf5, readAttribute } from '../hdf5/hdf5.ts';
import { extentsOfData, type Hdf5Array, openArray } from '../hdf5/hdf5-data.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import type { RoleOfTensor } from '../roles.ts';
import { type LostTensors, lossReasonOf, type StoredBytes } from '../stored-bytes.ts';
import { orderOfMaking } from './keras-order.ts';
import { type KerasTensor, kerasRoles, slotsByOrder, turnsOf } from './keras-roles.ts';

export const kerasH5: CheckpointFormat = {
  id: 'keras-h5',
  title: 'HDF5 of Keras (.h5, .hdf5, .weights.h5)',
  sniff: (head) => HDF5_SIGNATURE.every((byte, i) => head[i] === byte),
  open: (source) => openKerasWeights(source, { path: source.path, format: 'keras-h5', metadata: new Map() }),
};

/** What a container around the HDF5 file adds. */
interface Container {
  readonly path: string;
  readonly format: string;
  readonly metadata: Map<string, string | number | boolean | null>;
  readonly framework?: string;
  readonly errors?: readonly ErrorRecord[];
  /** Lower-case class name of the optimizer. */
  readonly optimizer?: string | undefined;
  /** Of the whole container, and what lies in it that is not read. */
  readonly stored?: StoredBytes;
  /** As of a {@link Checkpoint}. */
  readonly verify?: () => Promise<void>;
  readonly close?: () => Promise<void>;
}

interface Dataset {
  readonly object: Hdf5Object;
  readonly array: Hdf5Array;
  readonly tensor: KerasTensor;
}

/** Nested layers make a config deep; JSON of this depth is not a config. */
const MAX_CONFIG_DEPTH = 200;
const OPTIMIZER = /^_?optimizer(?:_weights|_v\d+)?\//;
/** Keras 3 names nothing within a layer. */
const UNNAMED_BUFFER = /(?:seed_generator|state)(?:_\d+)?\/vars\/\d+$/;
/** The moving statistics are the last two variables; before them scale and offset, where the layer has them. */
const UNNAMED_NORMALISATION = /batch_normalization(?:_\d+)?\/vars\/(\d+)$/;

/** Opens the HDF5 file of a Keras model; reads structures and attributes, and the step count. */
export const openKerasWeights = async (source: ByteSource, container: Container): Promise<Checkpoint> =>
  kerasCheckpoint(await openHdf5(source), {
    ...container,
    stored: container.stored ?? { bytes: source.byteLength },
    close: container.close ?? (() => source.close()),
  });

/** The checkpoint in the objects of one file, or of all shards of one model. */
export async function kerasCheckpoint(
  file: Omit<Hdf5File, 'reader'>,
  container: Container & Required<Pick<Container, 'stored' | 'close'>>,
): Promise<Checkpoint> {
  const { metadata, path, format, close, verify } = container;
  const errors: ErrorRecord[] = [...(container.errors ?? []), ...file.errors];
  const root = file.objects[0]!;
  for (const key of ['keras_version', 'backend']) {
    const value = await readAttribute(root, key);
    if (typeof value === 'string') metadata.set(key, value);
  }
  const training = await configOf(root, 'training_config', errors);
  const model = await configOf(root, 'model_config', errors);
  const classes = layersOf(model, metadata);
  recordOptimizerConfig(training, metadata);
  const { datasets, unread } = await readDatasets(file, classes, errors);
  const optimizer = container.optimizer ?? optimizerOf(training) ?? (await optimizerName(file));
  if (optimizer !== undefined) metadata.set('optimizer', optimizer);

  const roles = await rolesOf(file, datasets, optimizer, metadata);
  const labels = await layerLabels(file, datasets);
  const tensors = datasets.map(
    ({ object, array, tensor: { key, dtype, shape } }): LazyTensor => ({
      info: {
        name: key,
        ...(labels.has(key) ? { label: labels.get(key)! } : {}),
        dtype,
        shape,
        elements: array.elements,
        ...roles.get(key)!,
      },
      extents: () => knownExtents(object),
      stream: () => array.stream(),
    }),
  );
  for (const { info, stream } of tensors)
    if ((info.slot === 'step' || info.slot === 'learning_rate') && info.elements === 1)
      for await (const values of stream()) metadata.set(info.slot, Number(values[0]));
  const isKeras =
    container.framework !== undefined ||
    metadata.has('keras_version') ||
    file.objects.some(({ name }) => /^(?:layers\/.*\/)?_?vars$|^_layer_checkpoint_dependencies/.test(name));
  return lazyCheckpoint(
    {
      path,
      format,
      framework: isKeras ? 'keras' : null,
      step: stepOf(path, metadata),
      metadata,
      errors,
      stored: () => storedBytes(file, container.stored, unread),
      ...(verify === undefined ? {} : { verify }),
      close,
    },
    tensors,
  );
}

/** A data set whose values are not read, and why. */
interface Unread {
  readonly object: Hdf5Object;
  readonly reason: LossReason | 'passed-over';
}

/** @param classes of layers, by name */
async function readDatasets(
  file: Omit<Hdf5File, 'reader'>,
  classes: ReadonlyMap<string, string>,
  errors: ErrorRecord[],
): Promise<{ datasets: Dataset[]; unread: Unread[] }> {
  const datasets: Dataset[] = [];
  const unread: Unread[] = [];
  for (const object of file.objects) {
    if (!object.isDataset) continue;
    try {
      // Keras marks bfloat16, which HDF5 holds as two bytes without meaning.
      const isBfloat16 = (await readAttribute(object, 'dtype')) === 'bfloat16';
      const array = openArray(object, isBfloat16 ? 'BF16' : undefined);
      if (array === undefined) {
        unread.push({ object, reason: 'passed-over' });
        continue;
      }
      const layers = object.name.split('/').map((part) => classes.get(part) ?? '');
      const tensor = {
        key: object.name,
        name: variableName(file, object.name),
        dtype: array.dtype,
        shape: array.shape,
        layers: layers.join('/'),
      };
      datasets.push({ object, array, tensor });
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      const known = NOT_READ.has(error.code);
      unread.push({ object, reason: known ? 'passed-over' : lossReasonOf(error.code) });
      errors.push(error.toRecord());
    }
  }
  return { datasets, unread };
}

/** Roles by names, and of what has no names by its place. */
async function rolesOf(
  file: Pick<Hdf5File, 'objects'>,
  datasets: readonly Dataset[],
  optimizer: string | undefined,
  metadata: Container['metadata'],
): Promise<ReturnType<typeof kerasRoles>> {
  const tensors = datasets.map(({ tensor }) => tensor);
  const named = kerasRoles(tensors);
  const known = new Map<string, RoleOfTensor>();
  const keys = new Set(tensors.map(({ key }) => key));
  for (const key of keys) {
    const variable = Number(UNNAMED_NORMALISATION.exec(key)?.[1] ?? Number.NaN);
    const isLastTwo = !keys.has(key.replace(/(?<!\d)\d+$/, String(variable + 2)));
    if (UNNAMED_BUFFER.test(key) || (variable >= 0 && isLastTwo)) known.set(key, { role: 'buffer' });
  }
  const config = (name: string) => metadata.get(`optimizer_config.${name}`);
  const centered = config('centered') === true && !(Number(config('momentum') ?? 0) > 0);
  const slots = await unnamedSlots(file, datasets, named, known, optimizer, centered);
  return kerasRoles(tensors, new Map([...known, ...slots]));
}

/** Where the bytes of the container went that no tensor has. */
async function storedBytes(
  file: Omit<Hdf5File, 'reader'>,
  { bytes, passedOver = [] }: StoredBytes,
  unread: readonly Unread[],
): Promise<StoredBytes> {
  const skipped: Extent[] = [...passedOver];
  const lost: LostTensors[] = [];
  for (const { object, reason } of unread) {
    const extents = await knownExtents(object);
    if (reason === 'passed-over') skipped.push(...extents);
    else {
      const [extent = { start: bytes, end: bytes }] = extents;
      lost.push({ reason, tensors: 1, extent });
    }
  }
  for (const { id, byteOffset = 0 } of file.errors) {
    const extent = placeOf(file.objects[0]!.reader.source, byteOffset, byteOffset);
    if (!NOT_READ.has(id)) lost.push({ reason: lossReasonOf(id), tensors: undefined, extent });
  }
  return { bytes, passedOver: skipped, lost };
}

/** Variables of layers of Keras by the folder of the layer and by how many there are; Keras 3 numbers them. */
const VARIABLES: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^(?:dense|conv\dd|conv\dd_transpose)(?:_\d+)?$/, ['kernel', 'bias']],
  [/^embedding(?:_\d+)?$/, ['embeddings']],
  [/^layer_normalization(?:_\d+)?$/, ['gamma', 'beta']],
  [/^batch_normalization(?:_\d+)?$/, ['gamma', 'beta', 'moving_mean', 'moving_variance']],
];

/**
 * What the user called the layers of variables, `tower_watch/kernel` for `layers/dense_10/vars/0`: Keras 3 writes the name
 * of a layer next to its variables. Where one layer on the way has none, nothing is known.
 */
async function layerLabels(
  file: Pick<Hdf5File, 'objects'>,
  datasets: readonly Dataset[],
): Promise<ReadonlyMap<string, string>> {
  const groups = new Map(file.objects.map((object) => [object.name, object]));
  const names = new Map<string, string | undefined>();
  const nameOf = async (folder: string): Promise<string | undefined> => {
    if (!names.has(folder)) {
      const group = groups.get(`${folder}/vars`);
      const name = group === undefined ? undefined : await readAttribute(group, 'name');
      names.set(folder, typeof name === 'string' && name !== '' ? name : undefined);
    }
    return names.get(folder);
  };
  const labels = new Map<string, string>();
  for (const { tensor } of datasets) {
    const [, folder, number] = /^(layers\/.+)\/vars\/(\d+)$/s.exec(tensor.key) ?? [];
    if (folder === undefined || number === undefined) continue;
    const parts = folder.split('/');
    const layers: string[] = [];
    for (let depth = 2; depth <= parts.length; depth += 2) {
      const name = parts[depth - 2] === 'layers' ? await nameOf(parts.slice(0, depth).join('/')) : undefined;
      if (name !== undefined) layers.push(name);
    }
    if (parts.length % 2 === 1 || layers.length !== parts.length / 2) continue;
    const own = VARIABLES.find(([pattern]) => pattern.test(parts.at(-1)!))?.[1] ?? [];
    const all = datasets.filter((one) => one.tensor.key.startsWith(`${folder}/vars/`)).length;
    // A layer without scale has other variables at these places.
    const known = all === own.length || (own[0] === 'kernel' && all === 1);
    labels.set(tensor.key, [...layers, known ? own[Number(number)]! : number].join('/'));
  }
  return labels;
}

/** Codes of what is not read, and not lost. */
const NOT_READ: ReadonlySet<ErrorCode> = new Set(['dtype-unsupported', 'hdf5-unsupported', 'hdf5-external']);

/** Where the data of an object lies; nowhere where an index of chunks is damaged, which reading the object reports. */
async function knownExtents(object: Hdf5Object): Promise<Extent[]> {
  try {
    return await extentsOfData(object);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return [];
  }
}

/** The name that the framework gave a variable: the path without the folders that the file adds. */
function variableName(file: Pick<Hdf5File, 'objects'>, path: string): string {
  if (path.startsWith('model_weights/')) return path.replace(/^model_weights\/[^/]+\//, '');
  if (path.startsWith('optimizer_weights/')) return path.replace(/^optimizer_weights\//, '');
  const [layer] = path.split('/');
  // Weights alone: <layer>/<layer>/kernel:0.
  return path.endsWith(':0') && file.objects.some(({ name }) => name === layer)
    ? path.slice(layer!.length + 1)
    : path;
}

async function configOf(root: Hdf5Object, name: string, errors: ErrorRecord[]): Promise<unknown> {
  try {
    const text = await readAttribute(root, name);
    if (typeof text !== 'string') return undefined;
    return parseCheckpointJson(text, root.reader.path, name, MAX_CONFIG_DEPTH);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    errors.push(error.toRecord());
    return undefined;
  }
}

const member = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;

/** The optimizer in a training or compile config; of mixed precision the one that the loss scaling wraps. */
const optimizerConfigOf = (config: unknown): unknown => {
  const optimizer = member(config, 'optimizer_config') ?? member(config, 'optimizer');
  return member(member(optimizer, 'config'), 'inner_optimizer') ?? optimizer;
};

/** Class name of the optimizer in a training or compile config, in lower case: `Custom>Adagrad` is `adagrad`. */
export function optimizerOf(config: unknown): string | undefined {
  const optimizer = optimizerConfigOf(config);
  const name = typeof optimizer === 'string' ? optimizer : member(optimizer, 'class_name');
  return typeof name === 'string' ? name.replace(/^.*>/s, '').toLowerCase() : undefined;
}

/** What a training or compile config says of the optimizer, as `optimizer_config.<option>` in the metadata. */
export function recordOptimizerConfig(config: unknown, metadata: Container['metadata']): void {
  const optimizer = optimizerConfigOf(config);
  const options = member(optimizer, 'config');
  if (typeof options !== 'object' || options === null) return;
  for (const [key, value] of Object.entries(options))
    if (['number', 'boolean', 'string'].includes(typeof value))
      metadata.set(`optimizer_config.${key}`, value);
}

/** Keras 3 writes the optimizer's name next to its variables, by default that of its class: `rm_sprop`. */
async function optimizerName(file: Pick<Hdf5File, 'objects'>): Promise<string | undefined> {
  const group =
    file.objects.find(({ name }) => name === 'optimizer/inner_optimizer/vars') ??
    file.objects.find(({ name }) => name === 'optimizer/vars');
  const name = group === undefined ? undefined : await readAttribute(group, 'name');
  return typeof name === 'string' ? name.replace(/_\d+$/, '').replaceAll('_', '') : undefined;
}

/**
 * Class of every layer in a model's config, by layer name. Lambda layers are named in the metadata: their code is in the
 * file, marshalled, and stays there.
 */
export function layersOf(config: unknown, metadata: Container['metadata']): ReadonlyMap<string, string> {
  const classes = new Map<string, string>();
  const open: unknown[] = [config];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null) continue;
    const [className, name] = [
      member(value, 'class_name'),
      member(member(value, 'config'), 'name') ?? member(value, 'name'),
    ];
    if (typeof className === 'string' && typeof name === 'string') classes.set(name, className);
    for (const inner of Object.values(value)) open.push(inner);
  }
  const lambdas = [...classes].filter(([, className]) => className === 'Lambda').map(([name]) => name);
  if (lambdas.length > 0)
    metadata.set('lambda_layers', `${lambdas.reverse().join(', ')} (code in the file: not decoded, not run)`);
  return classes;
}

/** Slots of optimizer variables without names: `optimizer/vars/<i>` of Keras 3, `Variable_<n>:0` of Keras 2.0. */
async function unnamedSlots(
  file: Pick<Hdf5File, 'objects'>,
  datasets: readonly Dataset[],
  named: ReadonlyMap<string, RoleOfTensor>,
  buffers: ReadonlyMap<string, RoleOfTensor>,
  optimizer: string | undefined,
  centered: boolean,
): Promise<ReadonlyMap<string, RoleOfTensor>> {
  const under = (folder: string): Dataset[] =>
    datasets.filter(({ tensor }) => tensor.key.replace(/(?<!\d)\d+$/, '') === `${folder}/vars/`);
  const inner = under('optimizer/inner_optimizer');
  const inOrder = inner.length > 0 ? inner : under('optimizer');
  const slots = new Map<string, RoleOfTensor>();
  const isParameter = ({ tensor }: Dataset): boolean =>
    named.get(tensor.key)?.role === 'parameter' && !buffers.has(tensor.key) && !OPTIMIZER.test(tensor.key);
  if (inOrder.length > 0) {
    const number = ({ tensor }: Dataset): number => Number(tensor.key.replace(/^.*\//, ''));
    inOrder.sort((a, b) => number(a) - number(b));
    for (const { tensor } of inOrder.slice(0, 2))
      if (tensor.shape.length === 0)
        slots.set(tensor.key, {
          role: 'optimizer_state',
          slot: isFloating(tensor.dtype) ? 'learning_rate' : 'step',
        });
    // Nadam has one more count, of all parameters.
    const product = inOrder.find(({ tensor }) => tensor.shape.length === 0 && !slots.has(tensor.key));
    if (optimizer === 'nadam' && product !== undefined)
      slots.set(product.tensor.key, { role: 'optimizer_state', slot: 'u_product' });
    const parameters = datasets
      .filter(isParameter)
      .sort((a, b) => a.object.address - b.object.address)
      .map(({ tensor }) => tensor);
    const variables = inOrder.map(({ tensor }) => tensor).filter(({ key }) => !slots.has(key));
    const orders = turnsOf(optimizer ?? '').map((turns) =>
      orderOfMaking(
        parameters,
        parameters.flatMap((_, i) =>
          variables[turns * i] === undefined ? [] : [variables[turns * i]!.shape],
        ),
      ),
    );
    // Several fit: the owner of a state is left open rather than guessed.
    const sure = orders.includes(null) ? [] : orders.flatMap((order) => (order ? [order] : []));
    for (const [key, role] of slotsByOrder(optimizer ?? '', variables, sure, centered)) slots.set(key, role);
    return slots;
  }
  const group = file.objects.find(({ name }) => name === 'optimizer_weights');
  const order = group === undefined ? undefined : await readAttribute(group, 'weight_names');
  const byKey = new Map(datasets.map((dataset) => [dataset.tensor.key, dataset]));
  const variables = (Array.isArray(order) ? order : [])
    .filter((name: string) => /(?:^|\/)Variable(?:_\d+)?:0$/.test(name))
    .flatMap((name: string) => byKey.get(`optimizer_weights/${name}`) ?? []);
  if (variables.length === 0) return slots;
  const parameters = datasets.filter(isParameter);
  const layers = [...parameters].sort((a, b) => a.object.address - b.object.address);
  const byName = [...parameters].sort((a, b) => (a.tensor.name < b.tensor.name ? -1 : 1));
  return slotsByOrder(
    optimizer ?? '',
    variables.map(({ tensor }) => tensor),
    [layers, byName].map((list) => list.map(({ tensor }) => tensor)),
  );
}
