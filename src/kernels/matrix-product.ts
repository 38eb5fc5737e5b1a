/**
 * Products of float32 matrices in WebAssembly SIMD, on the heap of tfjs's wasm backend.
 *
 * The backend's own product takes transposed arguments at a tenth of its speed. Here blocks of both arguments are packed
 * first, which makes a transposition a matter of strides, and tiles of 4 × 8 stay in registers (Goto and van de Geijn
 * 2008, doi 10.1145/1356052.1356053).
 */
import {
  assemble,
  type Code,
  constant,
  get,
  I32,
  int,
  load,
  loadFloat,
  loadSplat,
  loop,
  op,
  select,
  set,
  store,
  storeFloat,
  V128,
  vec,
  type WasmFunction,
  type WasmMemory,
} from './wasm-assembler.ts';

/** A matrix in memory: the byte address of its first entry, and bytes from one row and one column to the next. */
export interface Strided {
  readonly start: number;
  readonly rowStep: number;
  readonly columnStep: number;
}

/** A tile: what fits the registers of x86-64 beside its operands. */
const TILE_ROWS = 4;
const TILE_COLUMNS = 8;
/** A block of a: 512 KiB, for the second cache. A panel of b of this depth: 8 KiB, for the first. */
const BLOCK_ROWS = 512;
const BLOCK_DEPTH = 256;
const FLOAT = 4;

/** Bytes of scratch memory that products take. */
export const SCRATCH_BYTES =
  FLOAT * (BLOCK_ROWS * BLOCK_DEPTH + TILE_COLUMNS * BLOCK_DEPTH + BLOCK_ROWS * TILE_COLUMNS);

interface Kernels {
  /** Packs `lanes` lanes of `depth` entries: entry d of lane l to `to`[d · width + l]; lanes beyond repeat the last. */
  readonly packRows: Pack;
  readonly packColumns: Pack;
  /** c += a · b for strips of four rows of a (packed, one after the other) and eight columns. */
  panel(a: number, aEnd: number, b: number, bEnd: number, c: number, rowStep: number): void;
}
type Pack = (
  from: number,
  laneStep: number,
  depthStep: number,
  lanes: number,
  to: number,
  end: number,
) => void;

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
 */
export function matrixProduct(memory: WasmMemory, scratch: number): MatrixProduct {
  const { packRows, packColumns, panel } = assemble<Kernels>(
    [pack('packRows', TILE_ROWS), pack('packColumns', TILE_COLUMNS), panelFunction()],
    memory,
  );
  const packedB = scratch + FLOAT * BLOCK_ROWS * BLOCK_DEPTH;
  const edge = packedB + FLOAT * TILE_COLUMNS * BLOCK_DEPTH;
  return (a, b, c, rows, depth, columns) => {
    const floats = new Float32Array(memory.buffer);
    floats.fill(0, c / FLOAT, c / FLOAT + rows * columns);
    /** A tile row that hangs over the edge of c: computed aside, then added. */
    const overEdge = (
      from: number,
      to: number,
      bEnd: number,
      row: number,
      height: number,
      column: number,
    ) => {
      const width = Math.min(TILE_COLUMNS, columns - column);
      floats.fill(0, edge / FLOAT, edge / FLOAT + Math.ceil(height / TILE_ROWS) * TILE_ROWS * TILE_COLUMNS);
      panel(from, to, packedB, bEnd, edge, FLOAT * TILE_COLUMNS);
      for (let i = 0; i < height; i++)
        for (let j = 0; j < width; j++) {
          const at = c / FLOAT + (row + i) * columns + column + j;
          floats[at] = floats[at]! + floats[edge / FLOAT + i * TILE_COLUMNS + j]!;
        }
    };
    for (let k = 0; k < depth; k += BLOCK_DEPTH) {
      const deep = Math.min(BLOCK_DEPTH, depth - k);
      const stripBytes = FLOAT * TILE_ROWS * deep;
      const bEnd = packedB + FLOAT * TILE_COLUMNS * deep;
      for (let top = 0; top < rows; top += BLOCK_ROWS) {
        const high = Math.min(BLOCK_ROWS, rows - top);
        let to = scratch;
        for (let row = top; row < top + high; row += TILE_ROWS, to += stripBytes) {
          const from = a.start + row * a.rowStep + k * a.columnStep;
          packRows(from, a.rowStep, a.columnStep, Math.min(TILE_ROWS, rows - row), to, to + stripBytes);
        }
        const full = scratch + Math.floor(high / TILE_ROWS) * stripBytes;
        for (let column = 0; column < columns; column += TILE_COLUMNS) {
          const from = b.start + k * b.rowStep + column * b.columnStep;
          const wide = Math.min(TILE_COLUMNS, columns - column);
          packColumns(from, b.columnStep, b.rowStep, wide, packedB, bEnd);
          if (wide < TILE_COLUMNS) overEdge(scratch, to, bEnd, top, high, column);
          else {
            const target = c + FLOAT * (top * columns + column);
            if (full > scratch) panel(scratch, full, packedB, bEnd, target, FLOAT * columns);
            const rest = high % TILE_ROWS;
            if (rest > 0) overEdge(full, to, bEnd, top + high - rest, rest, column);
          }
        }
      }
    }
  };
}

function pack(name: string, width: number): WasmFunction {
  const [from, laneStep, depthStep, lanes, to, end] = [0, 1, 2, 3, 4, 5] as const;
  const lane = (l: number): number => 6 + l;
  const each = (make: (l: number) => Code): number[] =>
    Array.from({ length: width }, (_, l) => make(l)).flat();
  const last = op(int.sub, get(lanes), constant(1));
  return {
    name,
    parameters: [I32, I32, I32, I32, I32, I32],
    results: [],
    locals: new Array<number>(width).fill(I32),
    body: [
      // lane l starts at from + min(l, lanes − 1) · laneStep
      ...each((l) =>
        set(
          lane(l),
          op(
            int.add,
            get(from),
            op(int.mul, op(select, constant(l), last, op(int.below, constant(l), get(lanes))), get(laneStep)),
          ),
        ),
      ),
      ...loop(
        [
          ...each((l) => storeFloat(to, loadFloat(get(lane(l))), FLOAT * l)),
          ...each((l) => set(lane(l), op(int.add, get(lane(l)), get(depthStep)))),
          ...set(to, op(int.add, get(to), constant(FLOAT * width))),
        ],
        op(int.below, get(to), get(end)),
      ),
    ],
  };
}

function panelFunction(): WasmFunction {
  const [a, aEnd, b, bEnd, c, rowStep, at] = [0, 1, 2, 3, 4, 5, 6] as const;
  const [left, right, entry] = [7, 8, 9] as const;
  const sum = (row: number, half: number): number => 10 + 2 * row + half;
  const rows = [0, 1, 2, 3];
  return {
    name: 'panel',
    parameters: [I32, I32, I32, I32, I32, I32],
    results: [],
    locals: [I32, V128, V128, V128, ...new Array<number>(8).fill(V128)],
    body: loop(
      [
        ...set(at, get(b)),
        ...rows.flatMap((row) => [...set(sum(row, 0), vec.zero), ...set(sum(row, 1), vec.zero)]),
        ...loop(
          [
            ...set(left, load(at)),
            ...set(right, load(at, 16)),
            ...rows.flatMap((row) => [
              ...set(entry, loadSplat(a, FLOAT * row)),
              ...set(sum(row, 0), op(vec.add, get(sum(row, 0)), op(vec.mul, get(entry), get(left)))),
              ...set(sum(row, 1), op(vec.add, get(sum(row, 1)), op(vec.mul, get(entry), get(right)))),
            ]),
            ...set(a, op(int.add, get(a), constant(FLOAT * TILE_ROWS))),
            ...set(at, op(int.add, get(at), constant(FLOAT * TILE_COLUMNS))),
          ],
          op(int.below, get(at), get(bEnd)),
        ),
        ...rows.flatMap((row) => [
          ...store(c, op(vec.add, load(c), get(sum(row, 0)))),
          ...store(c, op(vec.add, load(c, 16), get(sum(row, 1))), 16),
          ...set(c, op(int.add, get(c), get(rowStep))),
        ]),
      ],
      op(int.below, get(a), get(aEnd)),
    ),
  };
}
