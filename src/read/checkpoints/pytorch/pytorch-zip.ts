/**
 * PyTorch's zip container (`torch.save` since 1.6).
 *
 * | member | content |
 * |---|---|
 * | `<root>/data.pkl` | pickle; tensors are calls of `_rebuild_tensor_v2` on persistent ids |
 * | `<root>/data/<key>` | the bytes of one storage, stored, aligned to 64 bytes |
 * | `<root>/byteorder` | "little" or "big"; absent before 2.1, where it is little |
 * | `<root>/version` | "3" |
 *
 * Source: torch/serialization.py, `_save` and `_load`; caffe2/serialize/inline_container.cc.
 */

import type { Checkpoint } from '../../../model/checkpoint.ts';
import { diagError } from '../../../model/errors.ts';
import { type ByteSource, type Extent, placeOf } from '../../bytes/source.ts';
import { openZip, type ZipMember, zipNames } from '../../bytes/zip.ts';
import { bytePieces, DTYPE_BYTES } from '../dtypes.ts';
import { ambiguous, malformed } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import { readPickle } from './pickle.ts';
import {
  linkOptimizers,
  type StorageReference,
  stateWithoutWeights,
  TORCH_GLOBALS,
  type TorchObjects,
  torchObjects,
} from './pytorch-objects.ts';
import type { Storage } from './strided.ts';

/** A pickle of a checkpoint is its table of contents; a larger one holds its data as Python objects. */
export const MAX_PICKLE_BYTES = 64 * 1024 * 1024;

const PICKLE = /^[^/]+\/data\.pkl$/;
/** Members that hold no data of a tensor. */
const ABOUT = /^(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data\/serialization_id)$/;

export const pytorchZip: CheckpointFormat = {
  id: 'pytorch-zip',
  title: 'PyTorch (zip container)',
  sniff: async (head, source) => (await zipNames(head, source)).some((name) => PICKLE.test(name)),
  open: async (source) => torchCheckpoint(source, pytorchZip.id, [await readTorchZip(source, '')]),
};

/** Reads the table of contents of an archive; `prefix` precedes every name. */
export async function readTorchZip(source: ByteSource, prefix: string): Promise<TorchObjects> {
  const { path } = source;
  const members = await openZip(source);
  const pickles = [...members.keys()].filter((name) => PICKLE.test(name));
  const [pickle] = pickles;
  if (pickle === undefined || pickles.length > 1)
    throw ambiguous(`the archive has ${pickles.length} files data.pkl`, { path });
  const root = pickle.slice(0, -'data.pkl'.length);
  if ([...members.keys()].some((name) => name.startsWith(`${root}code/`)))
    throw diagError(
      'format-unsupported',
      {
        path,
        format: 'a TorchScript archive',
        instead: 'save torch.jit.load(PATH).state_dict() with torch.save',
      },
      { path },
    );
  const order = members.get(`${root}byteorder`);
  const byteOrder = order === undefined ? 'little' : Buffer.from(await order.read(16)).toString('latin1');
  if (byteOrder !== 'little' && byteOrder !== 'big')
    throw malformed('PyTorch', `its byte order is "${byteOrder}"`, { path });
  const bytes = await members.get(pickle)!.read(MAX_PICKLE_BYTES);
  const { value, length } = readPickle(bytes, TORCH_GLOBALS, `${path}!${pickle}`);
  if (length !== bytes.length) throw malformed('PyTorch', `bytes follow the pickle in ${pickle}`, { path });
  const storageOf = (reference: StorageReference): Storage => {
    const member = members.get(`${root}data/${reference.key}`);
    if (member === undefined)
      throw malformed('PyTorch', `the storage "${reference.key}" is missing`, { path });
    const size = reference.elements * (reference.dtype === undefined ? 1 : DTYPE_BYTES[reference.dtype]);
    if (member.byteLength !== size)
      throw malformed(
        'PyTorch',
        `the storage "${reference.key}" should have ${size} bytes and has ${member.byteLength}`,
        { path },
      );
    return memberStorage(member);
  };
  const passedOver = [...members.values()]
    .filter(({ name }) => !ABOUT.test(name.slice(root.length)))
    .map(({ extent }) => extent);
  return { ...torchObjects(value, storageOf, path, byteOrder === 'big', prefix), passedOver };
}

/** A whole storage is read with its checksum; a part of it cannot be checked. */
const memberStorage = (member: ZipMember): Storage => ({
  byteLength: member.byteLength,
  pieces: (start, end) =>
    start === 0 && end === member.byteLength ? member.stream() : bytePieces(member.source(), start, end),
  place: (start, end) => placeOf(member.source(), start, end),
});

/**
 * The checkpoint of what was found in one or more pickles of a file.
 *
 * @param others parts of the file that are not read
 */
export function torchCheckpoint(
  source: ByteSource,
  format: string,
  found: readonly TorchObjects[],
  others: readonly Extent[] = [],
): Checkpoint {
  const metadata = new Map(found.flatMap((objects) => [...objects.metadata]));
  const withoutWeights = stateWithoutWeights(found);
  const { tensors, unnamed } = linkOptimizers(found);
  return lazyCheckpoint(
    {
      path: source.path,
      format,
      framework: 'pytorch',
      step: stepOf(source.path, metadata),
      metadata,
      errors: found.flatMap((objects) => objects.errors),
      ...(withoutWeights === undefined ? {} : { withoutWeights }),
      stateDicts: found.flatMap((objects) => objects.stateDicts),
      unnamedOptimizers: unnamed,
      stored: {
        bytes: source.byteLength,
        passedOver: [...others, ...found.flatMap(({ passedOver }) => passedOver)],
      },
      close: () => source.close(),
    },
    tensors,
  );
}
