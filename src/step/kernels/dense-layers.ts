/**
 * Forward and backward passes of dense layers in WebAssembly SIMD, for nets whose matrices fit the caches.
 *
 * Nothing is packed and no loop leaves WebAssembly: a product of 128 × 32 × 32 takes one call. Every dimension is a whole
 * number of fours; what a net has less is filled with zeros. WebAssembly's arithmetic is the same on every processor, so a
 * training gives the same bits on every machine.
 */
import { reluGradientFunction } from './elementwise.ts';
import {
  advance,
  assemble,
  type Code,
  constant,
  get,
  I32,
  int,
  load,
  loadSplat,
  loop,
  op,
  set,
  store,
  storeTurned,
  V128,
  vec,
  type WasmFunction,
  type WasmMemory,
} from './wasm-assembler.ts';

/** What an entry of a product starts from: 0, a row of biases (then perhaps cut at 0), or what is there. */
export type Start = 'zero' | 'bias' | 'relu' | 'add';

/** A matrix in memory: the position of its first entry in float32s, and entries from one row to the next. */
export interface Matrix {
  readonly at: number;
  readonly stride: number;
}

/** @param bias a row of as many entries as c has columns, for `bias` and `relu` */
type Product = (
  a: Matrix,
  b: Matrix,
  c: Matrix,
  rows: number,
  depth: number,
  columns: number,
  bias?: number,
) => void;

export interface DenseKernels {
  /** c = start + a · b, where a is rows × depth and b is depth × columns. */
  readonly product: Readonly<Record<Start, Product>>;
  /** c = aᵀ · b, where a is depth × rows. */
  readonly transposedProduct: Product;
  /** Sums of the columns of x into a row. */
  sumRows(x: Matrix, rows: number, columns: number, out: number): void;
  /** dy = 0 wherever y ≤ 0; both dense, `length` entries. */
  cut(dy: number, y: number, length: number): void;
  /** to = fromᵀ, of a matrix that is rows × columns. */
  transpose(from: Matrix, to: Matrix, rows: number, columns: number): void;
}

type Kernel = (...positions: number[]) => void;
type Kernels = Readonly<Record<string, Kernel>>;
/** Where the entries of c start, or that a is transposed and they start at 0. */
type ProductForm = Start | typeof TRANSPOSED;

const FLOAT = 4;
const TILE_ROWS = 4;
const STARTS: readonly Start[] = ['zero', 'bias', 'relu', 'add'];
const TRANSPOSED = 'transposed';
const FORMS: readonly ProductForm[] = [...STARTS, TRANSPOSED];

/** The kernels on a memory. */
export function denseKernels(memory: WasmMemory): DenseKernels {
  const kernels = assemble<Kernels>(
    [
      ...FORMS.flatMap((form) => [productFunction(form, 8), productFunction(form, 4)]),
      sumFunction(),
      reluGradientFunction(),
      transposeFunction(),
    ],
    memory,
  );
  /** Whole eights of columns, then the four that may remain. */
  const productOf = (form: ProductForm): Product => {
    const [wide, narrow] = [kernels[`${form}8`]!, kernels[`${form}4`]!];
    return (a, b, c, rows, depth, columns, bias = 0) => {
      const split = columns & ~7;
      const length = form === TRANSPOSED ? depth * a.stride : depth;
      if (split > 0) runProduct(wide, a, length, b, c, rows, 0, split, bias);
      if (split < columns) runProduct(narrow, a, length, b, c, rows, split, columns, bias);
    };
  };
  return {
    product: Object.fromEntries(STARTS.map((start) => [start, productOf(start)])) as Record<Start, Product>,
    transposedProduct: productOf(TRANSPOSED),
    sumRows(x, rows, columns, out) {
      kernels.sumRows!(
        FLOAT * x.at,
        FLOAT * x.stride,
        FLOAT * (x.at + columns),
        FLOAT * x.stride * rows,
        FLOAT * out,
      );
    },
    cut(dy, y, length) {
      kernels.reluGradient!(FLOAT * y, FLOAT * (y + length), FLOAT * dy, FLOAT * dy);
    },
    transpose(from, to, rows, columns) {
      kernels.transpose!(
        FLOAT * from.at,
        FLOAT * from.stride,
        FLOAT * columns,
        FLOAT * (from.at + from.stride * rows),
        FLOAT * to.at,
        FLOAT * to.stride,
      );
    },
  };
}

/** The columns from `from` to `to` of a product; `length` entries of a lie from the first of a sum to behind its last. */
function runProduct(
  kernel: Kernel,
  a: Matrix,
  length: number,
  b: Matrix,
  c: Matrix,
  rows: number,
  from: number,
  to: number,
  bias: number,
): void {
  kernel(
    FLOAT * a.at,
    FLOAT * a.stride,
    FLOAT * length,
    FLOAT * (b.at + from),
    FLOAT * b.stride,
    FLOAT * (b.at + to),
    FLOAT * (c.at + from),
    FLOAT * c.stride,
    FLOAT * c.stride * rows,
    FLOAT * (bias + from),
  );
}

/**
 * do over columns { do over rows, four at once { do over depth } }
 *
 * A tile of 4 × 8 sums stays in registers, and so do the addresses of its four rows of a. Of a transposed a they are one: its
 * four entries lie side by side.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: one WebAssembly function is one list of instructions, read from top to bottom
function productFunction(form: ProductForm, width: 8 | 4): WasmFunction {
  const [a, aRow, aLength, b, bRow, bEnd, c, cRow, cLength, bias] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] as const;
  const [top, rowC, rowEnd, atB, depthEnd, target] = [10, 11, 12, 13, 14, 15] as const;
  const fours = [0, 1, 2, 3] as const;
  const entryAt = (row: number): number => 16 + row;
  const halves = width === 8 ? [0, 1] : [0];
  const [entry, firstSum] = [20, 23] as const;
  const rightOf = (half: number): number => 21 + half;
  const sum = (row: number, half: number): number => firstSum + 2 * row + half;
  const each = (make: (k: number) => Code): number[] => fours.flatMap((k) => make(k));
  const eachSum = (make: (row: number, half: number) => Code): number[] =>
    fours.flatMap((row) => halves.flatMap((half) => make(row, half)));
  const advanceTarget = advance(target, get(cRow));
  const begin =
    form === 'zero' || form === TRANSPOSED
      ? eachSum((row, half) => set(sum(row, half), vec.zero))
      : form === 'add'
        ? [
            ...set(target, get(rowC)),
            ...each((row) => [
              ...halves.flatMap((half) => set(sum(row, half), load(target, 16 * half))),
              ...advanceTarget,
            ]),
          ]
        : eachSum((row, half) => set(sum(row, half), load(bias, 16 * half)));
  // + 0 makes 0 of −0; NaN stays.
  const result = (row: number, half: number): Code =>
    form === 'relu'
      ? op(vec.add, op(vec.larger, get(sum(row, half)), vec.zero), vec.zero)
      : get(sum(row, half));
  /** Adds a column of a times a row of b; `entryOf` loads an entry of that column into all lanes. */
  const addProducts = (entryOf: (row: number) => Code): number[] => [
    ...halves.flatMap((half) => set(rightOf(half), load(atB, 16 * half))),
    ...each((row) => [
      ...set(entry, entryOf(row)),
      ...halves.flatMap((half) =>
        set(sum(row, half), op(vec.add, get(sum(row, half)), op(vec.mul, get(entry), get(rightOf(half))))),
      ),
    ]),
    ...advance(atB, get(bRow)),
  ];
  const side =
    form === TRANSPOSED
      ? {
          start: [],
          step: [
            ...addProducts((row) => loadSplat(entryAt(0), FLOAT * row)),
            ...advance(entryAt(0), get(aRow)),
          ],
          nextTop: constant(FLOAT * TILE_ROWS),
        }
      : {
          start: [1, 2, 3].flatMap((row) => set(entryAt(row), op(int.add, get(entryAt(row - 1)), get(aRow)))),
          step: [
            ...addProducts((row) => loadSplat(entryAt(row))),
            ...each((row) => advance(entryAt(row), constant(FLOAT))),
          ],
          nextTop: op(int.mul, get(aRow), constant(TILE_ROWS)),
        };
  return {
    name: `${form}${width}`,
    parameters: new Array<number>(10).fill(I32),
    results: [],
    locals: [...new Array<number>(10).fill(I32), ...new Array<number>(11).fill(V128)],
    body: loop(
      [
        ...set(top, get(a)),
        ...set(rowC, get(c)),
        ...set(rowEnd, op(int.add, get(c), get(cLength))),
        ...loop(
          [
            ...set(entryAt(0), get(top)),
            ...side.start,
            ...set(atB, get(b)),
            ...set(depthEnd, op(int.add, get(top), get(aLength))),
            ...begin,
            ...loop(side.step, op(int.below, get(entryAt(0)), get(depthEnd))),
            ...set(target, get(rowC)),
            ...each((row) => [
              ...halves.flatMap((half) => store(target, result(row, half), 16 * half)),
              ...advanceTarget,
            ]),
            ...advance(top, side.nextTop),
            ...set(rowC, get(target)),
          ],
          op(int.below, get(rowC), get(rowEnd)),
        ),
        ...advance(b, constant(FLOAT * width)),
        ...advance(c, constant(FLOAT * width)),
        ...advance(bias, constant(FLOAT * width)),
      ],
      op(int.below, get(b), get(bEnd)),
    ),
  };
}

function sumFunction(): WasmFunction {
  const [x, row, columnEnd, length, out, at, end, sum] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
  return {
    name: 'sumRows',
    parameters: new Array<number>(5).fill(I32),
    results: [],
    locals: [I32, I32, V128],
    body: loop(
      [
        ...set(at, get(x)),
        ...set(end, op(int.add, get(x), get(length))),
        ...set(sum, vec.zero),
        ...loop(
          [...set(sum, op(vec.add, get(sum), load(at))), ...advance(at, get(row))],
          op(int.below, get(at), get(end)),
        ),
        ...store(out, get(sum)),
        ...advance(x, constant(16)),
        ...advance(out, constant(16)),
      ],
      op(int.below, get(x), get(columnEnd)),
    ),
  };
}

/** do over four rows at once { do over four columns at once: a block of 4 × 4 is turned in registers } */
function transposeFunction(): WasmFunction {
  const [from, row, width, end, to, toRow] = [0, 1, 2, 3, 4, 5] as const;
  const [rowEnd, target, next] = [6, 7, 8] as const;
  const [rows, pairs] = [
    [9, 10, 11, 12],
    [13, 14, 15, 16],
  ] as const;
  const block: Code = [
    ...set(next, get(from)),
    ...rows.flatMap((local) => [...set(local, load(next)), ...advance(next, get(row))]),
    ...storeTurned(rows, pairs, target, get(toRow)),
    ...advance(from, constant(4 * FLOAT)),
  ];
  return {
    name: 'transpose',
    parameters: new Array<number>(6).fill(I32),
    results: [],
    locals: [I32, I32, I32, ...new Array<number>(8).fill(V128)],
    body: loop(
      [
        ...set(rowEnd, op(int.add, get(from), get(width))),
        ...set(target, get(to)),
        ...loop(block, op(int.below, get(from), get(rowEnd))),
        // To the same column of the next four rows.
        ...set(from, op(int.sub, get(from), get(width))),
        ...set(from, op(int.add, get(from), op(int.mul, get(row), constant(4)))),
        ...advance(to, constant(4 * FLOAT)),
      ],
      op(int.below, get(from), get(end)),
    ),
  };
}
