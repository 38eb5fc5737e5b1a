/**
 * Logs with damage done to them by a seeded generator, and the question that each of them has to answer: does the account
 * of its bytes add up?
 */

import { DiagError } from '../../src/model/errors.ts';
import { LOSS_REASONS, lostRecords, unaccounted, unreadBytes } from '../../src/model/log.ts';
import { finishLog, type ReadLogOptions, readRawStream } from '../../src/read/logs/read-log.ts';

export interface WholeLog {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly path?: string;
  /** Makes checksums and sizes right again, so that the damage reaches what lies behind them. */
  readonly repair?: (bytes: Uint8Array) => Uint8Array;
  readonly options?: ReadLogOptions;
}

export interface DamagedLog {
  readonly log: WholeLog;
  /** Number of the mutant: with the seed it tells how to make it again. */
  readonly index: number;
  readonly edits: readonly string[];
  readonly bytes: Uint8Array;
}

/** Numbers in [0, 1): mulberry32, by Tommy Ettinger. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Edit = (bytes: Buffer, random: () => number) => Buffer;

const below = (random: () => number, count: number): number => Math.floor(random() * count);
/** Short stretches are common, long ones not rare. */
const lengthOf = (random: () => number, most: number): number =>
  Math.min(most, Math.max(1, Math.floor(2 ** (random() * Math.log2(Math.max(2, most))))));
const splice = (bytes: Buffer, at: number, remove: number, insert: Uint8Array = Buffer.alloc(0)): Buffer =>
  Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]);

/** What writers, disks and copies do to files, and what a value may say instead of its number. */
const WORDS = [
  'nan',
  'null',
  '',
  'NA',
  '1.#INF',
  'tensor(nan)',
  '1,234.5',
  '812/s',
  'overflow',
  '"',
  '""',
  ',',
  ';',
  '\t',
  '{',
  '}',
  '[',
  ']',
  ':',
  '\\',
  '\r',
  '\n',
  '\r\n',
  '\ufeff',
  'é',
  '漢',
  '😀',
  '-',
  '1e999',
  '#',
];

const EDITS: Readonly<Record<string, Edit>> = {
  flip: (bytes, random) => {
    const next = Buffer.from(bytes);
    if (next.length > 0) next[below(random, next.length)]! ^= 1 << below(random, 8);
    return next;
  },
  byte: (bytes, random) => {
    const next = Buffer.from(bytes);
    if (next.length > 0) next[below(random, next.length)] = below(random, 256);
    return next;
  },
  remove: (bytes, random) =>
    splice(bytes, below(random, bytes.length + 1), lengthOf(random, Math.max(1, bytes.length >> 1))),
  insert: (bytes, random) =>
    splice(
      bytes,
      below(random, bytes.length + 1),
      0,
      Buffer.from(Array.from({ length: lengthOf(random, 64) }, () => below(random, 256))),
    ),
  word: (bytes, random) =>
    splice(
      bytes,
      below(random, bytes.length + 1),
      below(random, 2) * lengthOf(random, 8),
      Buffer.from(WORDS[below(random, WORDS.length)]!),
    ),
  cut: (bytes, random) => bytes.subarray(0, below(random, bytes.length + 1)),
  hole: (bytes, random) => {
    const at = below(random, bytes.length + 1);
    const length = Math.min(bytes.length - at, lengthOf(random, Math.max(1, bytes.length >> 1)));
    return splice(bytes, at, length, new Uint8Array(length));
  },
  repeat: (bytes, random) => {
    const at = below(random, bytes.length + 1);
    const span = bytes.subarray(at, at + lengthOf(random, Math.max(1, bytes.length >> 1)));
    return splice(bytes, below(random, bytes.length + 1), 0, span);
  },
  quote: (bytes, random) => splice(bytes, below(random, bytes.length + 1), 0, Buffer.from('"')),
};
const NAMES = Object.keys(EDITS);

/** One mutant: one to three edits of a log. */
export function damaged(log: WholeLog, seed: number, index: number): DamagedLog {
  const random = randomOf(Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b));
  const edits: string[] = [];
  let bytes: Buffer = Buffer.from(log.bytes);
  for (let more = 1 + Math.floor(random() ** 2 * 3); more > 0; more--) {
    const name = NAMES[below(random, NAMES.length)]!;
    bytes = EDITS[name]!(bytes, random);
    edits.push(name);
  }
  return { log, index, edits, bytes: log.repair?.(bytes) ?? bytes };
}

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

/** What was read of a log: for checks of a format's own. */
export type ReadLog = Awaited<ReturnType<typeof readRawStream>>;

/**
 * Reads a log, and says what does not add up: bytes, counts, cells. A log that cannot be read has a coded error, and
 * nothing to add up.
 *
 * @param more further checks of what was read
 */
export async function accountFaults(
  { log, bytes, index }: DamagedLog,
  more: (raw: ReadLog, bytes: Uint8Array) => string[] = () => [],
): Promise<string[]> {
  let raw: ReadLog;
  try {
    // Pieces of odd sizes: no record ends where a piece does.
    raw = await readRawStream(pieces(bytes, 37 + (index % 4000)), log.path ?? log.name, log.options);
  } catch (error) {
    return error instanceof DiagError ? [] : [`throws ${String((error as Error).stack)}`];
  }
  const { account, kept, lost, unreadBytes: unread, errors, runs } = raw;
  const faults: string[] = [];
  const hold = (holds: boolean, what: string): void => {
    if (!holds) faults.push(what);
  };
  const isCount = (x: number): boolean => Number.isSafeInteger(x) && x >= 0;
  hold(unaccounted(account) === 0, `${unaccounted(account)} of ${account.bytes} bytes are not told`);
  hold(!errors.some(({ id }) => id === 'log-account-open'), 'the reader itself finds its account open');
  if (account.compressedBytes === undefined)
    hold(account.bytes === bytes.length, `${account.bytes} of ${bytes.length} bytes`);
  for (const name of ['records', 'overhead', 'passedOver'] as const)
    hold(isCount(account[name]), `${name} is ${account[name]}`);
  hold(account.lost.length <= 101 + LOSS_REASONS.length, `${account.lost.length} entries of losses`);
  for (const { reason, at, bytes: size, records } of account.lost) {
    hold(LOSS_REASONS.includes(reason), `reason ${reason}`);
    hold(isCount(at) && isCount(size) && at + size <= account.bytes, `${reason} at ${at} of ${size} bytes`);
    hold(records === undefined || isCount(records), `${reason} of ${records} records`);
  }
  hold(
    lost === lostRecords(account) && unread === unreadBytes(account),
    'counts are not those of the account',
  );
  // Text in the place of a loss is known for one when the roles are.
  const told =
    lost === 0 || errors.length > 0 || (await finishLog(raw, { sidecars: false })).errors.length > 0;
  hold(told, `${lost} records lost without an error`);
  for (const { name, value, step, missing, refused, gaps } of runs.flatMap(({ series }) => series)) {
    hold(value.length === step.length, `${name} has ${value.length} values at ${step.length} steps`);
    hold(isCount(missing) && isCount(refused), `${name} has ${missing} missing, ${refused} refused cells`);
    hold(
      value.length + missing + refused <= kept + lost,
      `${name}: ${value.length} + ${missing} + ${refused} cells in ${kept} records`,
    );
    if (gaps !== undefined) {
      const sum = gaps.reduce((total, gap) => total + gap, 0);
      hold(gaps.length === value.length + 1 && sum <= missing, `${name}: gaps of ${sum}, missing ${missing}`);
    }
  }
  return [...faults, ...more(raw, bytes)];
}

/**
 * Damages logs in turn, `count` times in all.
 *
 * @throws an error that names the seed, the mutant and what is wrong with it
 */
export async function checkDamagedLogs(
  logs: readonly WholeLog[],
  count: number,
  seed: number,
  more?: (raw: ReadLog, bytes: Uint8Array) => string[],
): Promise<void> {
  for (let index = 0; index < count; index++) {
    const mutant = damaged(logs[index % logs.length]!, seed, index);
    const faults = await accountFaults(mutant, more);
    if (faults.length > 0)
      throw new Error(
        `${mutant.log.name}, mutant ${index} of seed ${seed} (${mutant.edits.join(', ')}): ${faults.join('; ')}\n` +
          JSON.stringify(Buffer.from(mutant.bytes).toString('latin1').slice(0, 3000)),
      );
  }
}
