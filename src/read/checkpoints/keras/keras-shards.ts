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
import { type ByteSource, openSibling } from '../../bytes/source.ts';
import { malformed } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { type Hdf5Object, openHdf5 } from '../hdf5/hdf5.ts';
import { FilesInOrder } from '../stored-bytes.ts';
import { weightMapOf } from '../weight-map.ts';
import { kerasCheckpoint } from './keras-h5.ts';

const FORMAT = 'Keras index of weights';
const SHARD = '.weights.h5"';

export const kerasShards: CheckpointFormat = {
  id: 'keras-shards',
  title: 'Keras 3 weights in shards (.weights.json)',
  sniff: (head) => {
    const start = Buffer.from(head).toString('latin1');
    return /^\s*\{/.test(start) && start.includes('"weight_map"') && start.includes(SHARD);
  },
  open: openShards,
  part: (name, kind, beside) => {
    const index = name.replace(/_\d{5}\.weights\.h5$/, '.weights.json');
    return kind === 'file' && index !== name && beside.has(index) ? `read through its ${index}` : undefined;
  },
};

async function openShards(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const open = new FilesInOrder(source);
  try {
    const objects: Hdf5Object[] = [];
    const errors = [];
    const files = await shardsOf(source);
    for (const file of files) {
      const start = open.byteLength;
      const shard = open.add(await openSibling(path, file));
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
        stored: { bytes: open.byteLength },
        close: () => open.close(),
      },
    );
    return { ...checkpoint, shards: files };
  } catch (error) {
    await open.close();
    throw error;
  }
}

/** The files that the map names, in order. */
async function shardsOf(source: ByteSource): Promise<string[]> {
  const files = await weightMapOf(source, FORMAT, true);
  if (files.size === 0) throw malformed(FORMAT, 'its weight_map names no file', { path: source.path });
  return [...files.keys()].sort();
}
