/** Files that are no checkpoint that can be read, but that can be named, with what to do instead. */

import { diagError } from '../../model/errors.ts';
import type { ByteSource } from '../bytes/source.ts';
import { looksLikeZip, openZip } from '../bytes/zip.ts';

interface Recognised {
  readonly format: string;
  readonly instead: string;
  matches(head: Uint8Array, text: string): boolean;
}

const RECOGNISED: readonly Recognised[] = [
  {
    format: 'a Git LFS pointer, not the file itself',
    instead: 'run `git lfs pull` in its repository',
    matches: (_, text) => text.startsWith('version https://git-lfs.github.com/spec/'),
  },
  {
    format: 'gzip',
    instead: 'decompress it first: gunzip',
    matches: (head) => head[0] === 0x1f && head[1] === 0x8b,
  },
  {
    format: 'a tar archive',
    instead: 'unpack it; a PyTorch file from before 0.1.10 has to be saved again by PyTorch',
    matches: (_, text) => text.slice(257, 262) === 'ustar',
  },
  {
    format: 'a Python pickle that PyTorch did not write',
    instead: 'save the arrays with numpy.savez or safetensors',
    // PROTO 2 to 5 at the start; STOP at the end is out of reach.
    matches: (head) => head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5,
  },
];

/**
 * Says what a file is that no format claims; returns where even that is not known.
 *
 * @throws format-unsupported, and what is wrong with a zip archive
 */
export async function explainUnclaimed(head: Uint8Array, source: ByteSource): Promise<void> {
  const { path } = source;
  if (looksLikeZip(head)) {
    const names = [...(await openZip(source)).keys()];
    const instead = `a checkpoint in an archive has data.pkl, .npy or .weights.h5 files; this one has ${names.slice(0, 5).join(', ') || 'none'}`;
    throw diagError('format-unsupported', { path, format: 'a zip archive', instead }, { path });
  }
  const text = Buffer.from(head).toString('latin1');
  const known = RECOGNISED.find((candidate) => candidate.matches(head, text));
  if (known !== undefined)
    throw diagError('format-unsupported', { path, format: known.format, instead: known.instead }, { path });
}
