/**
 * Where the bytes of a checkpoint went. Tensors say where they lie; what is left is overhead: headers, pickles, padding,
 * the structures of a container.
 */

import type { ErrorCode } from '../../model/errors.ts';
import type { Account, LossReason, Lost } from '../../model/log.ts';
import type { ByteSource, Extent } from '../bytes/source.ts';

/** Tensors that a file names and that cannot be had, and what there is of them. */
export interface LostTensors {
  readonly reason: LossReason;
  /** Undefined where their number is unknown. */
  readonly tensors: number | undefined;
  /** Empty, at the place where it should be, where nothing of it is there. */
  readonly extent: Extent;
}

/**
 * What a format knows of a file in addition to the extents of its tensors. Several files count as one after another, an index
 * before its shards.
 */
export interface StoredBytes {
  readonly bytes: number;
  /** What is recognised and not read: texts, types that are not known, parts of a storage that no tensor shows. */
  readonly passedOver?: readonly Extent[];
  readonly lost?: readonly LostTensors[];
}

/** The files of a checkpoint, which count as one after another: the one that names the others first, then those as they were opened. */
export class FilesInOrder {
  readonly #files: ByteSource[];

  constructor(first: ByteSource) {
    this.#files = [first];
  }

  /** @returns the file that was added */
  add(file: ByteSource): ByteSource {
    this.#files.push(file);
    return file;
  }

  get byteLength(): number {
    return this.#files.reduce((sum, file) => sum + file.byteLength, 0);
  }

  /** Where bytes of a file lie in all of them. */
  extentOf(file: ByteSource, start: number, end: number): Extent {
    const before = this.#files
      .slice(0, this.#files.indexOf(file))
      .reduce((sum, { byteLength }) => sum + byteLength, 0);
    return { start: before + start, end: before + end };
  }

  async close(): Promise<void> {
    for (const file of this.#files) await file.close();
  }

  /** Where opening fails, whoever gave the first file closes it. */
  async closeOthers(): Promise<void> {
    for (const file of this.#files.slice(1)) await file.close();
  }
}

/**
 * The account of a checkpoint. A byte that several claim (views of one storage) is counted once, for a tensor that can be
 * read first, then as lost, then as skipped.
 *
 * @param read extents of the tensors that can be read
 * @param damaged tensors that turned out unreadable when they were read
 */
export function accountOf(
  { bytes, passedOver = [], lost = [] }: StoredBytes,
  read: readonly Extent[],
  damaged: readonly LostTensors[] = [],
): Account {
  const inside = ({ start, end }: Extent): Extent => {
    const from = Math.min(Math.max(start, 0), bytes);
    return { start: from, end: Math.min(Math.max(end, from), bytes) };
  };
  const total = (sizes: readonly number[]): number => sizes.reduce((sum, size) => sum + size, 0);
  const readable = union(read.map(inside));
  const losses = [...lost, ...damaged]
    .map((one) => ({ ...one, extent: inside(one.extent) }))
    .sort((a, b) => a.extent.start - b.extent.start);
  const lostExtents = losses.map(({ extent }) => extent);
  const own = newBytes(readable, lostExtents);
  const skipped = union(passedOver.map(inside));
  const records = total(readable.map(({ start, end }) => end - start));
  const passed = total(newBytes(union([...readable, ...lostExtents]), skipped));
  return {
    bytes,
    records,
    overhead: bytes - records - passed - total(own),
    passedOver: passed,
    lost: joined(
      losses.map(({ reason, tensors, extent }, k) => ({
        reason,
        ...(tensors === undefined ? {} : { records: tensors }),
        bytes: own[k]!,
        at: extent.start,
      })),
      readable,
    ),
  };
}

/** Losses of one reason between which no tensor can be read are one. */
function joined(losses: readonly Lost[], readable: readonly Extent[]): Lost[] {
  const list: { -readonly [K in keyof Lost]: Lost[K] }[] = [];
  let next = 0;
  for (const one of losses) {
    const before = next;
    while (next < readable.length && readable[next]!.start < one.at) next++;
    const last = list.at(-1);
    if (last?.reason === one.reason && before === next) {
      if (last.records !== undefined || one.records !== undefined)
        last.records = (last.records ?? 0) + (one.records ?? 0);
      last.bytes += one.bytes;
    } else list.push({ ...one });
  }
  return list;
}

/** Why tensors are lost, of an error that says so. */
export const lossReasonOf = (code: ErrorCode): LossReason => REASONS.get(code) ?? 'damaged';

const REASONS = new Map<ErrorCode, LossReason>([
  ['checksum-mismatch', 'bad-checksum'],
  ['checkpoint-truncated', 'cut-off'],
  ['file-missing', 'absent'],
  ['limit-exceeded', 'over-limit'],
]);

/** The accounts of files that count as one after another. */
export function inOneStream(accounts: readonly Account[]): Account {
  const whole = { bytes: 0, records: 0, overhead: 0, passedOver: 0, lost: [] as Lost[] };
  for (const { bytes, records, overhead, passedOver, lost } of accounts) {
    whole.lost.push(...lost.map((one) => ({ ...one, at: one.at + whole.bytes })));
    whole.bytes += bytes;
    whole.records += records;
    whole.overhead += overhead;
    whole.passedOver += passedOver;
  }
  return whole;
}

/** The same bytes in extents that ascend and do not touch. */
function union(extents: readonly Extent[]): Extent[] {
  const merged: { start: number; end: number }[] = [];
  for (const { start, end } of [...extents].sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (end === start) continue;
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else merged.push({ start, end });
  }
  return merged;
}

/**
 * How many bytes of each extent neither `taken` nor an extent before it has.
 *
 * @param taken ascending, without overlap
 * @param extents ascending by their starts
 */
function newBytes(taken: readonly Extent[], extents: readonly Extent[]): number[] {
  let next = 0;
  let covered = 0;
  return extents.map(({ start, end }) => {
    const from = Math.max(start, covered);
    covered = Math.max(covered, end);
    if (from >= end) return 0;
    while (next < taken.length && taken[next]!.end <= from) next++;
    let size = end - from;
    for (let k = next; k < taken.length && taken[k]!.start < end; k++)
      size -= Math.min(taken[k]!.end, end) - Math.max(taken[k]!.start, from);
    return size;
  });
}
