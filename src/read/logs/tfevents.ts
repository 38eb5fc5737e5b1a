/**
 * TensorBoard event files: a TFRecord stream of `Event` messages.
 *
 * | bytes | what |
 * |---|---|
 * | 8 | length L, little-endian |
 * | 4 | masked CRC-32C of the length |
 * | L | `Event`: 1 wall_time (double), 2 step (varint), 3 file_version, 5 summary, others are skipped |
 * | 4 | masked CRC-32C of the data |
 *
 * `Summary.Value`: 1 tag, 2 simple_value (float), 8 tensor, 9 metadata (a tag's first value only). A scalar is a
 * simple_value, or a numeric tensor of one element whose plugin is `scalars` or none.
 * Source: tensorflow/core/lib/io/record_writer.h, core/util/event.proto, core/framework/{summary,tensor}.proto.
 */

import { basename, dirname, join } from 'node:path';
import { ColumnBuilder } from '../../model/column.ts';
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { crc32c, maskedCrc32c } from '../bytes/crc32c.ts';
import { decodeName, sameBytes } from '../bytes/encoding.ts';
import { openLedger } from '../bytes/ledger.ts';
import {
  type LogContent,
  type LogFormat,
  type LoggedSeries,
  type LogReading,
  type RunFiles,
  wholeBy,
} from './format.ts';
import { kerasEvents } from './keras-events.ts';
import { type EventFate, readEvent, type TagSink } from './tfevents-message.ts';

const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;
/** A longer record is checked in pieces and skipped, never held: a graph may have gigabytes. */
const MAX_HELD_RECORD = 64 << 20;
/** No event is longer: protocol buffers end at 2 GiB. A length above that is damage, whatever its checksum says. */
const MAX_RECORD = 2 ** 31;

interface Tag {
  readonly name: string;
  /** Its place among the tags, in order of appearance. */
  readonly index: number;
  readonly bytes: Buffer;
  /** From the first value's metadata; later values have none. */
  plugin: string | undefined;
  readonly step: ColumnBuilder;
  readonly value: ColumnBuilder;
  readonly wallTime: ColumnBuilder;
  readonly offset: ColumnBuilder;
  refused: number;
}

const uint32 = (bytes: Buffer, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;

const isHeader = (bytes: Buffer, at: number): boolean =>
  uint32(bytes, at + 8) === maskedCrc32c(crc32c(bytes, at, at + 8));

/** An Event starts with its wall time (field 1, eight bytes); a TFRecord of tf.Example, say, does not. */
const firstIsEvent = (head: Buffer): boolean => head.length === HEADER_BYTES || head[HEADER_BYTES] === 0x09;

const TRAIN_FOLDER = 'train';
/** A folder of evaluation events next to or below the training folder (Keras, TF Estimator). */
const EVAL_FOLDER = /^(eval|evaluation|val|valid|validation|test|dev)([_-].*)?$/i;

/** Where PyTorch's `add_hparams` writes a session: a folder named by the time, below the run that it belongs to. */
const SESSION_FOLDER = /^\d{9,10}\.\d+$/;

/**
 * The files of a folder are one run. Files of its evaluation folder are series of the run, with the folder as prefix.
 * Files of `train` and of a session below it belong to the run too: its hyperparameters are above its losses (Keras)
 * or below them (PyTorch).
 */
function eventRuns(paths: readonly string[], root: string): RunFiles[] {
  const folders = new Map<string, { path: string; prefix?: string }[]>();
  for (const path of paths) folders.set(dirname(path), [...(folders.get(dirname(path)) ?? []), { path }]);
  for (const [folder, files] of [...folders]) {
    const name = basename(folder);
    const isEval = EVAL_FOLDER.test(name);
    if (folder === root || !(isEval || name === TRAIN_FOLDER || SESSION_FOLDER.test(name))) continue;
    const parent = dirname(folder);
    const homes = isEval ? [parent, join(parent, TRAIN_FOLDER)] : [parent];
    const home = homes.find((path) => path !== folder && folders.has(path));
    if (home === undefined) continue;
    // Results of a session get a prefix: one named like the loss would be a point of it, at step 0.
    const prefix = isEval ? `${name}/` : name === TRAIN_FOLDER ? undefined : 'hparams/';
    folders
      .get(home)!
      .push(...files.map((file) => ({ ...file, ...(prefix === undefined ? {} : { prefix }) })));
    folders.delete(folder);
  }
  return [...folders].map(([folder, files]) => ({
    path: files.length === 1 ? files[0]!.path : folder,
    named: folder,
    files,
    folder,
  }));
}

export const tfevents: LogFormat = {
  id: 'tfevents',
  title: 'TensorBoard event file',
  text: false,
  // TensorFlow's profiler leaves an empty file of its own.
  names: /^(?!.*\.profile-empty$).*tfevents/,
  // The version of the file.
  headerRecords: 1,
  // Every writer puts the version into the first event: it identifies a file whose first checksum is damaged.
  sniff: (head) =>
    head.length >= HEADER_BYTES &&
    ((isHeader(head, 0) && firstIsEvent(head)) || head.subarray(0, 64).includes('brain.Event:')),
  joined: eventRuns,
  convention: kerasEvents,
  read: wholeBy(readOn),
  readOn,
};

/** A record that is too long to be held. */
interface LongRecord {
  /** Where it begins in the stream, and how long its data are. */
  readonly start: number;
  readonly length: number;
  /** Bytes of data still to come, and the checksum of those that have come. */
  left: number;
  crc: number;
}

/** Reads what is pushed; an incomplete record is held until the rest of it comes. */
function readOn(path: string): LogReading {
  const events = new EventReader(path);
  return {
    push: (chunk) => events.push(chunk),
    mayGoOn: () => false,
    content: () => events.content(),
  };
}

class EventReader {
  private readonly tags = tagTable();
  private readonly hyperparameters = new Map<string, string | number | boolean | null>();
  private readonly ledger = openLedger();
  private kept = 0;
  private readonly bad = { first: 0, records: 0 };
  private readonly lost = { first: 0, bytes: 0 };
  private absurd: ErrorRecord | undefined;
  /** Whether the next bytes follow bytes that are not a record. */
  private astray = false;
  private long: LongRecord | undefined;
  /** What was pushed and not read, its size, its position in the stream, and the size that the next record needs. */
  private held: Buffer[] = [];
  private available = 0;
  private position = 0;
  private wanted = HEADER_BYTES;

  constructor(private readonly path: string) {}

  push(chunk: Uint8Array): void {
    const piece = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.available += piece.length;
    if (this.available < this.wanted) {
      // A chunk is valid only during the call.
      this.held.push(Buffer.from(piece));
      return;
    }
    const bytes = this.held.length === 0 ? piece : Buffer.concat([...this.held, piece]);
    let at = 0;
    for (let taken = -1; taken !== 0; at += taken) taken = this.take(bytes, at);
    this.position += at;
    this.available = bytes.length - at;
    this.held = [Buffer.from(bytes.subarray(at))];
  }

  /** Takes a record, a part of a long one, or one stray byte; returns how many bytes it took, 0 where it needs more. */
  private take(bytes: Buffer, at: number): number {
    const available = bytes.length - at;
    if (this.long !== undefined) return this.takeLong(this.long, bytes, at);
    this.wanted = HEADER_BYTES;
    if (available < HEADER_BYTES) return 0;
    const start = this.position + at;
    if (!isHeader(bytes, at)) return this.passAstray(start);
    this.astray = false;
    const length = uint32(bytes, at) + uint32(bytes, at + 4) * 2 ** 32;
    if (length > MAX_RECORD) return this.passAbsurd(length, start);
    if (length > MAX_HELD_RECORD) {
      this.long = { start, length, left: length, crc: 0 };
      return HEADER_BYTES;
    }
    const size = HEADER_BYTES + length + FOOTER_BYTES;
    if (available < size) {
      this.wanted = size;
      return 0;
    }
    const end = at + HEADER_BYTES + length;
    const isWhole = uint32(bytes, end) === maskedCrc32c(crc32c(bytes, at + HEADER_BYTES, end));
    const { sink } = this.tags;
    this.enter(
      isWhole ? readEvent(bytes, at + HEADER_BYTES, end, start, sink, this.hyperparameters) : 'bad-checksum',
      length,
      start,
    );
    return size;
  }

  private takeLong(long: LongRecord, bytes: Buffer, at: number): number {
    const some = Math.min(long.left, bytes.length - at);
    long.crc = crc32c(bytes, at, at + some, long.crc);
    long.left -= some;
    this.wanted = long.left > 0 ? 1 : FOOTER_BYTES;
    if (long.left > 0 || bytes.length - at - some < FOOTER_BYTES) return some;
    const isWhole = uint32(bytes, at + some) === maskedCrc32c(long.crc);
    this.long = undefined;
    this.enter(isWhole ? 'passed-over' : 'bad-checksum', long.length, long.start);
    return some + FOOTER_BYTES;
  }

  private passAstray(start: number): number {
    if (this.lost.bytes++ === 0) this.lost.first = start;
    this.astray = true;
    this.ledger.lose('no-record', 1, start);
    return 1;
  }

  private passAbsurd(length: number, start: number): number {
    this.absurd ??= diagError(
      'limit-exceeded',
      {
        what: 'the length of an event',
        found: length,
        limit: MAX_RECORD,
        hint: 'the file is damaged or hostile',
      },
      { path: this.path, byteOffset: start },
    ).toRecord();
    this.lost.bytes += HEADER_BYTES;
    this.ledger.lose('over-limit', HEADER_BYTES, start, 1);
    return HEADER_BYTES;
  }

  private enter(fate: EventFate | 'bad-checksum', length: number, start: number): void {
    const { ledger } = this;
    if (fate === 'record' || fate === 'passed-over' || fate === 'overhead') {
      this.kept++;
      ledger.overhead(HEADER_BYTES + FOOTER_BYTES);
      if (fate === 'record') ledger.record(length);
      else if (fate === 'passed-over') ledger.passOver(length);
      else ledger.overhead(length);
    } else {
      if (this.bad.records++ === 0) this.bad.first = start;
      ledger.lose(fate, HEADER_BYTES + length + FOOTER_BYTES, start, 1);
    }
  }

  content(): LogContent {
    const { path, bad, lost, astray, kept } = this;
    const ledger = this.ledger.copy();
    const from = this.long?.start ?? this.position;
    const left = this.position + this.available - from;
    if (left > 0) ledger.lose(astray ? 'no-record' : 'torn-record', left, from, astray ? undefined : 1);
    // The last bytes of a stray stretch are not the start of a record that goes on.
    const bytes = lost.bytes + (astray ? left : 0);
    const errors: ErrorRecord[] = [];
    if (bad.records > 0)
      errors.push(
        diagError('tfevents-bad-record', { count: bad.records }, { path, byteOffset: bad.first }).toRecord(),
      );
    if (bytes > 0)
      errors.push(diagError('tfevents-lost-bytes', { bytes }, { path, byteOffset: lost.first }).toRecord());
    if (this.absurd !== undefined) errors.push(this.absurd);
    const series = this.tags.all().flatMap((tag): LoggedSeries[] =>
      tag.step.length === 0
        ? []
        : [
            {
              name: tag.name,
              step: tag.step.finish(),
              value: tag.value.finish(),
              wallTime: tag.wallTime.finish(),
              byteOffset: tag.offset.finish(),
              missing: 0,
              refused: tag.refused,
            },
          ],
    );
    const run = { stepUnit: 'step', series, hyperparameters: new Map(this.hyperparameters) } as const;
    return { kept, account: ledger.account(), errors, runs: [run] };
  }
}

/** Finds tags by their bytes, without a string for each value. */
function tagTable() {
  const byHash = new Map<number, Tag[]>();
  const all: Tag[] = [];
  /** Index of the tag that follows the one found last: a trainer logs its tags in one order. */
  let next = 0;
  const find = (bytes: Buffer, start: number, end: number): Tag => {
    const expected = all[next];
    if (expected !== undefined && sameBytes(expected.bytes, bytes, start, end)) {
      next = next + 1 === all.length ? 0 : next + 1;
      return expected;
    }
    const found = search(bytes, start, end);
    next = found.index + 1 === all.length ? 0 : found.index + 1;
    return found;
  };
  const search = (bytes: Buffer, start: number, end: number): Tag => {
    let hash = 2166136261;
    for (let k = start; k < end; k++) hash = Math.imul(hash ^ bytes[k]!, 16777619);
    const bucket = byHash.get(hash);
    if (bucket !== undefined)
      for (const tag of bucket) if (sameBytes(tag.bytes, bytes, start, end)) return tag;
    const own = Buffer.from(bytes.subarray(start, end));
    const tag: Tag = {
      name: decodeName(own),
      index: all.length,
      bytes: own,
      plugin: undefined,
      step: new ColumnBuilder(),
      value: new ColumnBuilder(),
      wallTime: new ColumnBuilder(),
      offset: new ColumnBuilder(),
      refused: 0,
    };
    if (bucket === undefined) byHash.set(hash, [tag]);
    else bucket.push(tag);
    all.push(tag);
    return tag;
  };
  const refuse = (tag: Tag): void => {
    tag.refused++;
  };
  const sink: TagSink<Tag> = { find, add: addPoint, refuse };
  return { all: () => all, sink };
}

function addPoint(tag: Tag, step: number, value: number, wallTime: number, offset: number): void {
  tag.step.push(step);
  tag.value.push(value);
  tag.wallTime.push(wallTime);
  tag.offset.push(offset);
}
