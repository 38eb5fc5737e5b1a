/**
 * `.keras` archives of Keras 3 and 2.12 or later: a zip of three members.
 *
 * | member | content |
 * |---|---|
 * | `metadata.json` | keras_version, date_saved |
 * | `config.json` | the architecture and the optimizer, as data |
 * | `model.weights.h5` | the weights (keras-h5.ts) |
 */

import type { Checkpoint } from '../../../model/checkpoint.ts';
import { DiagError, type ErrorRecord } from '../../../model/errors.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { openZip, type ZipMember, zipNames } from '../../bytes/zip.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import { malformed } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { layersOf, openKerasWeights, optimizerOf, recordOptimizerConfig } from './keras-h5.ts';

const MAX_CONFIG_BYTES = 64 * 1024 * 1024;
const MAX_CONFIG_DEPTH = 200;
const WEIGHTS = 'model.weights.h5';
const PARTS: ReadonlySet<string> = new Set([WEIGHTS, 'metadata.json', 'config.json']);

export const kerasV3: CheckpointFormat = {
  id: 'keras-v3',
  title: 'Keras 3 archive (.keras)',
  sniff: async (head, source) => (await zipNames(head, source)).includes(WEIGHTS),
  open: openKeras,
};

async function openKeras(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const members = await openZip(source);
  const weights = members.get(WEIGHTS);
  if (weights === undefined) throw malformed('Keras archive', `it has no ${WEIGHTS}`, { path });
  const errors: ErrorRecord[] = [];
  const about = await jsonOf(members.get('metadata.json'), path, errors);
  const config = await jsonOf(members.get('config.json'), path, errors);
  const metadata = new Map<string, string | number | boolean | null>();
  for (const [key, value] of Object.entries(about ?? {}))
    if (typeof value === 'string' || typeof value === 'number') metadata.set(key, value);
  layersOf(config, metadata);
  const compiled = (config as Record<string, unknown> | undefined)?.compile_config;
  recordOptimizerConfig(compiled, metadata);
  return openKerasWeights(weights.source(), {
    path,
    format: 'keras-v3',
    framework: 'keras',
    metadata,
    errors,
    optimizer: optimizerOf(compiled),
    stored: {
      bytes: source.byteLength,
      passedOver: [...members.values()].filter(({ name }) => !PARTS.has(name)).map(({ extent }) => extent),
    },
    // What is compressed is checked as it is inflated.
    ...(weights.compressed ? {} : { verify: () => drained(weights) }),
    close: () => source.close(),
  });
}

async function drained(member: ZipMember): Promise<void> {
  for await (const _ of member.stream());
}

/** An object; undefined where the member is missing or holds another value. Damage costs what it says, not the weights. */
async function jsonOf(
  member: ZipMember | undefined,
  path: string,
  errors: ErrorRecord[],
): Promise<object | undefined> {
  if (member === undefined) return undefined;
  try {
    const text = Buffer.from(await member.read(MAX_CONFIG_BYTES)).toString();
    const value = parseCheckpointJson(text, path, member.name, MAX_CONFIG_DEPTH);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch (error) {
    if (!(error instanceof DiagError) || error.code === 'limit-exceeded') throw error;
    errors.push(error.toRecord());
    return undefined;
  }
}
