/**
 * Products of float32 matrices in WebAssembly SIMD, on the heap of tfjs's wasm backend.
 *
 * The backend's own product takes transposed arguments at a tenth of its speed. Here blocks of both arguments are packed
 * first, which makes a transposition a matter of strides, and tiles of 4 × 8 stay in registers (Goto and van de Geijn
 * 2008, doi 10.1145/1356052.1356053). Fused multiply-add needs no register for a product, so that a tile has six rows. In
 * wide vectors (wide-vectors.ts) tiles have twice as many columns. An entry is the same sum in the same order in any tile.
 */
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { type MatrixKernels, NARROW, type Tiled, tiled, WIDE } from './matrix-kernels.ts';
import { instantiate, newMemory, type WasmMemory } from './wasm-assembler.ts';
import { mayHaveWideVectors } from './wide-vectors.ts';

/** A matrix in memory: the byte address of its first entry, and bytes from one row and one column to the next. */
export interface Strided {
  readonly start: number;
  readonly rowStep: number;
  readonly columnStep: number;
}

/** A block of a: 516 KiB, for the second cache. A panel of b of this depth: 8 or 16 KiB, for the first. */
const BLOCK_ROWS = 516;
const BLOCK_DEPTH = 256;
const FLOAT = 4;

/** float32s of a cache line, which the packing of lanes that lie side by side reads at once: a wide panel of b, or two. */
const LINE = 16;

/** Rows of a that are packed at once where depths lie side by side, fused: two strips of six are three fours. */
const TWELVE = 12;

/** Bytes of scratch memory that products take. */
export const SCRATCH_BYTES =
  FLOAT * BLOCK_ROWS * BLOCK_DEPTH + FLOAT * LINE * BLOCK_DEPTH + FLOAT * LINE * BLOCK_ROWS;

/** Writes a · b to the dense matrix at byte address c, not within a or b; a is rows × depth, b is depth × columns. */
export type MatrixProduct = (
  a: Strided,
  b: Strided,
  c: number,
  rows: number,
  depth: number,
  columns: number,
) => void;

/**
 * Products on a memory, which may grow between them.
 *
 * @param scratch the byte address of {@link SCRATCH_BYTES} bytes; as all addresses, a multiple of 4
 * @param fused whether with fused multiply-add, which rounds once on one processor and twice on another
 * @throws where `fused` and this Node has no Relaxed SIMD (fused-multiply-add.ts)
 */
export function matrixProduct(memory: WasmMemory, scratch: number, fused = false): MatrixProduct {
  const { narrow, wide } = productKernels(fused);
  const inNarrow = productIn(narrow, memory, scratch);
  if (wide === null) return inNarrow;
  const inWide = productIn(wide, memory, scratch);
  return (a, b, c, rows, depth, columns) =>
    (columns > NARROW ? inWide : inNarrow)(a, b, c, rows, depth, columns);
}

export interface ProductKernels {
  readonly narrow: Tiled;
  /** null where narrow ones are as good. */
  readonly wide: Tiled | null;
}

/**
 * Compiles what products need, once in a process. Threads that start afterwards get what the main thread compiled; others
 * have narrow ones alone, for wide ones are compiled under flags of the whole process.
 */
export function productKernels(fused: boolean): ProductKernels {
  const key = `clippy-diag: ${fused ? 'fused ' : ''}products`;
  const known = getEnvironmentData(key) as ProductKernels | undefined;
  if (known !== undefined) return known;
  const narrow = tiled(fused, NARROW);
  const wide = mayHaveWideVectors() ? tiled(fused, WIDE) : null;
  const isBetter = wide !== null && agree(wide, narrow) && isFaster(wide, narrow);
  const made = { narrow, wide: isBetter ? wide : null };
  setEnvironmentData(key, made as unknown as Parameters<typeof setEnvironmentData>[1]);
  return made;
}

/** Rows, depths and columns that take every way through packing, whole tiles and edges, in one block and in two. */
const TRIALS = [
  [1, 1, 17],
  [13, 7, 35],
  [29, BLOCK_DEPTH + 3, 2 * WIDE + 1],
] as const;
/** Whole tiles alone, to measure: wide ones take 0.55 to 0.7 of the time, or without AVX2 0.95 to 1.4. */
const TIMED = [48, BLOCK_DEPTH, 64] as const;
const CLEARLY = 0.8;
/** 2.6 ms in all. The least of 8 came out at 0.57 to 0.80 with other work running, that of 32 at 0.58 to 0.69. */
const TURNS = 32;

/** Runs the same product with either kernels; a and b are dense, or dense when turned. */
type Trial = (
  k: 0 | 1,
  [rows, depth, columns]: readonly [number, number, number],
  aTurned?: boolean,
  bTurned?: boolean,
) => Int32Array;

function trialOf(first: Tiled, second: Tiled): Trial {
  const [most, deepest, widest] = [TIMED[0], BLOCK_DEPTH + 3, TIMED[2]];
  const memory = newMemory(SCRATCH_BYTES + FLOAT * (most * deepest + deepest * widest + 2 * most * widest));
  const floats = new Float32Array(memory.buffer);
  const a = SCRATCH_BYTES;
  const b = a + FLOAT * most * deepest;
  const out = b + FLOAT * deepest * widest;
  // Of many sizes and both signs.
  for (let i = a / FLOAT; i < out / FLOAT; i++) floats[i] = Math.sin(i) / (1 + (i % 7));
  const products = [first, second].map((one) => productIn(one, memory, 0));
  return (k, [rows, depth, columns], aTurned = false, bTurned = false) => {
    const to = out + k * FLOAT * most * widest;
    const [ofA, ofB] = [
      dense(a, aTurned ? rows : depth, aTurned),
      dense(b, bTurned ? depth : columns, bTurned),
    ];
    products[k]!(ofA, ofB, to, rows, depth, columns);
    return new Int32Array(memory.buffer, to, rows * columns);
  };
}

/** Whether products have the same bits in both, either argument transposed or not. */
export function agree(first: Tiled, second: Tiled): boolean {
  const run = trialOf(first, second);
  const sides = [false, true];
  return TRIALS.every((trial) =>
    sides.every((aTurned) =>
      sides.every((bTurned) => {
        const expected = run(1, trial, aTurned, bTurned);
        return run(0, trial, aTurned, bTurned).every((bits, i) => bits === expected[i]);
      }),
    ),
  );
}

function isFaster(first: Tiled, second: Tiled): boolean {
  const run = trialOf(first, second);
  const least: [number, number] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let turn = 0; turn < TURNS; turn++)
    for (const k of [0, 1] as const) {
      const begin = performance.now();
      run(k, TIMED);
      least[k] = Math.min(least[k], performance.now() - begin);
    }
  return least[0] < CLEARLY * least[1];
}

/** @param length entries of a row, or of a column where the matrix is `turned` */
const dense = (start: number, length: number, turned: boolean): Strided =>
  turned
    ? { start, rowStep: FLOAT, columnStep: FLOAT * length }
    : { start, rowStep: FLOAT * length, columnStep: FLOAT };

/** As {@link matrixProduct}, with kernels of one size. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: the five loops of the blocked product share their buffers; a call for each block costs more than it orders
export function productIn(
  { module, fused, tileRows, tileColumns }: Tiled,
  memory: WasmMemory,
  scratch: number,
): MatrixProduct {
  const tileBytes = FLOAT * tileRows;
  const { packRows, packColumns, packLine, packTwelve, packTurned, packTurnedApart, tiles, addRows } =
    instantiate<MatrixKernels>(module, memory);
  const packedB = scratch + FLOAT * BLOCK_ROWS * BLOCK_DEPTH;
  const edge = packedB + FLOAT * LINE * BLOCK_DEPTH;
  /** Rows that are packed at once where they lie side by side, and where their depths do. */
  const [lineRows, turnedRows] = fused ? [TWELVE, TWELVE] : [LINE, tileRows];

  /** Strips of rows of a block of a, one after the other; returns where they end. */
  const packBlock = (a: Strided, from: number, rows: number, depth: number): number => {
    const stripBytes = tileBytes * depth;
    const fours = depth & ~3;
    let to = scratch;
    for (let row = 0; row < rows; ) {
      const start = from + row * a.rowStep;
      const second = to + stripBytes;
      if (a.rowStep === FLOAT && row + lineRows <= rows) {
        if (fused) packTwelve(start, a.columnStep, to, second, tileBytes, second);
        else
          packLine(
            start,
            a.columnStep,
            to,
            second,
            second + stripBytes,
            second + 2 * stripBytes,
            tileBytes,
            second,
          );
        row += lineRows;
        to += (lineRows / tileRows) * stripBytes;
        continue;
      }
      const turned = a.columnStep === FLOAT && row + turnedRows <= rows ? fours : 0;
      const turnedBytes = tileBytes * turned;
      if (turned > 0) {
        packTurned(start, a.rowStep, to, tileBytes, to + turnedBytes);
        if (fused) {
          // Rows 4 to 7 are the last two of one strip and the first two of the next.
          const [middle, last] = [to + 4 * FLOAT, second + 2 * FLOAT];
          packTurnedApart(start + 4 * a.rowStep, a.rowStep, middle, second, tileBytes, middle + turnedBytes);
          packTurned(start + 8 * a.rowStep, a.rowStep, last, tileBytes, last + turnedBytes);
        }
      }
      for (const end = row + (turned > 0 ? turnedRows : tileRows); row < end; row += tileRows) {
        if (turned < depth)
          packRows(
            from + row * a.rowStep + turned * a.columnStep,
            a.rowStep,
            a.columnStep,
            Math.min(tileRows, rows - row),
            to + turnedBytes,
            to + stripBytes,
          );
        to += stripBytes;
      }
    }
    return to;
  };
  /** As many panels of b as a cache line holds columns of, or one; returns how many. */
  const packPanels = (b: Strided, from: number, columns: number, depth: number): number => {
    const depthBytes = FLOAT * tileColumns;
    const end = packedB + depthBytes * depth;
    if (b.columnStep === FLOAT && columns >= LINE) {
      const third = tileColumns === LINE ? packedB + 32 : end;
      packLine(from, b.rowStep, packedB, packedB + 16, third, third + 16, depthBytes, end);
      return LINE / tileColumns;
    }
    const turned = b.rowStep === FLOAT && columns >= tileColumns ? depth & ~3 : 0;
    const at = packedB + depthBytes * turned;
    for (let lane = 0; turned > 0 && lane < tileColumns; lane += 4)
      packTurned(
        from + lane * b.columnStep,
        b.columnStep,
        packedB + FLOAT * lane,
        depthBytes,
        at + FLOAT * lane,
      );
    if (turned < depth)
      packColumns(
        from + turned * b.rowStep,
        b.columnStep,
        b.rowStep,
        Math.min(tileColumns, columns),
        at,
        end,
      );
    return 1;
  };

  // biome-ignore lint/complexity/noExcessiveCognitiveComplexity: five nested loops over blocks are the algorithm (Goto and van de Geijn 2008)
  return (a, b, c, rows, depth, columns) => {
    const floats = new Float32Array(memory.buffer);
    const rowStep = FLOAT * columns;
    if (depth === 0) floats.fill(0, c / FLOAT, c / FLOAT + rows * columns);
    for (let k = 0; k < depth; k += BLOCK_DEPTH) {
      const deep = Math.min(BLOCK_DEPTH, depth - k);
      const stripBytes = tileBytes * deep;
      const panelBytes = FLOAT * tileColumns * deep;
      /** Tile rows that hang over the edge of c: computed aside, then brought there. */
      const overEdge = (from: number, to: number, b: number, row: number, height: number, column: number) => {
        const width = Math.min(tileColumns, columns - column);
        tiles(from, to, b, panelBytes, b + panelBytes, edge, FLOAT * tileColumns);
        for (let i = 0; i < height; i++)
          for (let j = 0; j < width; j++) {
            const at = c / FLOAT + (row + i) * columns + column + j;
            const sum = floats[edge / FLOAT + i * tileColumns + j]!;
            floats[at] = k === 0 ? sum : floats[at]! + sum;
          }
      };
      for (let top = 0; top < rows; top += BLOCK_ROWS) {
        const high = Math.min(BLOCK_ROWS, rows - top);
        const to = packBlock(a, a.start + top * a.rowStep + k * a.columnStep, high, deep);
        const full = scratch + Math.floor(high / tileRows) * stripBytes;
        const rest = high % tileRows;
        for (let left = 0; left < columns; ) {
          const count = packPanels(b, b.start + k * b.rowStep + left * b.columnStep, columns - left, deep);
          const width = count * tileColumns;
          if (columns - left < tileColumns) overEdge(scratch, to, packedB, top, high, left);
          else {
            const target = c + FLOAT * (top * columns + left);
            const bEnd = packedB + count * panelBytes;
            if (full > scratch && k === 0) tiles(scratch, full, packedB, panelBytes, bEnd, target, rowStep);
            else if (full > scratch) {
              tiles(scratch, full, packedB, panelBytes, bEnd, edge, FLOAT * width);
              addRows(edge, edge + FLOAT * width * (high - rest), FLOAT * width, target, rowStep);
            }
            for (let i = 0; rest > 0 && i < count; i++)
              overEdge(full, to, packedB + i * panelBytes, top + high - rest, rest, left + i * tileColumns);
          }
          left += width;
        }
      }
    }
  };
}
