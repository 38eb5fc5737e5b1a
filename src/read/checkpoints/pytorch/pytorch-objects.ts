/**
 * What a PyTorch pickle holds: tensors by their path (`state_dict.layer.weight`, `optimizer.state.0.exp_avg`), scalars
 * by theirs, and which optimizer state belongs to which parameter.
 *
 * Source: torch/_utils.py (`_rebuild_tensor` and its kin), torch/optim/optimizer.py (`state_dict`).
 */

import type { Dtype, SavedOptimizer, TensorInfo } from '../../../model/checkpoint.ts';
import type { DiagError, ErrorRecord } from '../../../model/errors.ts';
import type { Extent } from '../../bytes/source.ts';
import { DTYPE_BYTES, DTYPES_BY_NAME, elementsOf, isFloating } from '../dtypes.ts';
import { ambiguous, malformed, unsupportedDtype } from '../faults.ts';
import { layoutOfTorch } from '../layouts.ts';
import type { LazyTensor } from '../lazy-checkpoint.ts';
import { checkLimit } from '../limit.ts';
import { ownersOf } from '../optimizer-owners.ts';
import { type RoleOfTensor, roleOfName, slotOfTorch } from '../roles.ts';
import { type Entry, isNode, type PickleNode, type PickleValue } from './pickle.ts';
import { checkView, extentOf, type Storage, type StridedView, streamView } from './strided.ts';

const STORAGES = new Map<string, Dtype>([
  ['Double', 'F64'],
  ['Float', 'F32'],
  ['Half', 'F16'],
  ['BFloat16', 'BF16'],
  ['Long', 'I64'],
  ['Int', 'I32'],
  ['Short', 'I16'],
  ['Char', 'I8'],
  ['Byte', 'U8'],
  ['Bool', 'BOOL'],
  ['ComplexFloat', 'C64'],
  ['ComplexDouble', 'C128'],
]);

/** Element types of quantized storages, which are skipped but take room in a legacy file. */
const QUANTIZED_BYTES = new Map([
  ['QInt8', 1],
  ['QUInt8', 1],
  ['QInt32', 4],
]);

const storageKind = (type: string): string => /^torch(?:\.cuda)? (\w+)Storage$/.exec(type)?.[1] ?? '';

/** Bytes of one element of a storage type (`torch FloatStorage`); 1 for an untyped one. */
export function storageElementBytes(type: string): number {
  const dtype = STORAGES.get(storageKind(type));
  return dtype === undefined ? (QUANTIZED_BYTES.get(storageKind(type)) ?? 1) : DTYPE_BYTES[dtype];
}

const UNSUPPORTED = new Map([
  ['qtensor', 'quantized'],
  ['meta_tensor_no_storage', 'meta, without any values'],
]);

const FORMAT = 'PyTorch';
const REBUILD = 'torch._utils _rebuild_';

/** Every global that may occur. All are plain data: containers, numbers, tensors and the names of types. */
export const TORCH_GLOBALS: ReadonlySet<string> = new Set([
  ...['OrderedDict', 'defaultdict'].map((name) => `collections ${name}`),
  ...['set', 'frozenset', 'dict', 'list', 'int', 'float', 'str', 'bool', 'complex', 'bytearray', 'slice'].map(
    (name) => `builtins ${name}`,
  ),
  '_codecs encode',
  'argparse Namespace',
  // Lightning: names of callbacks as keys of their states, and a dict by another name.
  ...[
    'model_checkpoint ModelCheckpoint',
    'early_stopping EarlyStopping',
    'lr_monitor LearningRateMonitor',
  ].map((name) => `pytorch_lightning.callbacks.${name}`),
  'pytorch_lightning.utilities.parsing AttributeDict',
  ...['PosixPath', 'PurePosixPath', 'WindowsPath', 'PureWindowsPath'].map((name) => `pathlib ${name}`),
  ...['datetime datetime', 'datetime date', 'datetime timedelta'],
  ...['core', '_core'].flatMap((core) => [
    `numpy.${core}.multiarray scalar`,
    `numpy.${core}.multiarray _reconstruct`,
    `numpy.${core}.numeric _frombuffer`,
  ]),
  ...['dtype', 'ndarray', 'float64', 'float32', 'int64', 'int32', 'bool_'].map((name) => `numpy ${name}`),
  ...[...STORAGES.keys(), ...QUANTIZED_BYTES.keys()].flatMap((name) => [
    `torch ${name}Storage`,
    `torch.cuda ${name}Storage`,
  ]),
  ...['UntypedStorage', '_UntypedStorage', 'TypedStorage', '_TypedStorage'].map(
    (name) => `torch.storage ${name}`,
  ),
  ...[...DTYPES_BY_NAME.keys(), 'float8_e4m3fnuz', 'float8_e5m2fnuz', 'qint8', 'quint8', 'qint32'].map(
    (name) => `torch ${name}`,
  ),
  ...['Size', 'device', 'Tensor', 'strided', 'sparse_coo', 'sparse_csr', 'sparse_csc'].map(
    (name) => `torch ${name}`,
  ),
  ...['per_tensor_affine', 'per_channel_affine', 'contiguous_format'].map((name) => `torch ${name}`),
  'torch.serialization _get_layout',
  'torch.torch_version TorchVersion',
  'torch.nn.parameter Parameter',
  'torch._tensor _rebuild_from_type_v2',
  ...[
    'tensor',
    'tensor_v2',
    'tensor_v3',
    'parameter',
    'parameter_with_state',
    'sparse_tensor',
    'sparse_csr_tensor',
    'qtensor',
    'meta_tensor_no_storage',
  ].map((name) => `${REBUILD}${name}`),
]);

/** A storage as the pickle names it. */
export interface StorageReference {
  readonly key: string;
  /** Element type of a typed storage; undefined for an untyped one, which counts bytes. */
  readonly dtype: Dtype | undefined;
  readonly elements: number;
  /** A legacy view: offset within the storage, in elements. */
  readonly viewOffset: number;
}

/** Everything found in one pickle. */
export interface TorchObjects {
  readonly tensors: readonly LazyTensor[];
  readonly metadata: ReadonlyMap<string, string | number | boolean | null>;
  readonly errors: readonly ErrorRecord[];
  /** The parameters of each dict that holds tensors, in order, tied ones once. */
  readonly stateDicts: readonly (readonly TensorInfo[])[];
  readonly optimizers: readonly OptimizerState[];
  /** What is in the file next to the pickle and is data, whether tensors show it or not. */
  readonly passedOver: readonly Extent[];
}

interface OptimizerState extends SavedOptimizer {
  /** Names of the parameters in the order of the groups, where the optimizer was given them (PyTorch 2.6 and newer). */
  readonly names: readonly string[] | undefined;
  readonly slots: { readonly tensor: string; readonly id: string; readonly shape: readonly number[] }[];
}

/** What only checkpoints of Lightning have. */
const LIGHTNING = 'pytorch-lightning_version';
/** Where Lightning keeps what is trained; the rest is state of callbacks and loops (`kth_value` is inf until there is one). */
const LIGHTNING_TRAINED = /(?:^|\/)(?:state_dict|optimizer_states)\./;

const MAX_NODES = 1_000_000;
const MAX_DEPTH = 500;
/** A list of more numbers than this is data (a history, a generator's state), not metadata. */
const MAX_LISTED = 32;

/** Where a value lies in the saved object. */
interface Place {
  readonly name: string;
  /** Below an optimizer's `state`: the optimizer, and the id of the parameter. */
  readonly state?: { readonly optimizer: OptimizerState; readonly id: string };
  /** The parameters that lie in the same dict, in order. */
  readonly siblings?: TensorInfo[];
}

/**
 * Walks an unpickled object.
 *
 * @param storageOf the bytes of a storage, checked against the size that the pickle names
 * @throws checkpoint-malformed, checkpoint-ambiguous, limit-exceeded
 */
export function torchObjects(
  root: PickleValue,
  storageOf: (reference: StorageReference) => Storage,
  path: string,
  bigEndian: boolean,
  prefix = '',
): Omit<TorchObjects, 'passedOver'> {
  const isLightning = isNode(root, 'dict') && root.entries.some(([key]) => key === LIGHTNING);
  const walk = new ObjectWalk(storageOf, path, bigEndian, isLightning);
  // A tensor or number that was saved alone has no key.
  const alone = !(
    isNode(root, 'dict') ||
    isNode(root, 'list') ||
    isNode(root, 'tuple') ||
    isNode(root, 'set')
  );
  walk.visit(root, { name: alone ? `${prefix}value` : prefix });
  const { tensors, metadata, errors, stateDicts, optimizers } = walk;
  return { tensors, metadata, errors, stateDicts, optimizers };
}

/** Goes through an object once, and gathers what is in it. */
class ObjectWalk {
  readonly tensors: LazyTensor[] = [];
  readonly metadata = new Map<string, string | number | boolean | null>();
  readonly errors: ErrorRecord[] = [];
  readonly stateDicts: TensorInfo[][] = [];
  readonly optimizers: OptimizerState[] = [];
  readonly #seenViews = new Set<string>();
  readonly #onPath = new Set<PickleNode>();
  readonly #where: { readonly path: string };
  #nodes = 0;

  constructor(
    private readonly storageOf: (reference: StorageReference) => Storage,
    private readonly path: string,
    private readonly bigEndian: boolean,
    private readonly isLightning: boolean,
  ) {
    this.#where = { path };
  }

  visit(value: PickleValue, place: Place): void {
    const { name } = place;
    checkLimit('the number of members of the saved object', ++this.#nodes, MAX_NODES, this.#where);
    if (value instanceof Uint8Array) this.metadata.set(name, `${value.length} bytes`);
    else if (typeof value === 'bigint') this.metadata.set(name, value.toString());
    else if (value === null || typeof value !== 'object') this.metadata.set(name, value);
    // A pickle can hold itself; what comes back on the way down is left out.
    else if (!this.#onPath.has(value)) {
      this.#onPath.add(value);
      checkLimit('the depth of the saved object', this.#onPath.size, MAX_DEPTH, this.#where);
      this.#visitNode(value, place);
      this.#onPath.delete(value);
    }
  }

  #visitNode(value: PickleNode, place: Place): void {
    switch (value.kind) {
      case 'dict':
        this.#visitDict(value.entries, place);
        break;
      case 'list':
      case 'tuple':
      case 'set':
        this.#visitItems(value.items, place);
        break;
      case 'global':
        this.metadata.set(place.name, value.name.replace(' ', '.'));
        break;
      case 'persistent':
        this.metadata.set(place.name, 'a storage without a tensor');
        break;
      case 'call':
        this.#visitCall(value, place);
    }
  }

  #visitItems(items: readonly PickleValue[], { siblings: _, ...place }: Place): void {
    const plain = items.every((item) => item === null || typeof item !== 'object');
    if (plain && items.length > MAX_LISTED) this.metadata.set(place.name, `${items.length} values`);
    else
      for (const [index, item] of items.entries())
        this.visit(item, { ...place, name: joinPath(place.name, String(index)) });
  }

  #visitDict(entries: readonly Entry[], place: Place): void {
    const members = this.#membersOf(entries, place.name);
    const [state, groups] = [members.get('state'), members.get('param_groups')];
    if (isNode(state, 'dict') && isNode(groups, 'list')) {
      const optimizer = optimizerState(groups.items);
      this.optimizers.push(optimizer);
      const folder = joinPath(place.name, 'state');
      for (const [key, slots] of state.entries) {
        const id = String(key);
        this.visit(slots, { name: joinPath(folder, id), state: { optimizer, id } });
      }
      for (const [key, member] of members)
        if (key !== 'state') this.visit(member, { name: joinPath(place.name, key) });
      return;
    }
    const siblings: TensorInfo[] = [];
    for (const [index, [key, member]] of entries.entries())
      this.visit(member, { ...place, name: joinPath(place.name, keyText(key, index)), siblings });
    if (siblings.length > 0) this.stateDicts.push(siblings);
  }

  /** @throws checkpoint-ambiguous where two keys of one type have one text */
  #membersOf(entries: readonly Entry[], name: string): Map<string, PickleValue> {
    const keys = new Set<string>();
    const members = new Map<string, PickleValue>();
    for (const [index, [key, member]] of entries.entries()) {
      const text = keyText(key, index);
      const typed = `${typeof key}:${text}`;
      if (keys.has(typed)) {
        const dict = name === '' ? 'the outermost dict' : `the dict "${name}"`;
        throw ambiguous(`${dict} holds the key "${text}" twice`, this.#where);
      }
      keys.add(typed);
      members.set(text, member);
    }
    return members;
  }

  #visitCall({ callee, args, state }: PickleNode & { kind: 'call' }, place: Place): void {
    const { name } = place;
    if (callee.startsWith(REBUILD)) this.#visitRebuilt(callee.slice(REBUILD.length), args, place);
    else if (callee === 'torch._tensor _rebuild_from_type_v2') {
      const [rebuild, , inner] = args;
      if (!isNode(rebuild, 'global') || !isNode(inner, 'tuple'))
        throw malformedTensor(this.path, name, 'is rebuilt in an unknown way');
      this.visit({ kind: 'call', callee: rebuild.name, args: inner.items }, place);
    } else if (callee.endsWith('.multiarray scalar')) this.metadata.set(name, numpyScalar(args));
    else if (callee !== 'argparse Namespace') this.metadata.set(name, `a ${callee.replace(' ', '.')}`);
    else if (state !== undefined) {
      const { siblings: _, ...alone } = place;
      this.visit(state, alone);
    }
  }

  /** What a function of torch._utils makes: `tensor_v2`, `parameter`. */
  #visitRebuilt(kind: string, args: readonly PickleValue[], place: Place): void {
    const sparse = SPARSE_PARTS.get(kind);
    if (kind === 'parameter' || kind === 'parameter_with_state') this.visit(args[0] ?? null, place);
    else if (sparse === undefined) this.#addTensor(kind, args, place);
    else {
      // Listed by its parts: a dense copy could be any size.
      const { name, siblings: _, ...rest } = place;
      const parts = isNode(args[1], 'tuple') ? args[1].items : [];
      for (const [index, label] of sparse.entries())
        this.visit(parts[index] ?? null, { ...rest, name: joinPath(name, label) });
      const shape = parts[sparse.length];
      const text = shape === undefined ? null : countsOf(shape, this.path, name).join('×');
      this.metadata.set(joinPath(name, 'sparse_shape'), text);
    }
  }

  #addTensor(rebuild: string, args: readonly PickleValue[], { name, state, siblings }: Place): void {
    const { path } = this;
    const typed = typedStorage(rebuild, args, path, name);
    if (typeof typed === 'string') {
      this.errors.push(unsupportedDtype(name, typed, path).toRecord());
      return;
    }
    const { reference, dtype } = typed;
    const shape = countsOf(args[2], path, name);
    const offset = args[1];
    if (typeof offset !== 'number') throw malformedTensor(path, name, 'has no offset');
    const elements = elementsOf(shape, path, name, FORMAT);
    const view: StridedView = {
      dtype,
      shape,
      stride: countsOf(args[3], path, name),
      offset: offset + reference.viewOffset,
      elements,
      bigEndian: this.bigEndian,
    };
    const storage = this.storageOf(reference);
    checkView(view, storage, path, name);
    const role = this.#roleOf(name, dtype, state !== undefined);
    const info: TensorInfo = { name, dtype, shape, elements, layout: layoutOfTorch(name, shape), ...role };
    this.tensors.push({
      info,
      extents: () => [extentOf(view, storage)],
      stream: (as = view.dtype) => streamView({ ...view, dtype: as }, storage),
    });
    state?.optimizer.slots.push({ tensor: name, id: state.id, shape });
    // model.parameters() gives a tied parameter once, under its first name.
    const identity = `${reference.key} ${view.offset} ${shape.join()} ${view.stride.join()}`;
    const isTied = elements > 0 && this.#seenViews.has(identity);
    if (info.role === 'parameter' && !isTied) siblings?.push(info);
    this.#seenViews.add(identity);
  }

  #roleOf(name: string, dtype: Dtype, inState: boolean): RoleOfTensor {
    const slot = inState ? slotOfTorch(name.slice(name.lastIndexOf('.') + 1)) : undefined;
    if (slot !== undefined) return { role: 'optimizer_state', slot };
    return this.isLightning && !LIGHTNING_TRAINED.test(name) ? { role: 'buffer' } : roleOfName(name, dtype);
  }
}

/** Parts of a sparse tensor, in their order. */
const SPARSE_PARTS = new Map([
  ['sparse_tensor', ['indices', 'values']],
  ['sparse_csr_tensor', ['crow_indices', 'col_indices', 'values']],
]);

const malformedTensor = (path: string, tensor: string, problem: string): DiagError =>
  malformed(FORMAT, `"${tensor}" ${problem}`, { path, tensor });

/** The storage and the element type of a tensor, or why it is not read. */
function typedStorage(
  rebuild: string,
  args: readonly PickleValue[],
  path: string,
  name: string,
): { reference: StorageReference; dtype: Dtype } | string {
  const isV3 = rebuild === 'tensor_v3';
  // v2 and v3 end with a dict of flags of lazily conjugated or negated views.
  const flags = args[isV3 ? 7 : 6];
  const isLazy = isNode(flags, 'dict') && flags.entries.some(([, on]) => on === true);
  const unsupported = UNSUPPORTED.get(rebuild) ?? (isLazy ? 'a conjugated or negated view' : undefined);
  if (unsupported !== undefined) return unsupported;
  const reference = storageReference(args[0], path, name);
  const typeName = isV3 && isNode(args[6], 'global') ? args[6].name.slice('torch '.length) : undefined;
  const dtype = typeName === undefined ? reference.dtype : DTYPES_BY_NAME.get(typeName);
  return dtype === undefined ? (typeName ?? 'untyped') : { reference, dtype };
}

/** ('storage', type, key, location, elements), in legacy files followed by a view (key, offset, elements) or None. */
function storageReference(value: PickleValue | undefined, path: string, tensor: string): StorageReference {
  const id = isNode(value, 'persistent') && isNode(value.id, 'tuple') ? value.id.items : [];
  const [tag, type, key, , count, view] = id;
  if (
    tag !== 'storage' ||
    !isNode(type, 'global') ||
    typeof count !== 'number' ||
    (typeof key !== 'string' && typeof key !== 'number')
  )
    throw malformedTensor(path, tensor, 'names no storage');
  const dtype = STORAGES.get(storageKind(type.name));
  const viewOffset = isNode(view, 'tuple') ? view.items[1] : 0;
  if (typeof viewOffset !== 'number') throw malformedTensor(path, tensor, 'is a view without an offset');
  return { key: String(key), dtype, elements: count, viewOffset };
}

/** The numbers of a shape or of strides: torch.Size([2, 3]) or a tuple. */
function countsOf(value: PickleValue | undefined, path: string, tensor: string): number[] {
  const inner = isNode(value, 'call') && value.callee === 'torch Size' ? value.args[0] : value;
  if (!isNode(inner, 'tuple') && !isNode(inner, 'list')) throw malformedTensor(path, tensor, 'has no shape');
  return inner.items.map((item) => {
    if (typeof item !== 'number')
      throw malformedTensor(path, tensor, 'has a dimension or stride that is not a number');
    return item;
  });
}

const joinPath = (parent: string, key: string): string =>
  parent === '' || parent.endsWith('/') ? `${parent}${key}` : `${parent}.${key}`;

/** A key as text; of one that is neither text nor number (a class in Lightning's callbacks, a tuple) what it says. */
function keyText(key: PickleValue, index: number): string {
  if (typeof key !== 'object') return String(key);
  if (isNode(key, 'global')) return key.name.replace(' ', '.');
  return isNode(key, 'tuple') && key.items.every((item) => typeof item !== 'object')
    ? key.items.join(',')
    : `#${index}`;
}

function optimizerState(groups: readonly PickleValue[]): OptimizerState {
  const lists = (key: string): string[][] =>
    groups.map((group) => {
      const member = isNode(group, 'dict') ? group.entries.find(([name]) => name === key)?.[1] : undefined;
      return isNode(member, 'list') || isNode(member, 'tuple') ? member.items.map(String) : [];
    });
  const ids = lists('params');
  const names = lists('param_names').flat();
  const named = names.length === ids.flat().length && names.length > 0;
  return { groups: ids, names: named ? names : undefined, slots: [] };
}

/** `numpy.core.multiarray.scalar(dtype, bytes)` of a float or an integer, else what it is. */
function numpyScalar([dtype, raw]: readonly PickleValue[]): number | string {
  const code = isNode(dtype, 'call') ? dtype.args[0] : undefined;
  const order = isNode(dtype, 'call') && isNode(dtype.state, 'tuple') ? dtype.state.items[1] : '<';
  // Protocol 2 has no bytes: they come as _codecs.encode(text, 'latin1').
  const text = isNode(raw, 'call') && raw.callee === '_codecs encode' ? raw.args[0] : undefined;
  const bytes =
    raw instanceof Uint8Array
      ? raw
      : typeof text === 'string'
        ? Uint8Array.from(Buffer.from(text, 'latin1'))
        : undefined;
  const view =
    bytes === undefined ? undefined : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = order !== '>';
  switch (view === undefined ? '' : `${String(code)} ${view.byteLength}`) {
    case 'f8 8':
      return view!.getFloat64(0, little);
    case 'f4 4':
      return view!.getFloat32(0, little);
    case 'i8 8':
      return Number(view!.getBigInt64(0, little));
    case 'i4 4':
      return view!.getInt32(0, little);
    default:
      return 'a numpy.scalar';
  }
}

/** All tensors, with the parameter that each slot of an optimizer belongs to where that is known. */
export function linkOptimizers(found: readonly TorchObjects[]): {
  readonly tensors: LazyTensor[];
  readonly unnamed: readonly SavedOptimizer[];
} {
  const tensors = found.flatMap((objects) => objects.tensors);
  const candidates = found.flatMap((objects) =>
    objects.stateDicts.map((parameters) => ({ parameters, ordered: true })),
  );
  const parameters = tensors.filter(({ info }) => info.role === 'parameter').map(({ info }) => info.name);
  const owners = new Map<string, string>();
  const unnamed: SavedOptimizer[] = [];
  for (const optimizer of found.flatMap((objects) => objects.optimizers)) {
    const { groups, names, slots } = optimizer;
    const told = ownersOf(optimizer, candidates);
    const position = new Map(groups.flat().map((id, index) => [id, index]));
    for (const { tensor, id } of slots) {
      const given = names?.[position.get(id) ?? -1];
      // An id that is not a number is the parameter's own name (FSDP, torch.distributed.checkpoint).
      const name = /^\d+$/.test(id)
        ? given === undefined
          ? told.get(tensor)
          : (parameters.find((p) => p === given || p.endsWith(`.${given}`) || p.endsWith(`/${given}`)) ??
            given)
        : id;
      if (name !== undefined) owners.set(tensor, name);
    }
    if (candidates.length === 0 && !slots.every(({ tensor }) => owners.has(tensor))) unnamed.push(optimizer);
  }
  return {
    tensors: tensors.map((tensor) => {
      const parameter = owners.get(tensor.info.name);
      return parameter === undefined ? tensor : { ...tensor, info: { ...tensor.info, parameter } };
    }),
    unnamed,
  };
}

/** What a file without any tensor of floating numbers is; undefined for one with weights or optimizer state. */
export function stateWithoutWeights(found: readonly TorchObjects[]): string | undefined {
  const tensors = found.flatMap((objects) => objects.tensors);
  const keys = found
    .flatMap((objects) => [...objects.metadata.keys()])
    .map((key) => key.slice(key.lastIndexOf('.') + 1));
  const has = (...wanted: string[]): boolean => wanted.some((key) => keys.includes(key));
  if (tensors.some(({ info }) => isFloating(info.dtype))) return undefined;
  if (has('growth_factor', 'growth_interval')) return 'state of a gradient scaler';
  if (has('last_epoch', '_step_count')) return 'state of a learning-rate scheduler';
  const generator = (name: string): boolean =>
    /(?:^|[._])(?:rng|cpu|cuda|numpy|python|random|xla)/i.test(name);
  if (
    tensors.length > 0
      ? tensors.every(({ info }) => info.dtype === 'U8' && generator(info.name))
      : keys.some(generator)
  )
    return 'state of random generators';
  return tensors.length > 0 ? 'whole numbers only' : 'no tensors';
}
