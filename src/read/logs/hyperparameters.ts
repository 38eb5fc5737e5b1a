/** Hyperparameters stored with a log: their files, and what they say. */
import { createHash } from 'node:crypto';
import { firstLineOf } from '../../model/errors.ts';
import type { HyperparameterFile } from '../../model/inspection.ts';
import type { Run } from '../../model/run.ts';
import { kindOfPath, openFile } from '../bytes/source.ts';

export type Scalar = string | number | boolean | null;

/** A file of hyperparameters. If it could not be read, all its bytes count as skipped and `problem` says why. */
export interface SidecarFile extends HyperparameterFile {
  readonly sha256: string | null;
}

export interface Sidecars {
  readonly files: readonly SidecarFile[];
  readonly hyperparameters: Run['hyperparameters'];
  /** What could not be read; a damaged sidecar is no reason to refuse its log. */
  readonly notes: readonly string[];
}

export const NO_SIDECARS: Sidecars = { files: [], hyperparameters: new Map(), notes: [] };

/** Larger ones hold something else. */
const MAX_BYTES = 1 << 20;

/**
 * Reads one file whole and hands its text to `take`. Undefined where there is no such file.
 *
 * @param take what it throws is the problem of the file
 */
export async function readSidecarFile(
  path: string,
  take: (text: string) => Promise<void> | void,
): Promise<SidecarFile | undefined> {
  let file: { readonly bytes: number; readonly sha256: string | null } | undefined;
  let problem: string | null = null;
  try {
    if ((await kindOfPath(path)) !== 'file') return undefined;
    const source = await openFile(path);
    try {
      file = { bytes: source.byteLength, sha256: null };
      if (source.byteLength > MAX_BYTES)
        problem = `has ${source.byteLength} bytes, more than ${MAX_BYTES}; not read`;
      else {
        const bytes = Buffer.from(await source.slice(0, source.byteLength));
        file = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
        await take(bytes.toString('utf8'));
      }
    } finally {
      await source.close();
    }
  } catch (error) {
    problem = `could not be read: ${firstLineOf(error)}`;
  }
  const { bytes, sha256 } = file ?? { bytes: 0, sha256: null };
  const [records, passedOver] = problem === null ? [bytes, 0] : [0, bytes];
  return { path, sha256, account: { bytes, records, overhead: 0, passedOver, lost: [] }, problem };
}

const MAX_ENTRIES = 2_000;
const MAX_DEPTH = 20;
const MAX_LIST = 16;

/**
 * Makes one level of names: nested ones are joined with `.`, short lists become text.
 *
 * @param name what `value` is called; its members are called `name.key`
 */
export function flatten(value: unknown, name: string, into: Map<string, Scalar>, depth = 0): void {
  if (into.size >= MAX_ENTRIES || depth > MAX_DEPTH) return;
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) {
    if (name !== '') into.set(name, value as Scalar);
  } else if (Array.isArray(value)) {
    if (value.length <= MAX_LIST && value.every((one) => typeof one !== 'object'))
      into.set(name, JSON.stringify(value));
  } else if (typeof value === 'object')
    for (const [key, member] of value instanceof Map ? value : Object.entries(value as object))
      flatten(member, name === '' ? String(key) : `${name}.${String(key)}`, into, depth + 1);
}
