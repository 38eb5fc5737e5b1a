/** The architecture of a Keras or tfjs layers model: read as data from its file, in the form that tfjs-layers builds. */

import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { openFile } from '../../read/bytes/source.ts';
import { looksLikeZip, openZip } from '../../read/bytes/zip.ts';
import { HDF5_SIGNATURE, openHdf5, readAttribute } from '../../read/checkpoints/hdf5/hdf5.ts';
import { parseModelJson } from './model-fields.ts';

type Json = Record<string, unknown>;

/** A layer, model or cell in the form of Keras 2. */
export interface LayerConfig {
  readonly class_name: string;
  readonly config: Json;
  readonly inbound_nodes?: unknown;
  /** Of the class, where the file says it. */
  readonly module?: string;
  readonly registered_name?: unknown;
}

/** The whole model. */
export interface Topology extends LayerConfig {
  /** Written by Keras 3, in which some functions of the same name differ. */
  readonly keras3?: boolean;
}

const LIMIT = 64 * 2 ** 20;
const DEPTH = 200;

/**
 * Reads the architecture of a `.keras` archive, a Keras `.h5` with its model, or a tfjs `model.json`, by content.
 *
 * @throws model-invalid, and what reading throws
 */
export async function readTopology(path: string): Promise<Topology> {
  const source = await openFile(path);
  try {
    const head = await source.slice(0, Math.min(16, source.byteLength));
    let text: string;
    let version: unknown;
    if (looksLikeZip(head)) {
      const members = await openZip(source);
      const about = await members.get('metadata.json')?.read(LIMIT);
      if (about !== undefined)
        version = (parseModelJson(new TextDecoder().decode(about), path, 'metadata.json', DEPTH) as Json)
          .keras_version;
      const member = members.get('config.json');
      if (member === undefined) throw invalid('the archive', 'one with config.json', path);
      text = new TextDecoder().decode(await member.read(LIMIT));
    } else if (HDF5_SIGNATURE.every((byte, i) => head[i] === byte)) {
      const file = await openHdf5(source);
      const root = file.objects.find(({ name }) => name === '');
      const config = root === undefined ? undefined : await readAttribute(root, 'model_config');
      if (typeof config !== 'string')
        throw invalid('the file', 'one with the model, not its weights alone', path);
      text = config;
      version = await readAttribute(root!, 'keras_version');
    } else {
      if (source.byteLength > LIMIT) throw invalid('the file', 'a layers model', path);
      text = new TextDecoder().decode(await source.slice(0, source.byteLength));
    }
    const document = parseModelJson(text, path, 'the model', DEPTH);
    return parseTopology(document, version, path);
  } finally {
    await source.close();
  }
}

/**
 * @param version of Keras, where it is outside of the document
 * @throws model-invalid
 */
export function parseTopology(document: unknown, version: unknown, path: string): Topology {
  const own = keyOf(keyOf(document, 'modelTopology') ?? document, 'keras_version');
  return { ...kerasTwo(topologyOf(document, path)), keras3: /^[3-9]/.test(String(version ?? own)) };
}

const invalid = (place: string, expected: string, path: string) =>
  diagError('model-invalid', { place, expected }, { path });

const keyOf = (value: unknown, key: string): unknown => (isJsonObject(value) ? value[key] : undefined);

function topologyOf(document: unknown, path: string): Topology {
  let value = document;
  for (const key of ['modelTopology', 'model_config'])
    if (isJsonObject(value) && isJsonObject(value[key])) value = value[key];
  if (!isJsonObject(value) || typeof value.class_name !== 'string' || !isJsonObject(value.config))
    throw invalid('the model', 'a layers model with class_name and config', path);
  return value as unknown as Topology;
}

/** Keras 3 writes types, connections and shapes in another form; what Keras 2 wrote is kept. */
function kerasTwo(topology: Topology): Topology {
  const result = plain(topology, new Set()) as unknown as Topology;
  return result.class_name === 'Functional' ? { ...result, class_name: 'Model' } : result;
}

/**
 * Any part of a model as Keras 2 writes it.
 *
 * @param nested names of the models within the model that it lies in. Keras 3 does not count the call by which a nested model
 *   was made: nodes of those are one further on in Keras 2.
 */
function plain(value: unknown, nested: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((member) => plain(member, nested));
  if (!isJsonObject(value)) return value;
  if (/^(?:DType)?Policy$/.test(String(value.class_name)) && isJsonObject(value.config))
    return value.config.name;
  const out: Json = {};
  const models =
    Array.isArray(value.layers) && writtenByThree(value.layers) ? nestedIn(value.layers) : nested;
  for (const [key, member] of Object.entries(value)) {
    if (key === 'build_config') continue;
    if (key === 'inbound_nodes') out[key] = (member as unknown[]).map((node) => inboundNode(node, nested));
    else if (key === 'input_layers') out[key] = tensorList(member);
    else if (key === 'output_layers') out[key] = outputLayers(member, models);
    else out[key === 'batch_shape' ? 'batch_input_shape' : key] = plain(member, models);
  }
  // Keras 3 lets a layer leave its name to its configuration.
  if (typeof out.class_name === 'string' && isJsonObject(out.config) && out.name === undefined)
    if (Array.isArray(out.inbound_nodes)) out.name = out.config.name;
  return out;
}

const outputLayers = (value: unknown, models: ReadonlySet<string>): unknown[] =>
  tensorList(value).map(([name, node, ...rest]) => [name, node + Number(models.has(name)), ...rest]);

/** `{args, kwargs}` of Keras 3, and a dict of tensors, as the list of `[layer, node, tensor, kwargs]` of Keras 2. */
function inboundNode(node: unknown, nested: ReadonlySet<string>): unknown {
  if (!isJsonObject(node)) return node;
  if (!byThree(node)) return tensorList(node);
  const [first, ...others] = node.args;
  // A layer takes its tensors as one argument; an operation of Keras 3, which may be named like a layer, has several.
  const all = { ...(node.kwargs as Json), 'several arguments': others.length > 0 || null };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => !isEmpty(value)));
  const found: unknown[] = [];
  const collect = (value: unknown): void => {
    if (Array.isArray(value)) for (const member of value) collect(member);
    else if (isJsonObject(value) && value.class_name === '__keras_tensor__') {
      const [name, index, tensor] = (value.config as Json).keras_history as [string, number, number];
      found.push([name, index + Number(nested.has(name)), tensor, given]);
    } else if (isJsonObject(value)) for (const member of inOrder(value)) collect(member);
  };
  collect(first);
  return found;
}

/** The tensors of a model's inputs or outputs as the list that Keras 2 has: one `["x", 0, 0]`, lists and dicts of them. */
function tensorList(value: unknown): [string, number, number][] {
  if (Array.isArray(value) && typeof value[0] === 'string') return [value as [string, number, number]];
  if (isJsonObject(value)) return inOrder(value).flatMap(tensorList);
  return Array.isArray(value) ? value.flatMap(tensorList) : [];
}

/** The values of a dict as Keras flattens it: in the order of its sorted keys. */
const inOrder = (dict: Json): unknown[] =>
  Object.keys(dict)
    .sort()
    .map((key) => dict[key]);

/** Whether nothing is given: null, as the mask of a tensor without one is, or a dict or a list of that. */
const isEmpty = (value: unknown): boolean =>
  value === null || (typeof value === 'object' && Object.values(value as Json).every(isEmpty));

/** Whether a node is of Keras 3; a model that is called with a dict has a dict of tensors in Keras 2. */
const byThree = (node: unknown): node is { readonly args: readonly unknown[]; readonly kwargs: unknown } =>
  isJsonObject(node) && Array.isArray(node.args) && isJsonObject(node.kwargs);

const writtenByThree = (layers: readonly unknown[]): boolean =>
  layers.some((layer) => [keyOf(layer, 'inbound_nodes')].flat().some(byThree));

const nestedIn = (layers: readonly unknown[]): ReadonlySet<string> =>
  new Set(
    layers
      .filter((layer) => Array.isArray(keyOf(keyOf(layer, 'config'), 'layers')))
      .map((layer) => String(keyOf(keyOf(layer, 'config'), 'name'))),
  );
