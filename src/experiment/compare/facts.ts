/** What is known of one link of one step, and how far two such facts are from each other. */

import type { Cell } from '../../model/cell.ts';
import type { TensorData } from '../../model/checkpoint.ts';
import type { ComparedLink } from '../../model/comparison.ts';
import type { TensorSummary } from '../../read/ledger/read.ts';
import { sketchLength } from '../../step/tensor/sketch.ts';
import { gapBetween, type Reading } from './readings.ts';

/** A tensor whose values can be read, rows of a table (ascending) where the rest is zero. */
export interface ReadTensor {
  readonly values: TensorData;
  readonly rows?: ArrayLike<number>;
}

/** Where a fact was recorded; the first have every bit. */
export const RECORD_KINDS = ['ledger', 'capture', 'log', 'checkpoint'] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

export type Fact = { readonly record: RecordKind } & Known;

/** What is known, whatever record has it. */
export type Known =
  /** Something that is equal or not. */
  /** `ranks`: of how many ranks' batches or random states; hashes of other numbers of ranks say nothing. */
  | { readonly kind: 'hash'; readonly hash: string; readonly ranks: number }
  | { readonly kind: 'cells'; readonly cells: ReadonlyMap<string, Cell> }
  /** Logged numbers by name: a loss, a norm. */
  | { readonly kind: 'numbers'; readonly numbers: ReadonlyMap<string, Reading> }
  /** Sketches and checksums by tensor, in forward order. */
  | { readonly kind: 'summaries'; readonly summaries: ReadonlyMap<string, TensorSummary> }
  /** Tensors by name, in forward order, read when they are compared. */
  | { readonly kind: 'tensors'; readonly tensors: ReadonlyMap<string, () => Promise<ReadTensor>> };

export type StepFacts = ReadonlyMap<ComparedLink, readonly Fact[]>;

/** How two facts differ; `size` is null for what has none. */
export interface FactDifference {
  readonly tensor: string | null;
  readonly size: number | null;
  /** What of the size no rounding of the record explains; left out where that is all of it. */
  readonly certain?: number;
}

/**
 * Pairs of facts of one form: those of like records, else the first of each, which is the finest: a side names its
 * records in the order of {@link RECORD_KINDS}.
 *
 * @param alike whether only like records may be compared
 */
function* pairsOf(
  a: readonly Fact[],
  b: readonly Fact[],
  kind: Fact['kind'],
  alike: boolean,
): Generator<readonly [Fact, Fact]> {
  const [xs, ys] = [a, b].map((facts) => facts.filter((fact) => fact.kind === kind)) as [Fact[], Fact[]];
  const all = xs.flatMap((x) => ys.map((y) => [x, y] as const));
  const like = all.filter(([x, y]) => x.record === y.record);
  yield* like.length > 0 || alike ? like : all.slice(0, 1);
}

/**
 * Undefined: one of them lacks the link, so that nothing is known; null: no difference.
 *
 * @param alike whether only like records may be compared, a log with a log
 */
export async function differenceOf(
  a: readonly Fact[] | undefined,
  b: readonly Fact[] | undefined,
  alike = false,
): Promise<FactDifference | null | undefined> {
  if (a === undefined || b === undefined) return undefined;
  let known: FactDifference | null | undefined;
  // What names a tensor comes first, whatever the order in which it was given.
  for (const kind of ['tensors', 'summaries', 'cells', 'hash', 'numbers'] as const)
    for (const [x, y] of pairsOf(a, b, kind, alike)) {
      const found = await between(x, y);
      if (found !== undefined && (known === undefined || known === null)) known = found;
    }
  return known;
}

async function between(a: Fact, b: Fact): Promise<FactDifference | null | undefined> {
  if (a.kind === 'hash' && b.kind === 'hash') {
    if (a.ranks !== b.ranks && a.hash !== b.hash) return undefined;
    return a.hash === b.hash ? null : { tensor: null, size: null };
  }
  if (a.kind === 'cells' && b.kind === 'cells') return ofCells(a.cells, b.cells, a.record === b.record);
  if (a.kind === 'numbers' && b.kind === 'numbers') return ofNumbers(a.numbers, b.numbers);
  if (a.kind === 'summaries' && b.kind === 'summaries')
    return firstTensor(sizesOfSummaries(a.summaries, b.summaries));
  if (a.kind === 'tensors' && b.kind === 'tensors')
    return firstTensor(await sizesOfTensors(a.tensors, b.tensors));
  return undefined;
}

/** @param alike whether both records have the same keys, so that one that is missing is a difference */
function ofCells(
  a: ReadonlyMap<string, Cell>,
  b: ReadonlyMap<string, Cell>,
  alike: boolean,
): FactDifference | null | undefined {
  const shared = [...a.keys()].filter((key) => b.has(key));
  if (!alike && shared.length === 0) return undefined;
  for (const key of alike ? new Set([...a.keys(), ...b.keys()]) : shared)
    if (!Object.is(a.get(key), b.get(key))) return { tensor: key, size: null };
  return null;
}

function ofNumbers(
  a: ReadonlyMap<string, Reading>,
  b: ReadonlyMap<string, Reading>,
): FactDifference | null | undefined {
  let shared = 0;
  for (const [name, own] of a) {
    const other = b.get(name);
    if (other === undefined) continue;
    shared++;
    const { size, certain } = gapBetween(own, other);
    if (size > 0) return { tensor: name === '' ? null : name, size, certain };
  }
  return shared === 0 ? undefined : null;
}

/**
 * A gradient that is zero but for rounding (a bias before a normalisation) differs by all of its length between two
 * orders of summation: lengths below this share of the whole count as this share.
 */
const LEAST_SHARE = 1e-3;

/** Relative sizes of the differences of tensors that both have, in the order of the first. */
export interface TensorSizes {
  readonly names: readonly string[];
  /** Of each name; Infinity where one is not finite. */
  readonly sizes: readonly number[];
  /** The first name that is not equal to the bit; null where all are. */
  readonly first: string | null;
}

/** Sizes by tensor of one link of one step; undefined where none has tensors in both. */
export async function tensorSizes(
  a: readonly Fact[] = [],
  b: readonly Fact[] = [],
  alike = false,
): Promise<TensorSizes | undefined> {
  for (const kind of ['tensors', 'summaries'] as const)
    for (const [x, y] of pairsOf(a, b, kind, alike)) {
      if (x.kind === 'tensors' && y.kind === 'tensors') return sizesOfTensors(x.tensors, y.tensors);
      if (x.kind === 'summaries' && y.kind === 'summaries') return sizesOfSummaries(x.summaries, y.summaries);
    }
  return undefined;
}

function sizesOfSummaries(
  a: ReadonlyMap<string, TensorSummary>,
  b: ReadonlyMap<string, TensorSummary>,
): TensorSizes | undefined {
  const shared = [...a].filter(([name]) => b.has(name));
  if (shared.length === 0) return undefined;
  const lengths = shared.map(([, { sketch }]) => sketchLength(sketch));
  const whole = Math.hypot(...lengths.filter(Number.isFinite));
  const differs = ([name, { checksum }]: (typeof shared)[number]): boolean =>
    b.get(name)!.checksum !== checksum;
  return {
    names: shared.map(([name]) => name),
    sizes: shared.map((one, k) => {
      if (!differs(one)) return 0;
      const other = b.get(one[0])!.sketch;
      return infiniteIfNaN(
        sketchLength(one[1].sketch.map((sum, i) => sum - other[i]!)) / atLeast(lengths[k]!, whole),
      );
    }),
    first: shared.find(differs)?.[0] ?? null,
  };
}

const infiniteIfNaN = (size: number): number => (Number.isNaN(size) ? Number.POSITIVE_INFINITY : size);

const atLeast = (length: number, whole: number): number => Math.max(length, LEAST_SHARE * whole);

/**
 * The first tensor whose difference is within a tenth of the largest: rounding in an early tensor does not hide a fault
 * in a later one.
 */
function firstTensor(found: TensorSizes | undefined): FactDifference | null | undefined {
  if (found === undefined) return undefined;
  const { names, sizes, first } = found;
  if (first === null) return null;
  const largest = Math.max(...sizes);
  const at = sizes.findIndex((size) => size > 0 && size >= largest / 10);
  return at < 0 ? { tensor: first, size: 0 } : { tensor: names[at]!, size: sizes[at]! };
}

async function sizesOfTensors(
  a: ReadonlyMap<string, () => Promise<ReadTensor>>,
  b: ReadonlyMap<string, () => Promise<ReadTensor>>,
): Promise<TensorSizes | undefined> {
  const names: string[] = [];
  const changes: number[] = [];
  const lengths: number[] = [];
  let first: string | null = null;
  for (const [name, read] of a) {
    const other = b.get(name);
    if (other === undefined) continue;
    const found = distance(await read(), await other());
    if (!found.same) first ??= name;
    names.push(name);
    changes.push(found.change);
    lengths.push(found.length);
  }
  if (names.length === 0) return undefined;
  const whole = Math.hypot(...lengths.filter(Number.isFinite));
  const sizes = changes.map((change, k) =>
    change === 0 ? 0 : infiniteIfNaN(change / atLeast(lengths[k]!, whole)),
  );
  return { names, sizes, first };
}

function distance(
  a: ReadTensor,
  b: ReadTensor,
): { readonly same: boolean; readonly change: number; readonly length: number } {
  if (a.rows !== undefined && b.rows !== undefined && !sameNumbers(a.rows, b.rows)) return ofRows(a, b);
  const [x, y] = [a.values, b.values];
  if (x.length !== y.length) return { same: false, change: Number.POSITIVE_INFINITY, length: 1 };
  let [same, change, length] = [true, 0, 0];
  for (let k = 0; k < x.length; k++) {
    const [u, v] = [Number(x[k]), Number(y[k])];
    length += u * u;
    if (Object.is(x[k], y[k])) continue;
    same = false;
    change += (u - v) ** 2;
  }
  return { same, change: Math.sqrt(change), length: Math.sqrt(length) };
}

/** Of tables of which each has other rows. */
function ofRows(a: ReadTensor, b: ReadTensor): ReturnType<typeof distance> {
  const width = a.values.length / Math.max(1, a.rows!.length);
  const at = new Map(Array.from(b.rows!, (row, k) => [row, k]));
  let [change, length] = [0, 0];
  for (let r = 0; r < a.rows!.length; r++) {
    const other = at.get(a.rows![r]!);
    at.delete(a.rows![r]!);
    for (let k = 0; k < width; k++) {
      const u = Number(a.values[r * width + k]);
      length += u * u;
      change += (u - (other === undefined ? 0 : Number(b.values[other * width + k]))) ** 2;
    }
  }
  for (const row of at.values())
    for (let k = 0; k < width; k++) change += Number(b.values[row * width + k]) ** 2;
  return { same: false, change: Math.sqrt(change), length: Math.sqrt(length) };
}

function sameNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let k = 0; k < a.length; k++) if (a[k] !== b[k]) return false;
  return true;
}
