/**
 * What a PyTorch pickle holds: tensors by their path (`state_dict.layer.weight`, `optimizer.state.0.exp_avg`), scalars
 * by theirs, and which optimizer state belongs to which parameter.
 *
 * Source: torch/_utils.py (`_rebuild_tensor` and its kin), torch/optim/optimizer.py (`state_dict`).
 */

import type { Dtype, SavedOptimizer, TensorInfo } from '../../../model/checkpoint.ts';
import { type DiagError, diagError, type ErrorRecord } from '../../../model/errors.ts';
import type { Extent } from '../../bytes/source.ts';
import { DTYPE_BYTES, DTYPES_BY_NAME, elementsOf, isFloating } from '../dtypes.ts';
import { layoutOfTorch } from '../layouts.ts';
import type { LazyTensor } from '../lazy-checkpoint.ts';
import { ownersOf } from '../optimizer-owners.ts';
import { roleOfName, slotOfTorch } from '../roles.ts';
import { isNode, type PickleNode, type PickleValue } from './pickle.ts';
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

interface Context {
  readonly optimizer?: OptimizerState;
  /** Id of the parameter, below an optimizer's `state`. */
  readonly id?: string;
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
  const tensors: LazyTensor[] = [];
  const metadata = new Map<string, string | number | boolean | null>();
  const errors: ErrorRecord[] = [];
  const stateDicts: TensorInfo[][] = [];
  const optimizers: OptimizerState[] = [];
  const seenStorages = new Set<string>();
  const onPath = new Set<PickleNode>();
  const isLightning = isNode(root, 'dict') && root.entries.some(([key]) => key === LIGHTNING);
  let nodes = 0;

  const malformed = (problem: string, tensor?: string): DiagError =>
    diagError(
      'checkpoint-malformed',
      { format: 'PyTorch', problem },
      tensor === undefined ? { path } : { path, tensor },
    );
  const limit = (what: string, found: number, max: number): void => {
    if (found > max)
      throw diagError(
        'limit-exceeded',
        { what: `the ${what} of the saved object`, found, limit: max, hint: '' },
        { path },
      );
  };

  const walk = (
    value: PickleValue,
    name: string,
    context: Context,
    siblings: TensorInfo[] | undefined,
  ): void => {
    limit('number of members', ++nodes, MAX_NODES);
    if (
      value === null ||
      typeof value === 'string' ||
      typeof value === 'number' ||
      typeof value === 'boolean'
    ) {
      metadata.set(name, value);
      return;
    }
    if (typeof value === 'bigint') {
      metadata.set(name, value.toString());
      return;
    }
    if (value instanceof Uint8Array) {
      metadata.set(name, `${value.length} bytes`);
      return;
    }
    // A pickle can hold itself; what comes back on the way down is left out.
    if (onPath.has(value)) return;
    onPath.add(value);
    limit('depth', onPath.size, MAX_DEPTH);
    walkNode(value, name, context, siblings);
    onPath.delete(value);
  };

  const walkNode = (
    value: PickleNode,
    name: string,
    context: Context,
    siblings: TensorInfo[] | undefined,
  ): void => {
    switch (value.kind) {
      case 'dict':
        walkDict(value.entries, name, context);
        return;
      case 'list':
      case 'tuple':
      case 'set': {
        const { items } = value;
        const plain = items.every((item) => item === null || typeof item !== 'object');
        if (plain && items.length > MAX_LISTED) metadata.set(name, `${items.length} values`);
        else
          for (const [index, item] of items.entries())
            walk(item, joinPath(name, String(index)), context, undefined);
        return;
      }
      case 'global':
        metadata.set(name, value.name.replace(' ', '.'));
        return;
      case 'persistent':
        metadata.set(name, 'a storage without a tensor');
        return;
      case 'call':
        walkCall(value, name, context, siblings);
    }
  };

  const walkDict = (entries: readonly [PickleValue, PickleValue][], name: string, context: Context): void => {
    const keys = new Set<string>();
    const members = new Map<string, PickleValue>();
    for (const [index, [key, member]] of entries.entries()) {
      const text = typeof key === 'object' ? keyText(key, index) : String(key);
      const typed = `${typeof key}:${text}`;
      if (keys.has(typed))
        throw diagError(
          'checkpoint-ambiguous',
          {
            problem: `${name === '' ? 'the outermost dict' : `the dict "${name}"`} holds the key "${text}" twice`,
          },
          { path },
        );
      keys.add(typed);
      members.set(text, member);
    }
    const [state, groups] = [members.get('state'), members.get('param_groups')];
    if (isNode(state, 'dict') && isNode(groups, 'list')) {
      const optimizer = optimizerState(groups.items);
      optimizers.push(optimizer);
      for (const [id, slots] of state.entries)
        walk(slots, joinPath(joinPath(name, 'state'), String(id)), { optimizer, id: String(id) }, undefined);
      for (const [key, member] of members)
        if (key !== 'state') walk(member, joinPath(name, key), {}, undefined);
      return;
    }
    const siblings: TensorInfo[] = [];
    for (const [index, [key, member]] of entries.entries())
      walk(
        member,
        joinPath(name, typeof key === 'object' ? keyText(key, index) : String(key)),
        context,
        siblings,
      );
    if (siblings.length > 0) stateDicts.push(siblings);
  };

  const walkCall = (
    value: PickleNode & { kind: 'call' },
    name: string,
    context: Context,
    siblings: TensorInfo[] | undefined,
  ): void => {
    const { callee, args } = value;
    if (callee === `${REBUILD}parameter` || callee === `${REBUILD}parameter_with_state`)
      walk(args[0] ?? null, name, context, siblings);
    else if (callee === 'torch._tensor _rebuild_from_type_v2') {
      const [rebuild, , inner] = args;
      if (!isNode(rebuild, 'global') || !isNode(inner, 'tuple'))
        throw malformed(`"${name}" is rebuilt in an unknown way`, name);
      walk({ kind: 'call', callee: rebuild.name, args: inner.items }, name, context, siblings);
    } else if (callee === `${REBUILD}sparse_tensor` || callee === `${REBUILD}sparse_csr_tensor`) {
      // Listed by its parts: a dense copy could be any size.
      const parts = isNode(args[1], 'tuple') ? args[1].items : [];
      const labels = callee.endsWith('csr_tensor')
        ? ['crow_indices', 'col_indices', 'values']
        : ['indices', 'values'];
      for (const [index, label] of labels.entries())
        walk(parts[index] ?? null, joinPath(name, label), context, undefined);
      const shape = parts[labels.length];
      metadata.set(
        joinPath(name, 'sparse_shape'),
        shape === undefined ? null : countsOf(shape, name).join('×'),
      );
    } else if (callee.startsWith(REBUILD))
      addTensor(callee.slice(REBUILD.length), args, name, context, siblings);
    else if (callee.endsWith('.multiarray scalar')) metadata.set(name, numpyScalar(args));
    else if (callee === 'argparse Namespace') {
      if (value.state !== undefined) walk(value.state, name, context, undefined);
    } else metadata.set(name, `a ${callee.replace(' ', '.')}`);
  };

  const countsOf = (value: PickleValue | undefined, tensor: string): number[] => {
    // torch.Size([2, 3]) or a tuple.
    const inner = isNode(value, 'call') && value.callee === 'torch Size' ? value.args[0] : value;
    if (!isNode(inner, 'tuple') && !isNode(inner, 'list'))
      throw malformed(`"${tensor}" has no shape`, tensor);
    return inner.items.map((item) => {
      if (typeof item !== 'number')
        throw malformed(`"${tensor}" has a dimension or stride that is no number`, tensor);
      return item;
    });
  };

  const addTensor = (
    rebuild: string,
    args: readonly PickleValue[],
    name: string,
    context: Context,
    siblings: TensorInfo[] | undefined,
  ): void => {
    // v2 and v3 end with a dict of flags of lazily conjugated or negated views.
    const flags = args[rebuild === 'tensor_v3' ? 7 : 6];
    const lazy = isNode(flags, 'dict') && flags.entries.some(([, on]) => on === true);
    const unsupported = UNSUPPORTED.get(rebuild) ?? (lazy ? 'a conjugated or negated view' : undefined);
    const reference = unsupported === undefined ? storageReference(args[0], name) : undefined;
    const typeName =
      rebuild === 'tensor_v3' && isNode(args[6], 'global') ? args[6].name.slice('torch '.length) : undefined;
    const dtype = typeName === undefined ? reference?.dtype : DTYPES_BY_NAME.get(typeName);
    if (reference === undefined || dtype === undefined) {
      const what = unsupported ?? typeName ?? 'untyped';
      errors.push(
        diagError('dtype-unsupported', { tensor: name, dtype: what }, { path, tensor: name }).toRecord(),
      );
      return;
    }
    const shape = countsOf(args[2], name);
    const offset = args[1];
    if (typeof offset !== 'number') throw malformed(`"${name}" has no offset`, name);
    const elements = elementsOf(shape, path, name, 'PyTorch');
    const view: StridedView = {
      dtype,
      shape,
      stride: countsOf(args[3], name),
      offset: offset + reference.viewOffset,
      elements,
      bigEndian,
    };
    const storage = storageOf(reference);
    checkView(view, storage, path, name);
    const slot = context.id === undefined ? undefined : slotOfTorch(name.slice(name.lastIndexOf('.') + 1));
    const role =
      slot !== undefined
        ? ({ role: 'optimizer_state', slot } as const)
        : isLightning && !LIGHTNING_TRAINED.test(name)
          ? ({ role: 'buffer' } as const)
          : roleOfName(name, dtype);
    const layout = layoutOfTorch(name, shape);
    const info: TensorInfo = { name, dtype, shape, elements, layout, ...role };
    tensors.push({
      info,
      extents: () => [extentOf(view, storage)],
      stream: (as = view.dtype) => streamView({ ...view, dtype: as }, storage),
    });
    if (context.id !== undefined) context.optimizer!.slots.push({ tensor: name, id: context.id, shape });
    // model.parameters() gives a tied parameter once, under its first name.
    const identity = `${reference.key} ${view.offset} ${shape.join()} ${view.stride.join()}`;
    if (info.role === 'parameter' && siblings !== undefined && !(elements > 0 && seenStorages.has(identity)))
      siblings.push(info);
    seenStorages.add(identity);
  };

  /** ('storage', type, key, location, elements), in legacy files followed by a view (key, offset, elements) or None. */
  const storageReference = (value: PickleValue | undefined, tensor: string): StorageReference => {
    const id = isNode(value, 'persistent') && isNode(value.id, 'tuple') ? value.id.items : [];
    const [tag, type, key, , count, view] = id;
    if (
      tag !== 'storage' ||
      !isNode(type, 'global') ||
      typeof count !== 'number' ||
      (typeof key !== 'string' && typeof key !== 'number')
    )
      throw malformed(`"${tensor}" names no storage`, tensor);
    const dtype = STORAGES.get(storageKind(type.name));
    const viewOffset = isNode(view, 'tuple') ? view.items[1] : 0;
    if (typeof viewOffset !== 'number') throw malformed(`"${tensor}" is a view without an offset`, tensor);
    return { key: String(key), dtype, elements: count, viewOffset };
  };

  // A tensor or number that was saved alone has no key.
  const alone = !(
    isNode(root, 'dict') ||
    isNode(root, 'list') ||
    isNode(root, 'tuple') ||
    isNode(root, 'set')
  );
  walk(root, alone ? `${prefix}value` : prefix, {}, undefined);
  return { tensors, metadata, errors, stateDicts, optimizers };
}

const joinPath = (parent: string, key: string): string =>
  parent === '' || parent.endsWith('/') ? `${parent}${key}` : `${parent}.${key}`;

/** A key that is neither text nor number: a class (Lightning's callbacks) or a tuple. */
function keyText(key: PickleValue, index: number): string {
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
