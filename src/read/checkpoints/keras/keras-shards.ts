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
import { diagError } from '../../../model/errors.ts';
import { type ByteSource, openSibling } from '../../bytes/source.ts';
import type { CheckpointFormat } from '../format.ts';
import { type Hdf5Object, openHdf5 } from '../hdf5/hdf5.ts';
import { weightMapOf } from '../weight-map.ts';
import { kerasCheckpoint } from './keras-h5.ts';

const FORMAT = 'Keras index of weights';
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
  const files = await weightMapOf(source, FORMAT, true);
  if (files.size === 0)
    throw diagError(
      'checkpoint-malformed',
      { format: FORMAT, problem: 'its weight_map names no file' },
      { path: source.path },
    );
  return [...files.keys()].sort();
}
