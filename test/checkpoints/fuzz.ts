/**
 * Damaged files by the thousand. A format gives seeds and a mutator that knows its structure (checksums and sizes
 * made right again, so that the damage gets past them); every result must be a checkpoint or a coded error, within
 * the time and the memory that any file gets.
 *
 * `CLIPPY_DIAG_FUZZ` is the number of mutations per format (CI runs 300, the soak 100,000), `CLIPPY_DIAG_FUZZ_SEED` the seed. A
 * failure names seed and index; `CLIPPY_DIAG_FUZZ_SEED=… CLIPPY_DIAG_FUZZ_ONLY=index` runs that one alone.
 */
import { expect } from 'vitest';
import type { Checkpoint } from '../../src/model/checkpoint.ts';
import { DiagError } from '../../src/model/errors.ts';
import type { LossReason } from '../../src/model/log.ts';
import { bytesSource } from '../../src/read/bytes/source.ts';
import { openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { tensorStatistics } from '../../src/read/checkpoints/statistics.ts';
import { lossReasonOf } from '../../src/read/checkpoints/stored-bytes.ts';
import { accountFault } from '../support/closes.ts';
import { cpuLimit } from '../support/cpu-time.ts';

export const FUZZ_COUNT = Number(process.env.CLIPPY_DIAG_FUZZ ?? 300);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? Date.now() % 2 ** 31);
const ONLY = process.env.CLIPPY_DIAG_FUZZ_ONLY;

/** What a user waits at most is 2 s; slow machines get more. Of processor time: a busy machine is no fault of the file. */
const MAX_MILLISECONDS = 5000;
/** Growth of the process over one format: sizes in a file must not become memory. */
const MAX_GROWTH_BYTES = 768 * 2 ** 20;

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A whole number in [0, limit). */
  below(limit: number): number;
  pick<T>(items: readonly T[]): T;
  chance(probability: number): boolean;
}

/** mulberry32: small, and the same on every machine. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    below,
    pick: (items) => items[below(items.length)]!,
    chance: (probability) => next() < probability,
  };
}

export interface FuzzSeed {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A mutated copy; the seeds may be mixed. */
export type Mutator = (bytes: Uint8Array, random: Random, seeds: readonly FuzzSeed[]) => Uint8Array;

/** Sees a checkpoint that opened: throws where it holds a value that a check could have found to be wrong. */
export type FuzzCheck = (checkpoint: Checkpoint, seed: FuzzSeed) => Promise<void>;

/**
 * Opens `count` mutations and streams every tensor of each.
 *
 * @param path what the files are called, for formats that look at their neighbours
 */
export async function fuzzFormat(
  name: string,
  seeds: readonly FuzzSeed[],
  mutate: Mutator,
  count: number = FUZZ_COUNT,
  check?: FuzzCheck,
  path = `fuzz-${name}`,
): Promise<void> {
  const before = process.memoryUsage().rss;
  const codes = new Map<string, number>();
  const indices = ONLY === undefined ? Array.from({ length: count }, (_, i) => i) : [Number(ONLY)];
  const inTime = cpuLimit(MAX_MILLISECONDS);
  for (const index of indices) {
    const random = randomFrom(SEED + index * 7919);
    const seed = random.pick(seeds);
    const bytes = mutate(seed.bytes.slice(), random, seeds);
    const label = `${name}, CLIPPY_DIAG_FUZZ_SEED=${SEED} CLIPPY_DIAG_FUZZ_ONLY=${index}`;
    const outcome = await outcomeOf(bytes, path, async (checkpoint) => check?.(checkpoint, seed)).catch(
      (error: Error) => {
        throw new Error(`${label}: ${error.stack ?? error.message}`);
      },
    );
    inTime(() => label);
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
  }
  const growth = process.memoryUsage().rss - before;
  if (growth > MAX_GROWTH_BYTES) throw new Error(`${name}, seed ${SEED}: grew by ${growth} bytes`);
  // A mutator whose files are all refused at the door would test nothing.
  if (ONLY === undefined && count >= 200) {
    expect(codes.get('read') ?? 0, `${name}: none was read, seed ${SEED}`).toBeGreaterThan(0);
    expect(codes.size, `${name}: all ended alike, seed ${SEED}`).toBeGreaterThan(2);
  }
  if (process.env.CLIPPY_DIAG_FUZZ !== undefined)
    process.stderr.write(`fuzz ${name}, seed ${SEED}: ${JSON.stringify(Object.fromEntries(codes))}\n`);
}

/** "read", or the code of the error; every tensor is streamed. */
const outcomeOf = (
  bytes: Uint8Array,
  path: string,
  check: (checkpoint: Checkpoint) => Promise<void>,
): Promise<string> => outcomeOfOpening(() => openCheckpointSource(bytesSource(path, bytes)), check);

/** The same of a checkpoint that is opened in any way. */
export async function outcomeOfOpening(
  open: () => Promise<Checkpoint>,
  check: (checkpoint: Checkpoint) => Promise<void> = async () => {},
): Promise<string> {
  try {
    const checkpoint = await open();
    let failure: DiagError | undefined;
    try {
      const unreadable = new Map<string, LossReason>();
      for (const { name } of checkpoint.tensors)
        try {
          await tensorStatistics(checkpoint, name);
        } catch (error) {
          if (!(error instanceof DiagError)) throw error;
          unreadable.set(name, lossReasonOf(error.code));
          failure ??= error;
        }
      const fault = accountFault(await checkpoint.account(unreadable));
      if (fault !== undefined) throw new Error(`the account does not hold: ${fault}`);
      if (failure !== undefined) throw failure;
      await check(checkpoint);
      return checkpoint.errors[0]?.id ?? 'read';
    } finally {
      await checkpoint.close();
    }
  } catch (error) {
    if (error instanceof DiagError) return error.code;
    throw error;
  }
}

/**
 * Cuts a file at even distances, in as many places as a format has mutations at full length (a file that is no longer is cut
 * everywhere), in 150 otherwise; the seed says where the first lies. None may pass for whole.
 */
export async function cutEverywhere(seed: FuzzSeed, path = `cut-${seed.name}`): Promise<void> {
  const stride = Math.max(1, Math.ceil(seed.bytes.length / (FUZZ_COUNT >= 20_000 ? FUZZ_COUNT : 150)));
  const inTime = cpuLimit(MAX_MILLISECONDS);
  for (let length = 0; length < seed.bytes.length; length += length === 0 ? 1 + (SEED % stride) : stride) {
    const outcome = await outcomeOf(seed.bytes.subarray(0, length), path, async () => {}).catch(
      (error: Error) => {
        throw new Error(`${seed.name} cut at ${length}: ${error.stack ?? error.message}`);
      },
    );
    if (outcome === 'read') throw new Error(`${seed.name} cut at ${length}: ${outcome}`);
    inTime(() => `${seed.name} cut at ${length}: ${outcome}`);
  }
}

const INTERESTING = [
  0,
  1,
  2,
  0x7f,
  0x80,
  0xff,
  0x7fff,
  0xffff,
  0x7fffffff,
  0x80000000,
  0xffffffff,
  2 ** 53,
  2 ** 63,
];

/** A few changes that know nothing of the format: bits, bytes, numbers, pieces left out, doubled or taken from another seed. */
export const mutateBytes: Mutator = (bytes, random, seeds) => {
  let result = Buffer.from(bytes);
  const times = random.chance(0.6) ? 1 : 2 + random.below(3);
  for (let i = 0; i < times && result.length > 0; i++) {
    const at = random.below(result.length);
    const length = 1 + random.below(Math.min(32, result.length - at));
    switch (random.below(8)) {
      case 0:
        result[at]! ^= 1 << random.below(8);
        break;
      case 1:
        result[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
        break;
      case 2: {
        const value = random.pick(INTERESTING);
        const wide = Buffer.alloc(8);
        wide.writeBigUInt64LE(BigInt(value));
        if (random.chance(0.2)) wide.reverse();
        wide.copy(result, at, 0, random.pick([1, 2, 4, 8]));
        break;
      }
      case 3:
        result = Buffer.concat([result.subarray(0, at), result.subarray(at + length)]);
        break;
      case 4:
        result = Buffer.concat([result.subarray(0, at + length), result.subarray(at)]);
        break;
      case 5:
        result = Buffer.concat([
          result.subarray(0, at),
          Buffer.alloc(length, random.below(256)),
          result.subarray(at),
        ]);
        break;
      case 6: {
        const other = random.pick(seeds).bytes;
        const from = random.below(Math.max(1, other.length - 64));
        result = Buffer.concat([
          result.subarray(0, at),
          other.subarray(from, from + 64),
          result.subarray(at + length),
        ]);
        break;
      }
      default:
        result = result.subarray(0, at);
    }
  }
  return new Uint8Array(result);
};

/** Changes the text of a header: a number becomes another, a word another, a piece is doubled or left out. */
export function mutateText(text: string, words: readonly string[], random: Random): string {
  const numbers = [
    '0',
    '1',
    '-1',
    '2',
    '255',
    '65536',
    '2147483648',
    '4294967296',
    '9007199254740993',
    '1e308',
    '18446744073709551616',
    '0.5',
    'null',
    '""',
  ];
  let result = text;
  const times = random.chance(0.6) ? 1 : 2 + random.below(2);
  for (let i = 0; i < times; i++) {
    const tokens = [...result.matchAll(/-?\d+(?:\.\d+)?|"[^"]*"|'[^']*'|[[\]{}(),:]/g)];
    if (tokens.length === 0) return result;
    const token = random.pick(tokens);
    const [start, end] = [token.index, token.index + token[0].length];
    const replacement = /^-?\d/.test(token[0])
      ? random.pick([...numbers, String(Number(token[0]) + random.pick([-1, 1, 4, 8]))])
      : random.pick([...words, '', token[0] + token[0], random.pick(tokens)[0]]);
    if (random.chance(0.1)) {
      const other = random.pick(tokens);
      const [from, to] = [Math.min(start, other.index), Math.max(start, other.index)];
      result = result.slice(0, to) + result.slice(from);
    } else result = result.slice(0, start) + replacement + result.slice(end);
  }
  return result;
}
