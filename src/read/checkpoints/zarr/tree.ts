/** The arrays of a zarr hierarchy as tensors. */
import { DiagError, type ErrorRecord } from '../../../model/errors.ts';
import type { Extent } from '../../bytes/source.ts';
import { layoutOfKeras } from '../layouts.ts';
import type { LazyTensor } from '../lazy-checkpoint.ts';
import { checkLimit } from '../limit.ts';
import type { RoleOfTensor } from '../roles.ts';
import { type LostTensors, lossReasonOf, type StoredBytes } from '../stored-bytes.ts';
import { parseZarray, type ZarrArray } from './array.ts';
import { type KeyStore, lengthOf, readValue, type StoredValue } from './store.ts';
import { zarrValues } from './values.ts';

/** Metadata of an array of either version. */
const METADATA = /(?:^|\/)(?:\.zarray|zarr\.json)$/;
const MAX_METADATA_BYTES = 4 * 1024 * 1024;

export interface ZarrTree {
  readonly tensors: readonly LazyTensor[];
  readonly errors: readonly ErrorRecord[];
  readonly stored: StoredBytes;
}

interface Naming {
  /** The tensor's name for the path of an array in the hierarchy. */
  nameOf(array: string): string;
  roleOf(name: string, array: ZarrArray, names: ReadonlySet<string>): RoleOfTensor;
}

/**
 * Reads the metadata of all arrays; an array whose metadata are damaged is an error, and the others can be read.
 *
 * @param head bytes of files that an account counts before those of the store
 */
export async function zarrTree(
  store: KeyStore,
  path: string,
  head: number,
  naming: Naming,
): Promise<ZarrTree> {
  const errors: ErrorRecord[] = [];
  const lost: LostTensors[] = [];
  const starts = new Map<string, number>();
  let bytes = head;
  for (const [file, size] of store.files) {
    starts.set(file, bytes);
    bytes += size;
  }
  const extentOf = (value: StoredValue): Extent[] => {
    const start = 'bytes' in value ? undefined : starts.get(value.file);
    return 'bytes' in value || start === undefined
      ? []
      : [{ start: start + value.start, end: start + value.end }];
  };
  const found = new Map<string, { array: ZarrArray; prefix: string; chunks: StoredValue[] }>();
  for (const [key, value] of store.values) {
    if (!METADATA.test(key)) continue;
    const prefix = key.replace(METADATA, '');
    const name = naming.nameOf(prefix);
    try {
      const array = await arrayAt(store, value, name, path);
      if (array !== undefined)
        found.set(name, { array, prefix: prefix === '' ? '' : `${prefix}/`, chunks: [] });
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      errors.push(error.toRecord());
      lost.push({
        reason: lossReasonOf(error.code),
        tensors: 1,
        extent: extentOf(value)[0] ?? { start: bytes, end: bytes },
      });
    }
  }
  const byPrefix = new Map([...found.values()].map((one) => [one.prefix, one.chunks]));
  for (const [key, value] of store.values) if (!METADATA.test(key)) chunksOf(key, byPrefix)?.push(value);
  const names = new Set(found.keys());
  const tensors = [...found].map(([name, { array, prefix, chunks }]): LazyTensor => {
    const { dtype, shape, elements } = array;
    const role = naming.roleOf(name, array, names);
    const storedBytes = chunks.reduce((all, chunk) => all + lengthOf(chunk), 0);
    return {
      info: {
        name,
        dtype,
        shape,
        elements,
        layout: /(?:^|\/)kernel$/.test(role.parameter ?? name) ? layoutOfKeras(name, shape) : 'none',
        ...role,
      },
      extents: () => chunks.flatMap(extentOf),
      stream: () => zarrValues({ array, name, path, prefix, store, chunks: chunks.length, storedBytes }),
    };
  });
  return { tensors, errors, stored: { bytes, lost } };
}

/** Keys of chunks may hold slashes themselves: the longest name of an array that a key begins with is its own. */
function chunksOf(key: string, byPrefix: ReadonlyMap<string, StoredValue[]>): StoredValue[] | undefined {
  for (let end = key.lastIndexOf('/'); end >= 0; end = end === 0 ? -1 : key.lastIndexOf('/', end - 1)) {
    const chunks = byPrefix.get(key.slice(0, end + 1));
    if (chunks !== undefined) return chunks;
  }
  return byPrefix.get('');
}

/** Undefined for a group. */
async function arrayAt(
  store: KeyStore,
  value: StoredValue,
  name: string,
  path: string,
): Promise<ZarrArray | undefined> {
  checkLimit(`the metadata of "${name}" in bytes`, lengthOf(value), MAX_METADATA_BYTES, {
    path,
    tensor: name,
  });
  const text = Buffer.from(await readValue(store, value)).toString('utf8');
  return /"node_type"\s*:\s*"group"/.test(text) ? undefined : parseZarray(text, name, path);
}
