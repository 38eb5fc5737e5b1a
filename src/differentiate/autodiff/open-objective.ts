/** Opens a model for the parameters of a checkpoint or capture: whichever of the three kinds it is. */
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { isProgram } from '../../model/program.ts';
import { openFile, openSibling } from '../../read/bytes/source.ts';
import { type Backend, loadBackend } from './backend.ts';
import type { BackendName } from './backend-names.ts';
import { differentiate, type Network } from './differentiate.ts';
import { fasterObjective } from './faster-backend.ts';
import { readTopology } from './layers-config.ts';
import { layersNetwork, parseLayersObjective } from './layers-model.ts';
import { parseModelJson } from './model-fields.ts';
import type { Batch, Objective } from './objective.ts';
import {
  type Binding,
  matchParameters,
  plainName,
  type Rename,
  type SourceTensor,
  toModel,
  toSource,
} from './parameters.ts';
import { parseRanking, rankingNetwork } from './ranking.ts';
import type { RankingSpec } from './ranking-spec.ts';
import { type ModuleLimits, moduleObjective, sharedObjective, threadObjective } from './remote.ts';

export interface OpenOptions {
  readonly backend?: BackendName;
  /** Lets wasm multiply with fused multiply-add, which rounds by processor (backend.ts). */
  readonly fastMath?: boolean;
  /** Mini-batches of at most so many rows. */
  readonly rowsPerPass?: number;
  /** Whether the user named the model: only then is a module run. */
  readonly trusted?: boolean;
  readonly limits?: ModuleLimits;
  /** Batches as the objective will be asked about, to measure on which backend it is faster; without them it is not. */
  readonly sample?: (objective: Pick<Objective, 'inputs'>) => Promise<readonly Batch[]>;
}

type Values = Float32Array | Float64Array;

/** An objective whose parameters are those of a source, each side in its own layout. */
export interface MatchedObjective {
  readonly objective: Objective;
  /** What the objective was made of, where it was a `ranking` spec. */
  readonly ranking?: RankingSpec;
  /** One array for each tensor of the source, in its order and layout, as the flat vector of the objective. */
  flatten(values: readonly ArrayLike<number>[]): Float32Array;
  /** The flat vector back into arrays of the source. */
  unflatten(flat: Values, values: readonly Values[]): void;
}

/** A model file is text of at most this size. */
const MODEL_LIMIT = 16 * 2 ** 20;

/**
 * @param path a `ranking` spec or the objective of a layers model in JSON, or, where `trusted`, a JavaScript module
 * @param sources the parameters that there are
 * @param sourcePath where they are, for messages
 * @throws model-invalid, model-names, model-shapes, model-untrusted, user-model…, format-unknown, backend-unavailable
 */
export async function openObjective(
  path: string,
  sources: readonly SourceTensor[],
  sourcePath: string,
  options: OpenOptions = {},
): Promise<MatchedObjective> {
  const { backend, fastMath, rowsPerPass, sample } = options;
  const request = {
    path: resolve(path),
    sources,
    sourcePath,
    ...(backend === undefined ? {} : { backend }),
    ...(fastMath === undefined ? {} : { fastMath }),
    ...(rowsPerPass === undefined ? {} : { rowsPerPass }),
  };
  const faster = async (objective: Objective, openNative: () => Promise<Objective>): Promise<Objective> =>
    backend === undefined && sample !== undefined
      ? fasterObjective(objective, request.path, sample, openNative)
      : objective;
  if (isProgram(path)) {
    if (options.trusted !== true) throw diagError('model-untrusted', { path }, { path });
    await (await openFile(path)).close();
    const named = sources.map((source) => ({ ...source, name: plainName(source.name) }));
    const open = (more: { backend?: BackendName }): Promise<Objective> =>
      moduleObjective({ ...request, ...more, sources: named }, options.limits);
    const first = await open({});
    return matched(
      await faster(first, () => open({ backend: 'tfjs-node' })),
      sources,
      sources.map((_, source) => ({ source })),
    );
  }
  const local = await localObjective(path, sources, sourcePath, options);
  // tfjs-node has threads of its own.
  const objective =
    local.objective.backend === 'tfjs-node' || availableParallelism() < 2 || !local.rowsIndependent
      ? local.objective
      : sharedObjective(local.objective, request);
  return {
    ...local,
    objective: await faster(objective, () => threadObjective({ ...request, backend: 'tfjs-node' })),
  };
}

/** As {@link openObjective} in this thread; never a module. */
export async function localObjective(
  path: string,
  sources: readonly SourceTensor[],
  sourcePath: string,
  options: OpenOptions,
): Promise<MatchedObjective & { readonly rowsIndependent: boolean }> {
  if (/\.(keras|h5|hdf5)$/i.test(path))
    throw diagError(
      'model-invalid',
      { place: 'the model file', expected: 'JSON: for a Keras model, an objective that names it' },
      { path },
    );
  const document = await readJson(path);
  const backend = await loadBackend(options.backend, options.fastMath);
  const { network, named, ranking } = await networkOf(document, path, backend, sources);
  const bindings = matchParameters(network.tensors, named, renameOf(document, path), sourcePath);
  return {
    ...matched(differentiate(backend, network, options.rowsPerPass), sources, bindings),
    rowsIndependent: network.rowsIndependent,
    ...(ranking === undefined ? {} : { ranking }),
  };
}

/** The network of a document, and the sources under the names that it knows them by. */
async function networkOf(
  document: unknown,
  path: string,
  backend: Backend,
  sources: readonly SourceTensor[],
): Promise<{ network: Network; named: readonly SourceTensor[]; ranking?: RankingSpec }> {
  if ((document as { kind?: unknown } | null)?.kind !== 'layers') {
    const ranking = parseRanking(document, path);
    return { network: rankingNetwork(backend.tf, ranking), named: sources, ranking };
  }
  const objective = parseLayersObjective(document, path);
  await (await openSibling(path, objective.model)).close();
  const file = join(dirname(path), objective.model);
  const network = await layersNetwork(backend, await readTopology(file), objective, file);
  return { network, named: sources.map((source) => ({ ...source, name: network.nameOf(source.name) })) };
}

function matched(
  objective: Objective,
  sources: readonly SourceTensor[],
  bindings: readonly Binding[],
): MatchedObjective {
  const each = (use: (t: number, binding: Binding, shape: readonly number[]) => void): void => {
    for (const [t, binding] of bindings.entries()) use(t, binding, sources[binding.source]!.shape);
  };
  return {
    objective,
    flatten: (values) => {
      const flat = new Float32Array(objective.size);
      each((t, binding, shape) =>
        toModel(objective.tensors[t]!, binding, shape, values[binding.source]!, flat),
      );
      return flat;
    },
    unflatten: (flat, values) =>
      each((t, binding, shape) =>
        toSource(objective.tensors[t]!, binding, shape, flat, values[binding.source]!),
      ),
  };
}

async function readJson(path: string): Promise<unknown> {
  const source = await openFile(path);
  try {
    if (source.byteLength > MODEL_LIMIT)
      throw diagError(
        'limit-exceeded',
        {
          what: 'the model file',
          found: source.byteLength,
          limit: MODEL_LIMIT,
          hint: 'weights belong into a checkpoint',
        },
        { path },
      );
    const text = new TextDecoder().decode(await source.slice(0, source.byteLength));
    return parseModelJson(text, path, 'the model', 100);
  } finally {
    await source.close();
  }
}

/** The `rename` map of a model document. */
function renameOf(document: unknown, path: string): Rename {
  const rename = (document as { rename?: unknown }).rename;
  if (rename === undefined || rename === null) return new Map();
  const entries = typeof rename === 'object' && !Array.isArray(rename) ? Object.entries(rename) : undefined;
  if (entries === undefined || entries.some(([, to]) => typeof to !== 'string'))
    throw diagError(
      'model-invalid',
      { place: 'rename', expected: 'an object of patterns and names' },
      { path },
    );
  const stars = (text: string): number => text.split('*').length - 1;
  for (const [pattern, to] of entries as [string, string][])
    if (stars(to) > stars(pattern))
      throw diagError(
        'model-invalid',
        {
          place: `the value of rename "${pattern}"`,
          expected: `a name with at most as many * as the pattern; "${to}" has ${stars(to)}`,
        },
        { path },
      );
  return new Map(entries as [string, string][]);
}
