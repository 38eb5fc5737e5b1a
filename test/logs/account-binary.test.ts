/** The accounts of event files, W&B's files and Parquet: what each part of a file is, and that it adds up whatever happens to the file. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Account } from '../../src/model/log.ts';
import { crc32c, maskedCrc32c } from '../../src/read/bytes/crc32c.ts';
import { type RawLog, readRawStream } from '../../src/read/logs/read-log.ts';
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

/** Where the pieces of a W&B file stand, by their lengths alone: an oracle without checksums. */
function wandbPieces(bytes: Buffer): { at: number; type: number; length: number; end: number }[] {
  const pieces = [];
  for (let at = 7; at + 7 <= bytes.length; ) {
    if (32_768 - (at % 32_768) < 7) at += 32_768 - (at % 32_768);
    const length = bytes.readUInt16LE(at + 4);
    const end = at + 7 + length;
    pieces.push({ at, type: bytes[at + 6]!, length, end });
    at = end;
  }
  return pieces;
}
const wandbPiece = (type: number, data: Uint8Array): Buffer => {
  const head = Buffer.alloc(7);
  head.writeUInt32LE(crc32(joined(Buffer.from([type]), data)));
  head.writeUInt16LE(data.length, 4);
  head[6] = type;
  return joined(head, data);
};

describe('the account of a W&B file', () => {
  const small = fixture('wandb-offline/input.wandb');
  const large = fixture('wandb-blocks/input.wandb');
  const lossOf = ({ runs }: RawLog): number[] => [
    ...(runs[0]!.series.find(({ name }) => name === 'train/loss')?.value ?? []),
  ];
  const changed = (bytes: Buffer, at: number, ...to: number[]): Buffer => {
    const copy = Buffer.from(bytes);
    copy.set(to, at);
    return copy;
  };
  /** The history is the record that holds the value as text. */
  const rowAt = (value: string): { at: number; end: number } =>
    wandbPieces(small).find(
      ({ at, end }) => small[at + 9] === 0x12 && small.subarray(at, end).includes(value),
    )!;

  it('counts headers and padding as overhead, and what was printed as passed over', async () => {
    for (const bytes of [small, large]) {
      const { account, errors, kept } = await read(bytes);
      expect(errors).toEqual([]);
      expect(account).toMatchObject({ bytes: bytes.length, lost: [] });
      expect(account.overhead).toBe(7 * (1 + wandbPieces(bytes).length));
      expect(account.records).toBeGreaterThan(kept * 100);
    }
    expect(wandbPieces(large).map(({ type }) => type)).toEqual(expect.arrayContaining([1, 2, 4]));
  });
  it('loses a record whose checksum is wrong, and no other', async () => {
    const { at, end } = rowAt('0.673386');
    const whole = await read(small);
    const damaged = await read(changed(small, end - 20, 0xff));
    expect(damaged.account.lost).toEqual([{ reason: 'bad-checksum', records: 1, bytes: end - at, at }]);
    expect(damaged.errors).toMatchObject([{ id: 'wandb-bad-record', byteOffset: at }]);
    expect(lossOf(damaged)).toEqual(lossOf(whole).filter((value) => value !== 0.673386));
  });
  it('does not follow a length that leads nowhere, and goes on at the next block', async () => {
    const { at } = wandbPieces(large)[1]!;
    const damaged = await read(changed(large, at + 4, 1, 1));
    expect(damaged.account.lost).toEqual([
      { reason: 'no-record', bytes: 32_768 - at, at },
      expect.objectContaining({ reason: 'damaged', at: 32_768 }),
    ]);
    expect(accountFault(damaged.account)).toBeUndefined();
    expect(lossOf(damaged)).toHaveLength(24);
  });
  it('has no record of pieces that are not all there', async () => {
    const [first, second] = [
      wandbPieces(large).find(({ type }) => type === 2)!,
      wandbPieces(large).find(({ type }) => type === 4)!,
    ];
    const damaged = await read(changed(large, second.end - 1, large[second.end - 1]! ^ 1));
    expect(damaged.account.lost).toEqual([
      { reason: 'damaged', records: 1, bytes: first.end - first.at, at: first.at },
      { reason: 'bad-checksum', records: 1, bytes: second.end - second.at, at: second.at },
    ]);
    expect(damaged.errors).toMatchObject([{ id: 'wandb-bad-record' }]);
    expect(lossOf(damaged)).toHaveLength(24);
  });
  it('loses a row that is no row, though its checksum holds', async () => {
    const item = (name: string, json: string): Buffer =>
      message(1, joined(textField(2, name), Buffer.from([0x82, 1, json.length]), Buffer.from(json)));
    const history = (...items: readonly Buffer[]): Buffer => wandbPiece(1, message(2, joined(...items)));
    const header = small.subarray(0, 7);
    const log = await read(
      joined(
        header,
        history(item('loss', '0.5')),
        history(item('loss', '0.25,"step":9')),
        history(item('loss', 'NaN'), item('step', '4')),
      ),
    );
    expect(log.runs[0]!.series.find(({ name }) => name === 'loss')!.value).toEqual(
      Float64Array.of(0.5, Number.NaN),
    );
    expect(log.account.lost).toMatchObject([{ reason: 'damaged', records: 1 }]);
  });
  it('is torn where it is cut, and has a hole where zeros are', async () => {
    const { at, end } = wandbPieces(small).at(-1)!;
    for (let cut = at + 1; cut < end; cut++)
      expect((await read(small.subarray(0, cut))).account.lost, `cut at ${cut}`).toEqual([
        { reason: 'torn-record', records: 1, bytes: cut - at, at },
      ]);
    const { at: second } = wandbPieces(large).find(({ type }) => type === 4)!;
    expect((await read(large.subarray(0, second))).account.lost).toMatchObject([{ reason: 'torn-record' }]);
    const holed = await read(joined(small, Buffer.alloc(500)));
    expect(holed.account.lost).toEqual([{ reason: 'hole', bytes: 500, at: small.length }]);
    expect(holed.errors).toMatchObject([{ id: 'wandb-lost-bytes', byteOffset: small.length }]);
  });
});

/** Makes the checksums of the pieces right again, as far as their lengths lead from one to the next. */
function repairPieces(damaged: Uint8Array): Uint8Array {
  const bytes = Buffer.from(damaged);
  for (let at = 7; at + 7 <= bytes.length; ) {
    if (32_768 - (at % 32_768) < 7) {
      at += 32_768 - (at % 32_768);
      continue;
    }
    const end = at + 7 + bytes.readUInt16LE(at + 4);
    if (end > bytes.length) break;
    bytes.writeUInt32LE(crc32(bytes.subarray(at + 6, end)), at);
    at = end;
  }
  return bytes;
}

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
const PARQUET: WholeLog[] = ['snappy', 'zstd', 'gzip', 'brotli'].map((codec) => ({
  name: codec,
  bytes: fixture(`parquet-${codec}/input.parquet`),
}));
const WANDB: WholeLog[] = ['offline', 'blocks'].map((name) => ({
  name,
  bytes: fixture(`wandb-${name}/input.wandb`),
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

/** Mutants of all groups: 1,000, and 200,000 at full length; most where one is cheap. */
/** Damaged logs: five times CLIPPY_DIAG_FUZZ where that is set. */
const MUTANTS = process.env.CLIPPY_DIAG_FUZZ === undefined ? 1_000 : 5 * Number(process.env.CLIPPY_DIAG_FUZZ);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_126);

describe('the account of a damaged file closes', () => {
  it.each<[string, readonly WholeLog[], number]>([
    ['event files', EVENTS, 0.35],
    ['event files whose checksums are right', EVENTS.map((log) => ({ ...log, repair: repairEvents })), 0.35],
    ['Parquet', PARQUET, 0.07],
    ['W&B files', WANDB, 0.03],
    ['W&B files whose checksums are right', WANDB.map((log) => ({ ...log, repair: repairPieces })), 0.03],
    ['gzip', GZIP, 0.17],
  ])('%s', async (_, logs, share) => {
    await checkDamagedLogs(logs, Math.round(share * MUTANTS), SEED);
  });
});
