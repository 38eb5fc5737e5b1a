/**
 * Sharded checkpoints of Hugging Face: `model.safetensors.index.json` or `pytorch_model.bin.index.json`,
 * `{ "metadata": { "total_size" }, "weight_map": { tensor: file } }`, the files in its folder.
 *
 * Source: https://huggingface.co/docs/safetensors/index and transformers/modeling_utils.py, `save_pretrained`.
 */

import type { Checkpoint } from '../../model/checkpoint.ts';
import { type DiagError, diagError } from '../../model/errors.ts';
import { type ByteSource, openSibling } from '../bytes/source.ts';
import { malformed as malformedAs } from './faults.ts';
import type { CheckpointFormat } from './format.ts';
import { lazyCheckpoint, stepOf } from './lazy-checkpoint.ts';
import { pytorchLegacy } from './pytorch/pytorch-legacy.ts';
import { pytorchZip } from './pytorch/pytorch-zip.ts';
import { safetensors } from './safetensors.ts';
import { accountOf, inOneStream } from './stored-bytes.ts';
import { weightMapOf } from './weight-map.ts';

const FORMAT = 'checkpoint index';

export const safetensorsIndex: CheckpointFormat = {
  id: 'safetensors-index',
  title: 'sharded safetensors or PyTorch (index.json)',
  sniff: async (head, source) => {
    if (!/^\s*\{/.test(Buffer.from(head).toString('latin1', 0, 64))) return false;
    // The map usually comes second, after a short "metadata".
    const start = Buffer.from(head).toString('utf8');
    // A map to .weights.h5 is Keras's (keras-shards).
    return start.includes('"weight_map"') && !start.includes('.weights.h5"') && source.byteLength > 0;
  },
  open: openIndex,
};

async function openIndex(source: ByteSource): Promise<Checkpoint> {
  const { path, byteLength } = source;
  const malformed = (problem: string): DiagError => malformedAs(FORMAT, problem, { path });
  const files = await weightMapOf(source, FORMAT, false);
  const shards: Checkpoint[] = [];
  const close = async (): Promise<void> => {
    await Promise.all([source, ...shards].map((part) => part.close()));
  };
  try {
    for (const [file, wanted] of files) {
      const shard = await openShard(await openSibling(path, file));
      shards.push(shard);
      const found = new Set(shard.tensors.map((info) => info.name));
      const broken = new Set(shard.errors.map((error) => error.tensor));
      for (const name of wanted)
        if (!found.has(name) && !broken.has(name)) throw malformed(`"${name}" is not in ${file}`);
      for (const name of found)
        if (!wanted.has(name)) throw malformed(`"${name}" in ${file} is not in the index`);
    }
  } catch (error) {
    await Promise.all(shards.map((shard) => shard.close()));
    throw error;
  }
  const metadata = new Map(shards.flatMap((shard) => [...shard.metadata]));
  const joined = lazyCheckpoint(
    {
      path,
      format: safetensorsIndex.id,
      shards: [...files.keys()],
      framework: shards.find((shard) => shard.framework !== null)?.framework ?? null,
      step: stepOf(path, metadata),
      metadata,
      errors: shards.flatMap((shard) => shard.errors),
      stored: { bytes: byteLength },
      close,
    },
    shards.flatMap((shard) =>
      shard.tensors.map((info) => ({
        info,
        extents: () => [],
        stream: (as) => shard.stream(info.name, as === undefined ? undefined : 'bits'),
      })),
    ),
  );
  return {
    ...joined,
    account: async (unreadable) => {
      const ofShards = [];
      for (const shard of shards) ofShards.push(await shard.account(unreadable));
      return inOneStream([accountOf({ bytes: byteLength }, []), ...ofShards]);
    },
  };
}

/** A shard is one whole file: an index of indexes could point in a circle. */
async function openShard(source: ByteSource): Promise<Checkpoint> {
  const { path, byteLength } = source;
  try {
    if (byteLength === 0) throw diagError('file-empty', { path }, { path });
    const head = await source.slice(0, Math.min(4096, byteLength));
    const shards = [safetensors, pytorchZip, pytorchLegacy];
    for (const format of shards) if (await format.sniff(head, source)) return await format.open(source);
    throw diagError(
      'format-unknown',
      { path, tried: 'safetensors and PyTorch, which shards are of' },
      { path },
    );
  } catch (error) {
    await source.close();
    throw error;
  }
}
