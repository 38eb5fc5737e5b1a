/** The kinds of rows in a table: training steps, evaluations, a summary at the end. */
import type { TableColumn } from './table-column.ts';

/** Kinds of rows, distinguished by the columns filled in them; all rows beyond this many kinds are of one more kind. */
const MAX_KINDS = 255;
/** Columns that occur together in at most this share of the rarer one's rows are in different kinds of rows. */
const APART = 0.2;
/** Columns filled in this share of another column's rows are its mates; fewer mates than so many show nothing. */
const MATES = 0.9;
const MANY_MATES = 5;
/** Limit of looks at a column of a kind, over all columns: a hostile table has many of both. */
const MAX_LOOKS = 5e7;

interface RowKind {
  /** Columns with a value or a refused cell. */
  readonly filled: readonly number[];
  rows: number;
}

/** A cell that is empty because its row is of another kind is not a missing value. */
export class RowKinds {
  private readonly kinds: RowKind[] = [];
  private readonly byHash = new Map<number, number>();
  /** The kind of each row; undefined while there is only one kind. */
  private kindOf: Uint8Array | undefined;
  private rows = 0;
  /** Most rows are of the same kind as the row before. */
  private lastHash = 0;
  private lastKind: number | undefined;
  /** The columns of the row before, where it was added as a list of them. */
  private lastFilled: Int32Array | undefined;
  /** Looks at a column of a kind that are left. */
  private looks = MAX_LOOKS;

  /** @param staged the first `count` are the columns of the row */
  add(row: number, staged: readonly number[], count: number, columns: readonly TableColumn[]): void {
    let hash = FIRST_HASH;
    for (let k = 0; k < count; k++) {
      const index = staged[k]!;
      if (!columns[index]!.isMissing(row)) hash = Math.imul(hash ^ (index + 1), HASH_FACTOR);
    }
    let kind = hash === this.lastHash ? this.lastKind : this.byHash.get(hash);
    if (kind === undefined) {
      const filled = staged.slice(0, count).filter((index) => !columns[index]!.isMissing(row));
      kind = this.newKind(hash, filled);
    }
    this.lastHash = hash;
    this.lastFilled = undefined;
    this.put(row, kind);
  }

  /** A row of cells in some columns, each with a value unless it is missing. */
  addCells(row: number, of: Int32Array, missing: Uint8Array | undefined): void {
    if (missing !== undefined || of !== this.lastFilled) {
      let hash = FIRST_HASH;
      for (let k = 0; k < of.length; k++)
        if (missing === undefined || missing[k] === 0) hash = Math.imul(hash ^ (of[k]! + 1), HASH_FACTOR);
      if (hash !== this.lastHash || this.lastKind === undefined)
        this.lastKind =
          this.byHash.get(hash) ??
          this.newKind(hash, missing ? [...of.filter((_, k) => missing[k] === 0)] : [...of]);
      this.lastHash = hash;
      this.lastFilled = missing === undefined ? of : undefined;
    }
    this.put(row, this.lastKind!);
  }

  private newKind(hash: number, filled: readonly number[]): number {
    const kind = this.kinds.length;
    if (kind < MAX_KINDS) {
      this.byHash.set(hash, kind);
      this.kinds.push({ filled, rows: 0 });
    }
    return kind;
  }

  private put(row: number, kind: number): void {
    this.lastKind = kind;
    if (kind < MAX_KINDS) this.kinds[kind]!.rows++;
    if (kind > 0 && this.kindOf === undefined) this.kindOf = new Uint8Array(Math.max(64, row + 1));
    if (this.kindOf !== undefined) {
      if (row >= this.kindOf.length) {
        const next = new Uint8Array(Math.ceil(this.kindOf.length * 1.6) + 1);
        next.set(this.kindOf);
        this.kindOf = next;
      }
      this.kindOf[row] = kind;
    }
    this.rows = row + 1;
  }

  /** Forgets how much was looked at: the next series are asked for anew. */
  begin(): void {
    this.looks = MAX_LOOKS;
  }

  /** Whether a row is of a kind with columns that never (or hardly ever) occur together with the given one. */
  otherFor(column: number): (row: number) => boolean {
    const { kindOf: of, kinds } = this;
    const beside = of === undefined || this.rows === 0 ? undefined : this.besides(column);
    if (of === undefined || beside === undefined) return () => false;
    const { own, mates } = beside;
    const other = kinds.map(({ filled }, kind) => !own.has(kind) && filled.some(beside.isApart));
    // A last row of totals may have nothing that training rows lack, but lacks most of what they have.
    const last = of[this.rows - 1]!;
    if (kinds[last]?.rows === 1 && mates.length >= MANY_MATES) {
      const there = mates.filter((index) => kinds[last]!.filled.includes(index)).length;
      if (there * 3 <= mates.length) other[last] = true;
    }
    for (const kind of this.headKinds(of, own, mates)) other[kind] = true;
    return (row) => other[of[row]!] === true;
  }

  /** The kinds that have a column, and the columns in the same rows; undefined where that takes too many looks. */
  private besides(column: number) {
    const own = new Set<number>();
    const all = new Map<number, number>();
    const beside = new Map<number, number>();
    let ownRows = 0;
    for (const [kind, { filled, rows }] of this.kinds.entries()) {
      this.looks -= filled.length;
      if (this.looks < 0) return undefined;
      const has = filled.includes(column);
      if (has) {
        own.add(kind);
        ownRows += rows;
      }
      for (const index of filled) {
        all.set(index, (all.get(index) ?? 0) + rows);
        if (has) beside.set(index, (beside.get(index) ?? 0) + rows);
      }
    }
    const isMate = ([index, rows]: [number, number]): boolean => index !== column && rows >= MATES * ownRows;
    return {
      own,
      isApart: (index: number): boolean =>
        (beside.get(index) ?? 0) <= APART * Math.min(ownRows, all.get(index)!),
      mates: [...beside].filter(isMate).map(([index]) => index),
    };
  }

  /**
   * The kinds of rows that occur only before the first row of a column, and lack half of its mates: nothing had been
   * trained yet (a first rollout of Stable-Baselines). A row whose loss is NaN still has its learning rate.
   */
  private headKinds(of: Uint8Array, own: ReadonlySet<number>, mates: readonly number[]): number[] {
    if (mates.length < MANY_MATES) return [];
    const found = new Map<number, number>();
    for (let row = 0; row < this.rows && !own.has(of[row]!); row++)
      found.set(of[row]!, (found.get(of[row]!) ?? 0) + 1);
    return [...found]
      .filter(([kind, count]) => {
        const known = this.kinds[kind];
        if (known === undefined || known.rows !== count) return false;
        const filled = new Set(known.filled);
        return mates.filter((index) => !filled.has(index)).length * 2 >= mates.length;
      })
      .map(([kind]) => kind);
  }
}

/** The hash of a list of columns (FNV-1a). */
const FIRST_HASH = 2166136261;
const HASH_FACTOR = 16777619;
