/**
 * The transaction log of a W&B run (`run-ID.wandb`): what was logged, online and offline.
 *
 * | bytes | what |
 * |---|---|
 * | 7 | header: `:W&B`, 0xBEE1 (little-endian), version 0 |
 *
 * then blocks of 32 KiB, of which the first includes the header. A block holds pieces of records; fewer than 7 bytes
 * at its end are padding.
 *
 * | bytes | what |
 * |---|---|
 * | 4 | CRC-32 of the type and the data, little-endian |
 * | 2 | length L, little-endian |
 * | 1 | type: 1 a whole record, 2 its first piece, 3 one between, 4 its last |
 * | L | data |
 *
 * `Record`: 2 history { 1 item { 1 key, 2 nested_key, 16 value_json }, 2 step { 1 num } }, 5 config and 17 run { 4 config },
 * each config { 1 update { 1 key, 2 nested_key, 16 value_json } }; others are skipped (printed output, machine
 * statistics, the summary, which repeats the last values). A row of the history is read as a line of JSON.
 * Source: wandb/proto/wandb_internal_pb2 of wandb 0.31.0 (messages), the log format of LevelDB (blocks).
 */
import { dirname, join } from 'node:path';
import { DiagError, diagError, type ErrorRecord } from '../../model/errors.ts';
import { byteQueue } from '../bytes/byte-queue.ts';
import { crc32 } from '../bytes/crc32.ts';
import { openLedger } from '../bytes/ledger.ts';
import { type ProtobufField, protobufFields, signedVarint, textOf } from '../bytes/protobuf.ts';
import type { LogContent, LogFormat, LoggedSeries } from './format.ts';
import { flatten, type Scalar } from './hyperparameters.ts';
import { objectScanner, skipValue } from './json-line.ts';
import { rowTable } from './row-table.ts';
import { wandbRun } from './wandb-folder.ts';

/** `:W&B`, the magic number, the version. */
export const WANDB_HEADER = Buffer.from([0x3a, 0x57, 0x26, 0x42, 0xe1, 0xbe, 0x00]);
const BLOCK_BYTES = 32 << 10;
const FRAME_BYTES = 7;
/** A longer record is skipped: rows of numbers are short. */
const MAX_RECORD = 64 << 20;

/** Types of pieces; 3 is one between the first and the last. */
const WHOLE = 1;
const FIRST = 2;
const LAST = 4;
const HISTORY = 2;
const CONFIG = 5;
const RUN = 17;
const RUN_CONFIG = 4;
const VALUE_JSON = 16;

/** The length of the data of the piece at `at`, undefined where there is no sound one before `end`. */
function soundPiece(bytes: Buffer, at: number, end: number): number | undefined {
  if (end - at < FRAME_BYTES) return undefined;
  const length = bytes.readUInt16LE(at + 4);
  const type = bytes[at + 6]!;
  const stop = at + FRAME_BYTES + length;
  if (type < WHOLE || type > LAST || stop > end) return undefined;
  return crc32(bytes.subarray(at + 6, stop)) === bytes.readUInt32LE(at) ? length : undefined;
}

/** The name of an item: its key, or its nested keys joined with `.`, and its value as JSON. */
function itemOf(item: ProtobufField, path: string): { name: string; json: string } {
  const names: string[] = [];
  let json = '';
  for (const field of protobufFields(item.bytes, path, 'an item of W&B', item.offset, 2))
    if (field.number === 1 || field.number === 2) names.push(textOf(field));
    else if (field.number === VALUE_JSON) json = textOf(field);
  return { name: names.join('.'), json };
}

/** Says what a plot, a picture or a table is. Its other members (a width, a size) measure nothing. */
const MEDIA = '_type';

/** Whether a text is one JSON value: more than one would bring names of its own. */
function isOneValue(json: string): boolean {
  const followed = Buffer.from(`${json},`);
  return skipValue(followed, 0, followed.length) === followed.length - 1;
}

/** Names of members are not deeper. */
const MAX_NESTED = 8;

/** Whether a name is a member of one of `parents`. */
function isWithin(name: string, parents: ReadonlySet<string>): boolean {
  let dot = parents.size === 0 ? -1 : name.indexOf('.');
  for (let depth = 0; dot >= 0 && depth < MAX_NESTED; depth++) {
    if (parents.has(name.slice(0, dot))) return true;
    dot = name.indexOf('.', dot + 1);
  }
  return false;
}

/** The row of a history as one JSON object; undefined where a value is not JSON. */
function rowOf(history: ProtobufField, path: string): string | undefined {
  const items: { readonly name: string; readonly json: string }[] = [];
  const media = new Set<string>();
  let step = '0';
  for (const field of protobufFields(history.bytes, path, 'a history of W&B', history.offset, 1))
    if (field.number === 1) {
      const item = itemOf(field, path);
      if (!isOneValue(item.json.trim())) return undefined;
      if (item.name.endsWith(`.${MEDIA}`)) media.add(item.name.slice(0, -MEDIA.length - 1));
      items.push(item);
    } else if (field.number === 2)
      for (const one of protobufFields(field.bytes, path, 'a step of W&B', field.offset, 2))
        if (one.number === 1 && one.wire === 0) step = String(signedVarint(one.bytes));
  const isMedia = ({ name, json }: { readonly name: string; readonly json: string }): boolean =>
    isWithin(name, media) || (json.startsWith('{') && json.includes(`"${MEDIA}"`));
  const members = items
    .filter((item) => !isMedia(item))
    .map(({ name, json }) => `${JSON.stringify(name)}:${json}`);
  // proto3 omits a step of 0, and older versions had no item for it.
  if (!items.some(({ name }) => name === '_step')) members.push(`"_step":${step}`);
  return `{${members.join(',')}}`;
}

function readConfig(config: ProtobufField, path: string, into: Map<string, Scalar>): void {
  for (const update of protobufFields(config.bytes, path, 'a configuration of W&B', config.offset, 1)) {
    if (update.number !== 1) continue;
    const { name, json } = itemOf(update, path);
    // Keys of W&B itself: its version, the platform.
    if (name === '_wandb' || name.startsWith('_wandb.')) continue;
    try {
      flatten(JSON.parse(json), name, into);
    } catch {
      // For example a bare NaN: kept as text.
      into.set(name, json.slice(0, 1_000));
    }
  }
}

export const wandb: LogFormat = {
  id: 'wandb',
  title: 'W&B transaction log',
  text: false,
  names: /\.wandb$/,
  joined: (paths) =>
    paths.map((path) => ({
      path,
      named: wandbRun(path) ?? path,
      files: [{ path }],
      folder: join(dirname(path), 'files'),
    })),
  sniff: (head) => head.subarray(0, WANDB_HEADER.length).equals(WANDB_HEADER),
  async read(chunks, path) {
    const log = new TransactionLog(path);
    const queue = byteQueue(chunks);
    const hasHeader = await queue.need(WANDB_HEADER.length);
    log.header(queue.bytes.subarray(queue.at, queue.at + WANDB_HEADER.length), hasHeader);
    queue.skip(Math.min(WANDB_HEADER.length, queue.available()));
    for (;;) {
      const room = BLOCK_BYTES - (queue.position % BLOCK_BYTES);
      if (queue.available() < room) await queue.need(room);
      const size = Math.min(room, queue.available());
      if (size === 0) break;
      log.block(queue.bytes, queue.at, queue.at + size, queue.position, room);
      queue.skip(size);
    }
    return log.content();
  },
};

/** The rows and settings in records, which come one after the other. */
class Records {
  readonly table = rowTable();
  readonly scan = objectScanner(this.table);
  readonly hyperparameters = new Map<string, Scalar>();
  /** Where the record of each row begins. */
  readonly offsets: number[] = [];
  constructor(private readonly path: string) {}

  /** Reads a record. @returns what it is */
  take(data: Buffer, at: number): 'record' | 'passed-over' | 'damaged' {
    let fate: 'record' | 'passed-over' | 'damaged' = 'passed-over';
    try {
      for (const field of protobufFields(data, this.path, 'a record of W&B', at))
        fate = this.field(field, at) ?? fate;
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      return 'damaged';
    }
    return fate;
  }

  /** @returns undefined for what says nothing of the training */
  private field(field: ProtobufField, at: number): 'record' | 'damaged' | undefined {
    const { path, offsets, hyperparameters } = this;
    if (field.number === HISTORY) {
      const bytes = Buffer.from(rowOf(field, path) ?? '');
      if (!this.scan.row(bytes, 0, bytes.length, offsets.length)) return 'damaged';
      offsets.push(at);
    } else if (field.number === CONFIG) readConfig(field, path, hyperparameters);
    else if (field.number === RUN) {
      for (const one of protobufFields(field.bytes, path, 'a run of W&B', field.offset, 1))
        if (one.number === RUN_CONFIG) readConfig(one, path, hyperparameters);
    } else return undefined;
    return 'record';
  }
}

/** The pieces of a log, with an account of each byte. */
class TransactionLog {
  private readonly ledger = openLedger();
  private readonly records: Records;
  private readonly bad = { count: 0, first: 0 };
  private readonly stray = { bytes: 0, first: 0 };
  /** The record whose last piece is still to come. */
  private open: { pieces: Buffer[]; at: number; bytes: number; count: number } | undefined;

  constructor(private readonly path: string) {
    this.records = new Records(path);
  }

  /** @param head the first bytes of the file; fewer than a header has where it ends before */
  header(head: Buffer, isWhole: boolean): void {
    if (head.equals(WANDB_HEADER)) this.ledger.overhead(head.length);
    else if (isWhole) this.lose('no-record', head.length, 0);
    else this.ledger.lose('torn-record', head.length, 0, 1);
  }

  private spoil(at: number): void {
    if (this.bad.count++ === 0) this.bad.first = at;
  }

  private lose(reason: 'hole' | 'no-record', bytes: number, at: number): void {
    if (this.stray.bytes === 0) this.stray.first = at;
    this.stray.bytes += bytes;
    this.ledger.lose(reason, bytes, at);
  }

  private readRecord(data: Buffer, at: number): void {
    const fate = this.records.take(data, at);
    if (fate === 'record') this.ledger.record(data.length);
    else if (fate === 'passed-over') this.ledger.passOver(data.length);
    else {
      this.spoil(at);
      this.ledger.lose('damaged', data.length, at, 1);
    }
  }

  private giveUp(reason: 'damaged' | 'torn-record'): void {
    const { open } = this;
    if (open === undefined) return;
    if (reason === 'damaged') this.spoil(open.at);
    this.ledger.lose(reason, open.bytes + open.count * FRAME_BYTES, open.at, 1);
    this.open = undefined;
  }

  private takePiece(type: number, data: Buffer, at: number): void {
    if (type === WHOLE || type === FIRST) this.giveUp('damaged');
    else if (this.open === undefined) {
      this.spoil(at);
      this.ledger.lose('damaged', data.length + FRAME_BYTES, at, 1);
      return;
    }
    this.open ??= { pieces: [], at, bytes: 0, count: 0 };
    const { open, ledger } = this;
    open.bytes += data.length;
    open.count++;
    if (open.bytes <= MAX_RECORD) open.pieces.push(type === WHOLE ? data : Buffer.from(data));
    else open.pieces = [];
    if (type !== WHOLE && type !== LAST) return;
    ledger.overhead(open.count * FRAME_BYTES);
    if (open.bytes > MAX_RECORD) ledger.passOver(open.bytes);
    else this.readRecord(open.pieces.length === 1 ? open.pieces[0]! : Buffer.concat(open.pieces), open.at);
    this.open = undefined;
  }

  /** @param room bytes up to the end of the block, before which the file may end */
  block(bytes: Buffer, start: number, end: number, offset: number, room: number): void {
    const blockEnd = start + room;
    for (let at = start; at < end; ) {
      const here = offset + at - start;
      if (blockEnd - at < FRAME_BYTES) {
        this.ledger.overhead(end - at);
        return;
      }
      const length = soundPiece(bytes, at, end);
      if (length === undefined) {
        at = this.unsound(bytes, at, end, blockEnd, here);
        continue;
      }
      const dataAt = at + FRAME_BYTES;
      this.takePiece(bytes[at + 6]!, bytes.subarray(dataAt, dataAt + length), here);
      at = dataAt + length;
    }
  }

  /** Accounts for a piece that is not sound. @returns where the next one begins */
  private unsound(bytes: Buffer, at: number, end: number, blockEnd: number, here: number): number {
    this.giveUp('damaged');
    const stop = end - at < FRAME_BYTES ? blockEnd : at + FRAME_BYTES + bytes.readUInt16LE(at + 4);
    // The length has no checksum of its own: it is trusted where it leads to a sound piece, or to the end.
    const led = (): boolean =>
      blockEnd - stop < FRAME_BYTES || stop === end || soundPiece(bytes, stop, end) !== undefined;
    if (bytes.subarray(at, end).every((byte) => byte === 0)) this.lose('hole', end - at, here);
    else if (stop > end && stop <= blockEnd) this.ledger.lose('torn-record', end - at, here, 1);
    else if (stop <= end && led()) {
      this.spoil(here);
      this.ledger.lose('bad-checksum', stop - at, here, 1);
      return stop;
    } else this.lose('no-record', end - at, here);
    return end;
  }

  content(): LogContent {
    this.giveUp('torn-record');
    const { path, bad, stray, records } = this;
    const errors: ErrorRecord[] = [];
    if (bad.count > 0)
      errors.push(
        diagError('wandb-bad-record', { count: bad.count }, { path, byteOffset: bad.first }).toRecord(),
      );
    if (stray.bytes > 0)
      errors.push(
        diagError('wandb-lost-bytes', { bytes: stray.bytes }, { path, byteOffset: stray.first }).toRecord(),
      );
    const { table, offsets, hyperparameters, scan } = records;
    const { series, ...axis } = table.finish();
    const placed = series.map(
      ({ line, ...one }): LoggedSeries => ({
        ...one,
        ...(line === undefined ? {} : { byteOffset: Float64Array.from(line, (row) => offsets[row]!) }),
      }),
    );
    return {
      kept: table.rows(),
      account: this.ledger.account(),
      errors: [...errors, ...scan.errors(path)],
      runs: [{ ...axis, series: placed, hyperparameters }],
    };
  }
}
