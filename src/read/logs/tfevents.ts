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
import { type ByteQueue, byteQueue } from '../bytes/byte-queue.ts';
import { crc32c, maskedCrc32c } from '../bytes/crc32c.ts';
import { decodeName, sameBytes } from '../bytes/encoding.ts';
import { openLedger } from '../bytes/ledger.ts';
import type { LogFormat, LoggedSeries, RunFiles } from './format.ts';
import { kerasEvents } from './keras-events.ts';
import { type EventFate, readEvent, type TagSink } from './tfevents-message.ts';

const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;
/** A longer record is checked and passed over in pieces, never held: a graph may have gigabytes. */
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
/** A folder of evaluation events beside or below those of the training (Keras, TF Estimator). */
const EVAL_FOLDER = /^(eval|evaluation|val|valid|validation|test|dev)([_-].*)?$/i;

/** Where PyTorch's `add_hparams` keeps a session: a folder of its own, named by the time, below the run that it is of. */
const SESSION_FOLDER = /^\d{9,10}\.\d+$/;

/**
 * The files of a folder are one run. Those of its evaluation folder are series of it with the folder as prefix; those of `train` and
 * of a session below it belong to it too: a run's hyperparameters stand above its losses (Keras) or below them (PyTorch).
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
    // The results of a session have names of their own: one called as the loss would be a point of it, at step 0.
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
  tried: 'TensorBoard events (a TFRecord with a valid length checksum)',
  text: false,
  // The version that every writer puts into the first event tells the format where its checksum is damaged.
  // The profiler of TensorFlow leaves an empty file of its own.
  names: /^(?!.*\.profile-empty$).*tfevents/,
  // The version of the file.
  headerRecords: 1,
  sniff: (head) =>
    head.length >= HEADER_BYTES &&
    ((isHeader(head, 0) && firstIsEvent(head)) || head.subarray(0, 64).includes('brain.Event:')),
  joined: eventRuns,
  convention: kerasEvents,
  async read(chunks, path) {
    const tags = tagTable();
    const hyperparameters = new Map<string, string | number | boolean | null>();
    const errors: ErrorRecord[] = [];
    const ledger = openLedger();
    let kept = 0;
    let firstBad = 0;
    let badRecords = 0;
    let lostBytes = 0;
    let firstLost = 0;
    let absurd: ErrorRecord | undefined;

    const queue = byteQueue(chunks);
    let recordStart = 0;
    /** Whether what comes next follows bytes that are no record. */
    let astray = false;
    for (;;) {
      recordStart = queue.position;
      // Awaiting a promise for every record would take longer than reading it.
      if (queue.available() < HEADER_BYTES && !(await queue.need(HEADER_BYTES))) break;
      if (!isHeader(queue.bytes, queue.at)) {
        if (lostBytes === 0) firstLost = recordStart;
        lostBytes++;
        astray = true;
        ledger.lose('no-record', 1, recordStart);
        queue.skip(1);
        continue;
      }
      astray = false;
      const length = uint32(queue.bytes, queue.at) + uint32(queue.bytes, queue.at + 4) * 2 ** 32;
      if (length > MAX_RECORD) {
        absurd ??= diagError(
          'limit-exceeded',
          {
            what: 'the length of an event',
            found: length,
            limit: MAX_RECORD,
            hint: 'the file is damaged or hostile',
          },
          { path, byteOffset: recordStart },
        ).toRecord();
        lostBytes += HEADER_BYTES;
        ledger.lose('over-limit', HEADER_BYTES, recordStart, 1);
        queue.skip(HEADER_BYTES);
        continue;
      }
      let fate: EventFate | 'bad-checksum';
      if (length > MAX_HELD_RECORD) {
        const good = await skipChecked(queue, length);
        if (good === undefined) break;
        fate = good ? 'passed-over' : 'bad-checksum';
      } else {
        const size = HEADER_BYTES + length + FOOTER_BYTES;
        if (queue.available() < size && !(await queue.need(size))) break;
        const { bytes, at } = queue;
        const end = at + HEADER_BYTES + length;
        fate =
          uint32(bytes, end) === maskedCrc32c(crc32c(bytes, at + HEADER_BYTES, end))
            ? readEvent(bytes, at + HEADER_BYTES, end, recordStart, tags.sink, hyperparameters)
            : 'bad-checksum';
        queue.skip(size);
      }
      if (fate === 'record' || fate === 'passed-over' || fate === 'overhead') {
        kept++;
        ledger.overhead(HEADER_BYTES + FOOTER_BYTES);
        if (fate === 'record') ledger.record(length);
        else if (fate === 'passed-over') ledger.passOver(length);
        else ledger.overhead(length);
      } else {
        if (badRecords++ === 0) firstBad = recordStart;
        ledger.lose(fate, HEADER_BYTES + length + FOOTER_BYTES, recordStart, 1);
      }
    }
    const left = queue.position + queue.available() - recordStart;
    // The last bytes of a stretch that is no record are no record that goes on.
    if (astray) lostBytes += left;
    if (left > 0)
      ledger.lose(astray ? 'no-record' : 'torn-record', left, recordStart, astray ? undefined : 1);
    if (badRecords > 0)
      errors.push(
        diagError('tfevents-bad-record', { count: badRecords }, { path, byteOffset: firstBad }).toRecord(),
      );
    if (lostBytes > 0)
      errors.push(
        diagError('tfevents-lost-bytes', { bytes: lostBytes }, { path, byteOffset: firstLost }).toRecord(),
      );
    if (absurd !== undefined) errors.push(absurd);
    const series = tags.all().flatMap((tag): LoggedSeries[] =>
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
    return { kept, account: ledger.account(), errors, runs: [{ stepUnit: 'step', series, hyperparameters }] };
  },
};

/** Passes over a record of `length` bytes; whether its checksum holds, undefined if it is cut. */
async function skipChecked(queue: ByteQueue, length: number): Promise<boolean | undefined> {
  queue.skip(HEADER_BYTES);
  let crc = 0;
  for (let left = length; left > 0; ) {
    if (queue.available() === 0 && !(await queue.need(1))) return undefined;
    const take = Math.min(left, queue.available());
    crc = crc32c(queue.bytes, queue.at, queue.at + take, crc);
    queue.skip(take);
    left -= take;
  }
  if (queue.available() < FOOTER_BYTES && !(await queue.need(FOOTER_BYTES))) return undefined;
  const whole = uint32(queue.bytes, queue.at) === maskedCrc32c(crc);
  queue.skip(FOOTER_BYTES);
  return whole;
}

/** Tags by their bytes, without a string for each value. */
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
