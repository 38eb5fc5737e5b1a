/** What is known of one link of one step, and how far two such facts are from each other. */

import type { Cell } from '../../model/cell.ts';
import type { TensorData } from '../../model/checkpoint.ts';
import type { ComparedLink } from '../../model/comparison.ts';
import type { TensorSummary } from '../../read/ledger/read.ts';
import { sketchLength } from '../../step/tensor/sketch.ts';

/** A tensor whose values can be read, rows of a table (ascending) where the rest is zero. */
export interface ReadTensor {
  readonly values: TensorData;
  readonly rows?: ArrayLike<number>;
}

export type Fact =
  /** Something that is equal or not. */
  | { readonly kind: 'hash'; readonly hash: string }
  | { readonly kind: 'cells'; readonly cells: ReadonlyMap<string, Cell> }
  /** Logged numbers by name: a loss, a norm. */
  | { readonly kind: 'numbers'; readonly numbers: ReadonlyMap<string, number> }
  /** Sketches and checksums by tensor, in forward order. */
  | { readonly kind: 'summaries'; readonly summaries: ReadonlyMap<string, TensorSummary> }
  /** Tensors by name, in forward order, read when they are compared. */
  | { readonly kind: 'tensors'; readonly tensors: ReadonlyMap<string, () => Promise<ReadTensor>> };

export type StepFacts = ReadonlyMap<ComparedLink, readonly Fact[]>;

/** How two facts differ; `size` is null for what has none. */
export interface FactDifference {
  readonly tensor: string | null;
  readonly size: number | null;
}

/** Undefined: one of them lacks the link, so that nothing is known; null: no difference. */
export async function differenceOf(
  a: readonly Fact[] | undefined,
  b: readonly Fact[] | undefined,
): Promise<FactDifference | null | undefined> {
  if (a === undefined || b === undefined) return undefined;
  let known: FactDifference | null | undefined;
  // What names a tensor comes first, whatever the order in which it was given.
  for (const kind of ['tensors', 'summaries', 'cells', 'hash', 'numbers'] as const) {
    const [x, y] = [a.find((fact) => fact.kind === kind), b.find((fact) => fact.kind === kind)];
    if (x === undefined || y === undefined) continue;
    const found = await between(x, y);
    if (found !== undefined && (known === undefined || known === null)) known = found;
  }
  return known;
}

async function between(a: Fact, b: Fact): Promise<FactDifference | null | undefined> {
  if (a.kind === 'hash' && b.kind === 'hash') return a.hash === b.hash ? null : { tensor: null, size: null };
  if (a.kind === 'cells' && b.kind === 'cells') return ofCells(a.cells, b.cells);
  if (a.kind === 'numbers' && b.kind === 'numbers') return ofNumbers(a.numbers, b.numbers);
  if (a.kind === 'summaries' && b.kind === 'summaries') return ofSummaries(a.summaries, b.summaries);
  if (a.kind === 'tensors' && b.kind === 'tensors') return ofTensors(a.tensors, b.tensors);
  return undefined;
}

function ofCells(a: ReadonlyMap<string, Cell>, b: ReadonlyMap<string, Cell>): FactDifference | null {
  for (const key of new Set([...a.keys(), ...b.keys()]))
    if (!Object.is(a.get(key), b.get(key))) return { tensor: key, size: null };
  return null;
}

/** |a − b| relative to |a|; Infinity where only one is finite, 0 where both are the same or both NaN. */
export function relativeOf(a: number, b: number): number {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  const size = Math.abs(a - b) / Math.abs(a);
  return Number.isNaN(size) ? Number.POSITIVE_INFINITY : size;
}

function ofNumbers(
  a: ReadonlyMap<string, number>,
  b: ReadonlyMap<string, number>,
): FactDifference | null | undefined {
  let shared = 0;
  for (const [name, value] of a) {
    const other = b.get(name);
    if (other === undefined) continue;
    shared++;
    const size = relativeOf(value, other);
    if (size > 0) return { tensor: name === '' ? null : name, size };
  }
  return shared === 0 ? undefined : null;
}

/**
 * A gradient that is zero but for rounding (a bias before a normalisation) differs by all of its length between two
 * orders of summation: lengths below this share of the whole count as this share.
 */
const LEAST_SHARE = 1e-3;

function ofSummaries(
  a: ReadonlyMap<string, TensorSummary>,
  b: ReadonlyMap<string, TensorSummary>,
): FactDifference | null | undefined {
  const shared = [...a].filter(([name]) => b.has(name));
  if (shared.length === 0) return undefined;
  const first = shared.find(([name, { checksum }]) => b.get(name)!.checksum !== checksum);
  if (first === undefined) return null;
  const lengths = shared.map(([, { sketch }]) => sketchLength(sketch));
  const whole = Math.hypot(...lengths.filter(Number.isFinite));
  const sizes = shared.map(([name, { sketch }], k) => {
    const other = b.get(name)!.sketch;
    return sketchLength(sketch.map((sum, i) => sum - other[i]!)) / atLeast(lengths[k]!, whole);
  });
  return firstTensor(
    shared.map(([name]) => name),
    sizes,
    first[0],
  );
}

const atLeast = (length: number, whole: number): number => Math.max(length, LEAST_SHARE * whole);

/** Of all sizes of a tensor the first that is within a tenth of the largest: rounding in an early one hides no fault. */
function firstTensor(names: readonly string[], sizes: readonly number[], differs: string): FactDifference {
  const known = sizes.map((size) => (Number.isNaN(size) ? Number.POSITIVE_INFINITY : size));
  const largest = Math.max(...known);
  const at = known.findIndex((size) => size > 0 && size >= largest / 10);
  return at < 0 ? { tensor: differs, size: 0 } : { tensor: names[at]!, size: known[at]! };
}

async function ofTensors(
  a: ReadonlyMap<string, () => Promise<ReadTensor>>,
  b: ReadonlyMap<string, () => Promise<ReadTensor>>,
): Promise<FactDifference | null | undefined> {
  const names: string[] = [];
  const changes: number[] = [];
  const lengths: number[] = [];
  let differs: string | undefined;
  for (const [name, read] of a) {
    const other = b.get(name);
    if (other === undefined) continue;
    const found = distance(await read(), await other());
    if (!found.same) differs ??= name;
    names.push(name);
    changes.push(found.change);
    lengths.push(found.length);
  }
  if (names.length === 0) return undefined;
  if (differs === undefined) return null;
  const whole = Math.hypot(...lengths.filter(Number.isFinite));
  return firstTensor(
    names,
    changes.map((change, k) => change / atLeast(lengths[k]!, whole)),
    differs,
  );
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
