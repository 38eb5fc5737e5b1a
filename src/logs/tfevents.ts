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
import { crc32c, maskedCrc32c } from '../bytes/crc32c.ts';
import { decodeName } from '../bytes/encoding.ts';
import { diagError, type ErrorRecord } from '../model/errors.ts';
import type { LogFormat, LoggedSeries } from './format.ts';
import { readEvent, type TagSink } from './tfevents-message.ts';

const HEADER_BYTES = 12;
const FOOTER_BYTES = 4;
/** A longer record is checked and passed over in pieces, never held: a graph may have gigabytes. */
const MAX_HELD_RECORD = 64 << 20;
/** No event is longer: protocol buffers end at 2 GiB. A length above that is damage, whatever its checksum says. */
const MAX_RECORD = 2 ** 31;

interface Tag {
  readonly name: string;
  readonly bytes: Buffer;
  /** From the first value's metadata; later values have none. */
  plugin: string | undefined;
  step: Float64Array;
  value: Float64Array;
  wallTime: Float64Array;
  offset: Float64Array;
  count: number;
}

const isHeader = (bytes: Buffer, at: number): boolean =>
  bytes.readUInt32LE(at + 8) === maskedCrc32c(crc32c(bytes, at, at + 8));

/** An Event starts with its wall time (field 1, eight bytes); a TFRecord of tf.Example, say, does not. */
const firstIsEvent = (head: Buffer): boolean => head.length === HEADER_BYTES || head[HEADER_BYTES] === 0x09;

export const tfevents: LogFormat = {
  id: 'tfevents',
  title: 'TensorBoard event file',
  tried: 'TensorBoard events (a TFRecord with a valid length checksum)',
  text: false,
  sniff: (head) => head.length >= HEADER_BYTES && isHeader(head, 0) && firstIsEvent(head),
  async read(chunks, path) {
    const tags = tagTable();
    const hyperparameters = new Map<string, string | number | boolean | null>();
    const errors: ErrorRecord[] = [];
    let kept = 0;
    let lost = 0;
    let firstBad = 0;
    let badRecords = 0;
    let lostBytes = 0;
    let firstLost = 0;
    let absurd: ErrorRecord | undefined;

    const queue = byteQueue(chunks);
    let recordStart = 0;
    for (;;) {
      recordStart = queue.position();
      if (!(await queue.need(HEADER_BYTES))) break;
      const at = queue.start();
      const bytes = queue.bytes();
      if (!isHeader(bytes, at)) {
        if (lostBytes === 0) firstLost = queue.position();
        lostBytes++;
        queue.skip(1);
        continue;
      }
      const length = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
      if (length > MAX_RECORD) {
        absurd ??= diagError(
          'limit-exceeded',
          {
            what: 'the length of an event',
            found: length,
            limit: MAX_RECORD,
            hint: 'the file is damaged or hostile',
          },
          { path, byteOffset: queue.position() },
        ).toRecord();
        lost++;
        lostBytes += HEADER_BYTES;
        queue.skip(HEADER_BYTES);
        continue;
      }
      const offset = queue.position();
      if (length > MAX_HELD_RECORD) {
        const whole = await queue.skipChecked(length);
        if (whole === undefined) break;
        if (whole) kept++;
        else {
          if (badRecords++ === 0) firstBad = offset;
          lost++;
        }
        continue;
      }
      if (!(await queue.need(HEADER_BYTES + length + FOOTER_BYTES))) break;
      const data = queue.start() + HEADER_BYTES;
      const end = data + length;
      const held = queue.bytes();
      if (
        held.readUInt32LE(end) !== maskedCrc32c(crc32c(held, data, end)) ||
        !readEvent(held, data, end, offset, tags.sink, hyperparameters)
      ) {
        if (badRecords++ === 0) firstBad = offset;
        lost++;
      } else kept++;
      queue.skip(HEADER_BYTES + length + FOOTER_BYTES);
    }
    const unreadBytes = queue.position() + queue.available() - recordStart;
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
      tag.count === 0
        ? []
        : [
            {
              name: tag.name,
              step: tag.step.subarray(0, tag.count),
              value: tag.value.subarray(0, tag.count),
              wallTime: tag.wallTime.subarray(0, tag.count),
              byteOffset: tag.offset.subarray(0, tag.count),
            },
          ],
    );
    return { kept, lost, errors, unreadBytes, runs: [{ stepUnit: 'step', series, hyperparameters }] };
  },
};

/** A stream of bytes from which records are taken; holds what was asked for and nothing else. */
function byteQueue(chunks: AsyncIterable<Uint8Array>) {
  const iterator = chunks[Symbol.asyncIterator]();
  let held: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  let at = 0;
  let consumed = 0;
  let done = false;
  const pull = async (): Promise<Buffer<ArrayBufferLike> | undefined> => {
    const next = await iterator.next();
    if (next.done === true) {
      done = true;
      return undefined;
    }
    return Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
  };
  const skip = (bytes: number): void => {
    at += bytes;
    consumed += bytes;
  };
  const need = async (bytes: number): Promise<boolean> => {
    if (held.length - at >= bytes) return true;
    if (done) return false;
    // The rest is copied: a chunk is valid only until the next one is asked for.
    const parts: Buffer<ArrayBufferLike>[] = [Buffer.from(held.subarray(at))];
    let have = parts[0]!.length;
    while (have < bytes) {
      const chunk = await pull();
      if (chunk === undefined) break;
      parts.push(have + chunk.length < bytes ? Buffer.from(chunk) : chunk);
      have += chunk.length;
    }
    held =
      parts.length === 1
        ? parts[0]!
        : parts[0]!.length === 0 && parts.length === 2
          ? parts[1]!
          : Buffer.concat(parts);
    at = 0;
    return have >= bytes;
  };
  return {
    need,
    skip,
    bytes: () => held,
    start: () => at,
    position: () => consumed,
    available: () => held.length - at,
    /** Passes over a record of `length` bytes; whether its checksum holds, undefined if it is cut. */
    async skipChecked(length: number): Promise<boolean | undefined> {
      skip(HEADER_BYTES);
      let crc = 0;
      let left = length;
      while (left > 0) {
        if (at === held.length && !(await need(1))) break;
        const take = Math.min(left, held.length - at);
        crc = crc32c(held, at, at + take, crc);
        skip(take);
        left -= take;
      }
      if (left > 0 || !(await need(FOOTER_BYTES))) return undefined;
      const whole = held.readUInt32LE(at) === maskedCrc32c(crc);
      skip(FOOTER_BYTES);
      return whole;
    },
  };
}

/** Tags by their bytes, without a string for each value. */
function tagTable() {
  const byHash = new Map<number, Tag[]>();
  const all: Tag[] = [];
  const find = (bytes: Buffer, start: number, end: number): Tag => {
    let hash = 2166136261;
    for (let k = start; k < end; k++) hash = Math.imul(hash ^ bytes[k]!, 16777619);
    const bucket = byHash.get(hash);
    if (bucket !== undefined)
      for (const tag of bucket)
        if (tag.bytes.length === end - start && tag.bytes.compare(bytes, start, end) === 0) return tag;
    const own = Buffer.from(bytes.subarray(start, end));
    const tag: Tag = {
      name: decodeName(own),
      bytes: own,
      plugin: undefined,
      step: new Float64Array(16),
      value: new Float64Array(16),
      wallTime: new Float64Array(16),
      offset: new Float64Array(16),
      count: 0,
    };
    if (bucket === undefined) byHash.set(hash, [tag]);
    else bucket.push(tag);
    all.push(tag);
    return tag;
  };
  const sink: TagSink<Tag> = { find, add: addPoint };
  return { all: () => all, sink };
}

function addPoint(tag: Tag, step: number, value: number, wallTime: number, offset: number): void {
  if (tag.count === tag.step.length) {
    const grow = (old: Float64Array): Float64Array => {
      const next = new Float64Array(Math.ceil(old.length * 1.6));
      next.set(old);
      return next;
    };
    tag.step = grow(tag.step);
    tag.value = grow(tag.value);
    tag.wallTime = grow(tag.wallTime);
    tag.offset = grow(tag.offset);
  }
  tag.step[tag.count] = step;
  tag.value[tag.count] = value;
  tag.wallTime[tag.count] = wallTime;
  tag.offset[tag.count++] = offset;
}
