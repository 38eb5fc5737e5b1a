/** The architecture of a Keras or tfjs layers model: read as data from its file, in the form that tfjs-layers builds. */
import { openFile } from '../bytes/source.ts';
import { parseUniqueJson } from '../bytes/unique-json.ts';
import { looksLikeZip, openZip } from '../bytes/zip.ts';
import { HDF5_SIGNATURE, openHdf5, readAttribute } from '../checkpoints/hdf5.ts';
import { diagError } from '../model/errors.ts';

type Json = Record<string, unknown>;

/** `{ class_name, config }` of the whole model. */
export interface Topology {
  readonly class_name: string;
  readonly config: Json;
}

const LIMIT = 64 * 2 ** 20;
const DEPTH = 200;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

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
    if (looksLikeZip(head)) {
      const member = (await openZip(source)).get('config.json');
      if (member === undefined) throw invalid('the archive', 'one with config.json', path);
      text = new TextDecoder().decode(await member.read(LIMIT));
    } else if (HDF5_SIGNATURE.every((byte, i) => head[i] === byte)) {
      const file = await openHdf5(source);
      const root = file.objects.find(({ name }) => name === '');
      const config = root === undefined ? undefined : await readAttribute(file, root, 'model_config');
      if (typeof config !== 'string')
        throw invalid('the file', 'one with the model, not its weights alone', path);
      text = config;
    } else {
      if (source.byteLength > LIMIT) throw invalid('the file', 'a layers model', path);
      text = new TextDecoder().decode(await source.slice(0, source.byteLength));
    }
    const document = parseUniqueJson(text, path, 'the model', DEPTH);
    return kerasTwo(topologyOf(document, path));
  } finally {
    await source.close();
  }
}

const invalid = (place: string, expected: string, path: string) =>
  diagError('model-invalid', { place, expected }, { path });

function topologyOf(document: unknown, path: string): Topology {
  let value = document;
  for (const key of ['modelTopology', 'model_config'])
    if (isObject(value) && isObject(value[key])) value = value[key];
  if (!isObject(value) || typeof value.class_name !== 'string' || !isObject(value.config))
    throw invalid('the model', 'a layers model with class_name and config', path);
  return value as unknown as Topology;
}

/** The layers of a topology by name, nested models included, as `[name, class]`. */
export function layersIn(topology: Topology): [name: string, className: string][] {
  const layers = Array.isArray(topology.config.layers) ? (topology.config.layers as unknown[]) : [];
  return layers.flatMap((layer): [string, string][] => {
    if (!isObject(layer) || !isObject(layer.config)) return [];
    const own: [string, string] = [String(layer.config.name ?? layer.name ?? ''), String(layer.class_name)];
    return [own, ...layersIn(layer as unknown as Topology)];
  });
}

/** Keras 3 writes types, connections and shapes in another form; what Keras 2 wrote stays as it is. */
function kerasTwo(topology: Topology): Topology {
  const plain = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(plain);
    if (!isObject(value)) return value;
    if (value.class_name === 'DTypePolicy' && isObject(value.config)) return value.config.name;
    const out: Json = {};
    for (const [key, member] of Object.entries(value)) {
      if (key === 'module' || key === 'registered_name' || key === 'build_config') continue;
      if (key === 'inbound_nodes') out[key] = (member as unknown[]).map(inboundNode);
      else if (key === 'input_layers' || key === 'output_layers') out[key] = tensorList(member);
      else out[key === 'batch_shape' ? 'batch_input_shape' : key] = plain(member);
    }
    // Keras 3 lets a layer leave its name to its configuration.
    if (typeof out.class_name === 'string' && isObject(out.config) && out.name === undefined)
      if (Array.isArray(out.inbound_nodes)) out.name = out.config.name;
    return out;
  };
  const result = plain(topology) as unknown as Topology;
  return result.class_name === 'Functional' ? { ...result, class_name: 'Model' } : result;
}

/** `{args, kwargs}` of Keras 3 as the list of `[layer, node, tensor, kwargs]` of Keras 2. */
function inboundNode(node: unknown): unknown {
  if (!isObject(node)) return node;
  const found: unknown[] = [];
  const collect = (value: unknown): void => {
    if (Array.isArray(value)) for (const member of value) collect(member);
    else if (isObject(value) && value.class_name === '__keras_tensor__')
      found.push([...((value.config as Json).keras_history as unknown[]), {}]);
  };
  collect(node.args);
  return found;
}

/** `["x", 0, 0]` of Keras 3 with one tensor, as the list that Keras 2 has. */
const tensorList = (value: unknown): unknown =>
  Array.isArray(value) && typeof value[0] === 'string' ? [value] : value;
