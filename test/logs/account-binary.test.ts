/** The accounts of event files and Parquet: what each part of a file is, and that it adds up whatever happens to the file. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { crc32c, maskedCrc32c } from '../../src/bytes/crc32c.ts';
import { type RawLog, readRawStream } from '../../src/logs/read-log.ts';
import type { Account } from '../../src/model/log.ts';
import { accountFault } from '../support/closes.ts';
import { checkDamagedLogs, type WholeLog } from '../support/damaged-logs.ts';
import { projectRoot } from '../support/shared-data.ts';

const read = (bytes: Uint8Array): Promise<RawLog> =>
  readRawStream(
    (async function* () {
      yield bytes;
    })(),
    'log',
  );
const fixture = (name: string): Buffer => readFileSync(join(projectRoot, 'fixtures/formats', name));

/** The protocol buffers and the frames of an event file, written by hand: an oracle that shares nothing with the reader. */
const lengthOf = (length: number): number[] =>
  length < 128 ? [length] : [(length & 127) | 128, length >> 7];
const message = (field: number, content: Uint8Array | readonly number[]): Buffer =>
  Buffer.from([(field << 3) | 2, ...lengthOf(content.length), ...content]);
const textField = (field: number, text: string): Buffer => message(field, Buffer.from(text));
const joined = (...parts: readonly Uint8Array[]): Buffer => Buffer.concat(parts);
const time = Buffer.from([0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
const event = (step: number, ...content: readonly Uint8Array[]): Buffer =>
  joined(time, Buffer.from([0x10, step]), ...content);
const float = (value: number): Buffer => {
  const bytes = Buffer.alloc(5, 0x15);
  bytes.writeFloatLE(value, 1);
  return bytes;
};
const summary = (...values: readonly Uint8Array[]): Buffer =>
  message(5, joined(...values.map((one) => message(1, one))));
const scalar = (step: number, value: number): Buffer =>
  event(step, summary(joined(textField(1, 'loss'), float(value))));
const plugin = (name: string, content: Uint8Array = Buffer.alloc(0)): Buffer =>
  message(9, message(1, joined(textField(1, name), message(2, content))));
function framed(data: Uint8Array): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length));
  head.writeUInt32LE(maskedCrc32c(crc32c(head, 0, 8)), 8);
  const foot = Buffer.alloc(4);
  foot.writeUInt32LE(maskedCrc32c(crc32c(data)));
  return Buffer.concat([head, data, foot]);
}
const version = event(0, textField(3, 'brain.Event:2'));
const PARTS = {
  version,
  session: event(0, message(7, [0x08, 1])),
  graph: event(0, message(4, Buffer.alloc(300, 7))),
  image: event(1, summary(joined(textField(1, 'input'), message(4, Buffer.alloc(90, 9))))),
  text: event(1, summary(joined(textField(1, 'note'), plugin('text'), message(8, [0x08, 7])))),
  experiment: event(
    0,
    summary(joined(textField(1, '_hparams_/experiment'), plugin('hparams', message(2, textField(1, 'x'))))),
  ),
  hparams: event(
    0,
    summary(
      joined(
        textField(1, '_hparams_/session_start_info'),
        plugin(
          'hparams',
          message(
            3,
            message(
              1,
              joined(textField(1, 'lr'), message(2, Buffer.from([0x11, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f]))),
            ),
          ),
        ),
      ),
    ),
  ),
  // A tensor of two elements that says that it is a scalar.
  noScalar: event(
    3,
    summary(
      joined(
        textField(1, 'odd'),
        plugin('scalars'),
        message(
          8,
          joined(Buffer.from([0x08, 1]), message(2, message(2, [0x08, 2])), message(4, Buffer.alloc(8))),
        ),
      ),
    ),
  ),
  loss: scalar(1, 0.5),
  later: scalar(2, 0.25),
} as const;

describe('the account of an event file', () => {
  const accountOf = async (...names: readonly (keyof typeof PARTS)[]): Promise<Account> =>
    (await read(joined(...names.map((name) => framed(PARTS[name]))))).account;
  it('says what each kind of event is', async () => {
    const sizes = Object.fromEntries(Object.entries(PARTS).map(([name, { length }]) => [name, length]));
    const base = sizes.version! + sizes.loss! + 32;
    const kinds = {
      session: 'overhead',
      graph: 'passedOver',
      image: 'passedOver',
      text: 'passedOver',
      experiment: 'passedOver',
      hparams: 'records',
      later: 'records',
    } as const;
    for (const [name, kind] of Object.entries(kinds) as [keyof typeof kinds, 'records'][]) {
      const whole = {
        bytes: base,
        records: sizes.loss!,
        overhead: sizes.version! + 32,
        passedOver: 0,
        lost: [],
      };
      const expected = { ...whole, bytes: base + 16 + sizes[name]!, overhead: whole.overhead + 16 };
      expected[kind] += sizes[name]!;
      expect(await accountOf('version', 'loss', name), name).toEqual(expected);
    }
  });
  it('counts a value that says that it is a scalar and is none', async () => {
    const account = await accountOf('version', 'loss', 'noScalar');
    const at = PARTS.version.length + PARTS.loss.length + 32;
    expect(account.lost).toEqual([
      { reason: 'refused-value', records: 1, bytes: PARTS.noScalar.length + 16, at },
    ]);
  });
  it('tells what is lost, and why', async () => {
    const [a, b, c] = [PARTS.version, PARTS.loss, PARTS.later].map(framed);
    const [start, end] = [a!.length, a!.length + b!.length];
    const lostOf = async (...parts: readonly Uint8Array[]): Promise<Account['lost']> => {
      const { account } = await read(joined(...parts));
      expect(accountFault(account)).toBeUndefined();
      return account.lost;
    };
    const wrong = Buffer.from(b!);
    wrong[14]! ^= 1;
    expect(await lostOf(a!, wrong, c!)).toEqual([
      { reason: 'bad-checksum', records: 1, bytes: b!.length, at: start },
    ]);
    expect(await lostOf(a!, wrong, wrong, c!)).toMatchObject([{ records: 2, bytes: 2 * b!.length }]);
    const malformed = framed(joined(PARTS.loss, Buffer.from([0x2a, 0x7f])));
    expect(await lostOf(a!, malformed, c!)).toMatchObject([
      { reason: 'damaged', bytes: malformed.length, at: start },
    ]);
    const rubbish = Buffer.alloc(100, 0x55);
    expect(await lostOf(a!, rubbish, c!)).toEqual([{ reason: 'no-record', bytes: 100, at: start }]);
    // At the end of the file too: its last bytes are no record that is still written.
    expect(await lostOf(a!, b!, rubbish)).toEqual([{ reason: 'no-record', bytes: 100, at: end }]);
    for (let cut = 1; cut < c!.length; cut++)
      expect(await lostOf(a!, b!, c!.subarray(0, cut)), `cut after ${cut}`).toEqual([
        { reason: 'torn-record', records: 1, bytes: cut, at: end },
      ]);
  });
  it('keeps a record that stands twice twice', async () => {
    const log = await read(joined(framed(PARTS.version), framed(PARTS.loss), framed(PARTS.loss)));
    expect(log.account).toMatchObject({ records: 2 * PARTS.loss.length, lost: [] });
    expect([...log.runs[0]!.series[0]!.value]).toEqual([0.5, 0.5]);
  });
});

describe('the account of a Parquet file', () => {
  it.each(['parquet-snappy', 'parquet-zstd'])('of %s counts columns, and missing values', async (name) => {
    const bytes = fixture(`${name}/input.parquet`);
    const { account, runs } = await read(bytes);
    expect(accountFault(account)).toBeUndefined();
    expect(account.bytes).toBe(bytes.length);
    // The directory and its length stand at the end, the magic number at both ends.
    const directory = bytes.readUInt32LE(bytes.length - 8);
    expect(account.overhead).toBeGreaterThanOrEqual(directory + 12);
    expect(account.records).toBeGreaterThan(account.passedOver);
    for (const { value, missing, refused } of runs[0]!.series)
      expect(value.length + missing + refused).toBe(12);
  });
  it('is not reached by a run that claims a thousand million values', async () => {
    const hostile = readFileSync(join(projectRoot, 'fixtures/hostile-logs/parquet-endless-run.parquet'));
    await expect(read(hostile)).rejects.toThrow(/a run of "_step" claims 1342375928 of 5 values/);
  });
});

/** Makes the checksums of the frames right again, as far as their lengths lead from one to the next. */
function repairEvents(damaged: Uint8Array): Uint8Array {
  const bytes = Buffer.from(damaged);
  for (let at = 0; at + 16 <= bytes.length; ) {
    const end = at + 12 + bytes.readUInt32LE(at);
    if (end + 4 > bytes.length) break;
    bytes.writeUInt32LE(0, at + 4);
    bytes.writeUInt32LE(maskedCrc32c(crc32c(bytes, at, at + 8)), at + 8);
    bytes.writeUInt32LE(maskedCrc32c(crc32c(bytes, at + 12, end)), end);
    at = end + 4;
  }
  return bytes;
}

const allKinds = joined(...Object.values(PARTS).map(framed));
const EVENTS: WholeLog[] = [
  { name: 'v1', bytes: fixture('tfevents-v1/input.tfevents') },
  { name: 'v2', bytes: fixture('tfevents-v2/input.tfevents') },
  { name: 'all kinds', bytes: allKinds },
];
const PARQUET: WholeLog[] = ['snappy', 'zstd'].map((codec) => ({
  name: codec,
  bytes: fixture(`parquet-${codec}/input.parquet`),
}));
const inTwo = (bytes: Uint8Array): Buffer =>
  joined(gzipSync(bytes.subarray(0, bytes.length >> 1)), gzipSync(bytes.subarray(bytes.length >> 1)));
const GZIP: WholeLog[] = [
  ...EVENTS.map(({ name, bytes }) => ({ name: `${name}.gz`, bytes: gzipSync(bytes) })),
  { name: 'two members', bytes: inTwo(allKinds) },
  { name: 'stored', bytes: gzipSync(allKinds, { level: 0 }) },
  { name: 'padded', bytes: joined(inTwo(allKinds), Buffer.alloc(700)) },
  { name: 'and more', bytes: joined(gzipSync(allKinds), Buffer.alloc(50, 0x50)) },
];

/** Mutants of each group: 600 in all, and 60,000 at full length. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_126);

describe('the account of a damaged file closes', () => {
  it.each<[string, readonly WholeLog[], number]>([
    ['event files', EVENTS, 0.3],
    ['event files whose checksums are right', EVENTS.map((log) => ({ ...log, repair: repairEvents })), 0.3],
    ['Parquet', PARQUET, 0.2],
    ['gzip', GZIP, 0.2],
  ])('%s', async (_, logs, share) => {
    await checkDamagedLogs(logs, Math.round(share * (LONG ? 60_000 : 600)), SEED);
  });
});
