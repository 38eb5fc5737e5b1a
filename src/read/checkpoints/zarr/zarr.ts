/**
 * A zarr hierarchy in a folder, of version 2 or 3: the metadata at its root is the file that is opened.
 *
 * | file | content |
 * |---|---|
 * | `.zgroup`, or `zarr.json` with `"node_type": "group"` | the root; arrays are in folders below it |
 * | `.zarray`, or `zarr.json` with `"node_type": "array"` | one array (array.ts), in a folder with its chunks |
 */

import { basename, dirname } from 'node:path';
import type { Checkpoint } from '../../../model/checkpoint.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { malformed } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import { roleOfName } from '../roles.ts';
import { folderStore } from './folder-store.ts';
import { zarrTree } from './tree.ts';

const ROOTS: ReadonlySet<string> = new Set(['.zgroup', '.zarray', 'zarr.json']);
const OTHER_METADATA: ReadonlySet<string> = new Set(['.zattrs', '.zmetadata']);

export const zarr: CheckpointFormat = {
  id: 'zarr',
  title: 'zarr hierarchy (a folder with .zgroup, .zarray or zarr.json)',
  sniff: (head, source) =>
    ROOTS.has(basename(source.path)) &&
    /^\s*\{/.test(latin1(head)) &&
    /"zarr_format"\s*:\s*[23]\b/.test(latin1(head)),
  open: openZarr,
  part: (name, kind, beside) => {
    const root = [...ROOTS].find((one) => beside.has(one));
    if (root === undefined || name === root) return undefined;
    return kind === 'folder' || OTHER_METADATA.has(name) || ROOTS.has(name) || /^[\d.]+$/.test(name)
      ? `read through its ${root}`
      : undefined;
  },
};

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

async function openZarr(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const store = await folderStore(path);
  // An array alone is called as its folder is.
  const own = basename(dirname(path));
  const { tensors, errors, stored } = await zarrTree(store, path, 0, {
    nameOf: (array) => (array === '' ? own : array),
    roleOf: (name, { dtype }) => roleOfName(name, dtype),
  });
  if (tensors.length === 0 && errors.length === 0)
    throw malformed('zarr', 'there is no array below its folder', { path });
  return lazyCheckpoint(
    {
      path,
      format: zarr.id,
      framework: null,
      step: stepOf(path, new Map()),
      metadata: new Map(),
      errors,
      stored,
      close: async () => {
        await store.close();
        await source.close();
      },
    },
    tensors,
  );
}
