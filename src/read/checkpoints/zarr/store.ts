/** Where the keys of a zarr hierarchy get their values from: files of a folder, or the tree of OCDBT. */
import type { ByteSource } from '../../bytes/source.ts';

/** A value: bytes in memory, or bytes [start, end) of a file of the store. */
export type StoredValue =
  | { readonly bytes: Uint8Array }
  | { readonly file: string; readonly start: number; readonly end: number };

export interface KeyStore {
  /** By key: `params.dense.kernel/.zarray`, `params.dense.kernel/0.0`. Untrusted text. */
  readonly values: ReadonlyMap<string, StoredValue>;
  /** Files below the folder that hold the store, with their bytes, in the order in which an account counts them. */
  readonly files: ReadonlyMap<string, number>;
  /** An open file of the store. @throws file-missing, path-leaves-folder */
  open(file: string): Promise<ByteSource>;
  close(): Promise<void>;
}

export const lengthOf = (value: StoredValue): number =>
  'bytes' in value ? value.bytes.length : value.end - value.start;

/** Reads bytes [start, end) of a value, which must have them. */
export async function readValue(
  store: KeyStore,
  value: StoredValue,
  start = 0,
  end = lengthOf(value),
): Promise<Uint8Array> {
  if ('bytes' in value) return value.bytes.subarray(start, end);
  return (await store.open(value.file)).slice(value.start + start, value.start + end);
}
