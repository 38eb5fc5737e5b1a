/** NumPy's archive of arrays: a zip of `<name>.npy`, stored (`savez`) or deflated (`savez_compressed`). */

import type { ErrorRecord } from '../../model/errors.ts';
import { DiagError } from '../../model/errors.ts';
import { type Extent, placeOf } from '../bytes/source.ts';
import { openZip, type ZipMember, zipNames } from '../bytes/zip.ts';
import { bytePieces } from './dtypes.ts';
import type { CheckpointFormat } from './format.ts';
import { type LazyTensor, lazyCheckpoint } from './lazy-checkpoint.ts';
import { npyParts, npyTensor } from './npy.ts';
import type { Storage } from './pytorch/strided.ts';

export const npz: CheckpointFormat = {
  id: 'npz',
  title: 'NumPy archive (.npz)',
  sniff: async (head, source) => (await zipNames(head, source)).some((name) => name.endsWith('.npy')),
  open: async (source) => {
    const tensors: LazyTensor[] = [];
    const errors: ErrorRecord[] = [];
    const passedOver: Extent[] = [];
    for (const [file, member] of await openZip(source)) {
      const name = file.replace(/\.npy$/, '');
      try {
        tensors.push(
          await npyTensor(name, source.path, member.byteLength, startOf(member), storageOf(member)),
        );
      } catch (error) {
        // One array that cannot be read leaves the others readable; a damaged archive does not.
        if (!(error instanceof DiagError) || !['object-array', 'dtype-unsupported'].includes(error.code))
          throw error;
        passedOver.push(member.extent);
        errors.push(error.toRecord());
      }
    }
    return lazyCheckpoint({ ...npyParts(source, npz.id, passedOver), errors }, tensors);
  },
};

/** The first bytes of a member; a compressed one is inflated no further. */
const startOf =
  (member: ZipMember) =>
  async (end: number): Promise<Uint8Array> => {
    if (!member.compressed) return member.source().slice(0, end);
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of member.stream()) {
      pieces.push(piece);
      length += piece.length;
      if (length >= end) break;
    }
    return new Uint8Array(Buffer.concat(pieces)).subarray(0, end);
  };

const storageOf = (member: ZipMember): Storage => ({
  byteLength: member.byteLength,
  // To the end of the file the checksum is checked, which takes its beginning too: a header of at most 10 kB.
  pieces: (start, end) =>
    end === member.byteLength ? skipping(member.stream(), start) : bytePieces(member.source(), start, end),
  place: (start, end) => placeOf(member.source(), start, end),
});

async function* skipping(pieces: AsyncIterable<Uint8Array>, bytes: number): AsyncIterable<Uint8Array> {
  let left = bytes;
  for await (const piece of pieces) {
    if (piece.length > left) yield piece.subarray(left);
    left = Math.max(0, left - piece.length);
  }
}
