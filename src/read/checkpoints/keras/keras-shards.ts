/**
 * Weights of Keras 3 in shards: `model.save_weights("m.weights.json", max_shard_size=…)`.
 *
 * | file | content |
 * |---|---|
 * | `m.weights.json` | `{ "metadata": { "total_size" }, "weight_map": { "/layers/dense/vars": ["m_00000.weights.h5"] } }` |
 * | `m_00000.weights.h5` … | HDF5 as of `.weights.h5` (keras-h5.ts), each variable in one of them |
 *
 * Source: keras/src/saving/saving_lib.py, `ShardedH5IOStore`.
 */

import type { Checkpoint } from '../../../model/checkpoint.ts';
import { type DiagError, diagError } from '../../../model/errors.ts';
import { type ByteSource, openSibling } from '../../bytes/source.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import type { CheckpointFormat } from '../format.ts';
import { type Hdf5Object, openHdf5 } from '../hdf5/hdf5.ts';
import { checkLimit } from '../limit.ts';
import { kerasCheckpoint } from './keras-h5.ts';

const MAX_INDEX_BYTES = 100_000_000;
const MAX_SHARDS = 10_000;
const SHARD = '.weights.h5"';

export const kerasShards: CheckpointFormat = {
  id: 'keras-shards',
  title: 'Keras 3 weights in shards (.weights.json)',
  tried: 'a map of weights to .weights.h5',
  sniff: (head) => {
    const start = Buffer.from(head).toString('latin1');
    return /^\s*\{/.test(start) && start.includes('"weight_map"') && start.includes(SHARD);
  },
  open: openShards,
  part: (name, kind, beside) => {
    const index = name.replace(/_\d{5}\.weights\.h5$/, '.weights.json');
    return kind === 'file' && index !== name && beside.has(index)
      ? `read through the ${index} beside it`
      : undefined;
  },
};

async function openShards(source: ByteSource): Promise<Checkpoint> {
  const { path, byteLength } = source;
  const open: ByteSource[] = [source];
  const close = async (): Promise<void> => {
    await Promise.all(open.map((part) => part.close()));
  };
  try {
    const objects: Hdf5Object[] = [];
    const errors = [];
    const files = await shardsOf(source);
    let base = byteLength;
    for (const file of files) {
      const shard = await openSibling(path, file);
      open.push(shard);
      const start = base;
      base += shard.byteLength;
      const found = await openHdf5({
        ...shard,
        slice: (from, to) => shard.slice(from, to),
        // Files count as one after another.
        place: (from, to) => ({ start: start + from, end: start + to }),
      });
      // Variables were made in the order of the shards, and within one as they lie there.
      objects.push(...found.objects.map((object) => ({ ...object, address: start + object.address })));
      errors.push(...found.errors);
    }
    const checkpoint = await kerasCheckpoint(
      { objects, errors },
      {
        path,
        format: kerasShards.id,
        framework: 'keras',
        metadata: new Map(),
        stored: { bytes: base },
        close,
      },
    );
    return { ...checkpoint, shards: files };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The files that the map names, in order. */
async function shardsOf(source: ByteSource): Promise<string[]> {
  const { path, byteLength } = source;
  const malformed = (problem: string): DiagError =>
    diagError('checkpoint-malformed', { format: 'Keras index of weights', problem }, { path });
  checkLimit('the index in bytes', byteLength, MAX_INDEX_BYTES, { path });
  const text = Buffer.from(await source.slice(0, byteLength)).toString('utf8');
  const { weight_map } = parseCheckpointJson(text, path, 'the index', 8) as { weight_map?: unknown };
  if (typeof weight_map !== 'object' || weight_map === null) throw malformed('its weight_map is no object');
  const files = new Set<string>();
  for (const [variables, value] of Object.entries(weight_map))
    for (const file of Array.isArray(value) ? value : [value]) {
      if (typeof file !== 'string') throw malformed(`the file of "${variables}" is no text`);
      files.add(file);
    }
  checkLimit('the number of shards', files.size, MAX_SHARDS, { path });
  if (files.size === 0) throw malformed('its weight_map names no file');
  return [...files].sort();
}
