/**
 * Products of float32 matrices in WebAssembly SIMD, on the heap of tfjs's wasm backend.
 *
 * The backend's own product takes transposed arguments at a tenth of its speed. Here blocks of both arguments are packed
 * first, which makes a transposition a matter of strides, and tiles of 4 × 8 stay in registers (Goto and van de Geijn
 * 2008, doi 10.1145/1356052.1356053).
 */
import {
  advance,
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
  storeTurned,
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

/** A panel of b of whole depth; two of them are packed at once, since they share the cache lines of b. */
const PANEL_BYTES = FLOAT * TILE_COLUMNS * BLOCK_DEPTH;
/** float32s of a cache line, which the packing of lanes that lie side by side reads at once. */
const LINE = 16;

/** Bytes of scratch memory that products take. */
export const SCRATCH_BYTES =
  FLOAT * BLOCK_ROWS * BLOCK_DEPTH + 2 * PANEL_BYTES + FLOAT * BLOCK_ROWS * TILE_COLUMNS;

/** c ← a · b or c ← c + a · b for strips of four rows of a (packed, one after the other) and eight columns. */
type Panel = (a: number, aEnd: number, b: number, bEnd: number, c: number, rowStep: number) => void;
/** Packs `lanes` lanes of `depth` entries: entry d of lane l to `to`[d · width + l]; lanes beyond repeat the last. */
type Pack = (
  from: number,
  laneStep: number,
  depthStep: number,
  lanes: number,
  to: number,
  end: number,
) => void;

interface Kernels {
  readonly setPanel: Panel;
  readonly addPanel: Panel;
  readonly packRows: Pack;
  readonly packColumns: Pack;
  /** Packs a cache line of lanes that lie side by side: of each depth four entries to each of `to`, `toStep` bytes apart. */
  packLine(
    from: number,
    depthStep: number,
    to: number,
    second: number,
    third: number,
    fourth: number,
    toStep: number,
    end: number,
  ): void;
  /** Packs four lanes whose entries lie side by side, four at once; `toStep` bytes from one depth to the next. */
  packTurned(from: number, laneStep: number, to: number, toStep: number, end: number): void;
}

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
  const { packRows, packColumns, packLine, packTurned, setPanel, addPanel } = assemble<Kernels>(
    [
      pack('packRows', TILE_ROWS),
      pack('packColumns', TILE_COLUMNS),
      packLineFunction(),
      packTurnedFunction(),
      panelFunction('setPanel'),
      panelFunction('addPanel'),
    ],
    memory,
  );
  const packedB = scratch + FLOAT * BLOCK_ROWS * BLOCK_DEPTH;
  const edge = packedB + 2 * PANEL_BYTES;

  /** Strips of four rows of a block of a, one after the other; returns where they end. */
  const packBlock = (a: Strided, from: number, rows: number, depth: number): number => {
    const stripBytes = FLOAT * TILE_ROWS * depth;
    const fours = depth & ~3;
    let to = scratch;
    for (let row = 0; row < rows; ) {
      const start = from + row * a.rowStep;
      if (a.rowStep === FLOAT && row + LINE <= rows) {
        const [second, third, fourth] = [to + stripBytes, to + 2 * stripBytes, to + 3 * stripBytes];
        packLine(start, a.columnStep, to, second, third, fourth, FLOAT * TILE_ROWS, second);
        row += LINE;
        to += 4 * stripBytes;
        continue;
      }
      const turned = a.columnStep === FLOAT && row + TILE_ROWS <= rows ? fours : 0;
      const at = to + FLOAT * TILE_ROWS * turned;
      if (turned > 0) packTurned(start, a.rowStep, to, FLOAT * TILE_ROWS, at);
      if (turned < depth)
        packRows(
          start + turned * a.columnStep,
          a.rowStep,
          a.columnStep,
          Math.min(TILE_ROWS, rows - row),
          at,
          to + stripBytes,
        );
      row += TILE_ROWS;
      to += stripBytes;
    }
    return to;
  };
  /** One panel of b, or two; returns how many. */
  const packPanels = (b: Strided, from: number, columns: number, depth: number): 1 | 2 => {
    const depthBytes = FLOAT * TILE_COLUMNS;
    const end = packedB + depthBytes * depth;
    if (b.columnStep === FLOAT && columns >= LINE) {
      const other = packedB + PANEL_BYTES;
      packLine(from, b.rowStep, packedB, packedB + 16, other, other + 16, depthBytes, end);
      return 2;
    }
    const turned = b.rowStep === FLOAT && columns >= TILE_COLUMNS ? depth & ~3 : 0;
    const at = packedB + depthBytes * turned;
    if (turned > 0) {
      packTurned(from, b.columnStep, packedB, depthBytes, at);
      packTurned(from + 4 * b.columnStep, b.columnStep, packedB + 16, depthBytes, at + 16);
    }
    if (turned < depth)
      packColumns(
        from + turned * b.rowStep,
        b.columnStep,
        b.rowStep,
        Math.min(TILE_COLUMNS, columns),
        at,
        end,
      );
    return 1;
  };

  return (a, b, c, rows, depth, columns) => {
    const floats = new Float32Array(memory.buffer);
    if (depth === 0) floats.fill(0, c / FLOAT, c / FLOAT + rows * columns);
    for (let k = 0; k < depth; k += BLOCK_DEPTH) {
      const deep = Math.min(BLOCK_DEPTH, depth - k);
      const stripBytes = FLOAT * TILE_ROWS * deep;
      const panel = k === 0 ? setPanel : addPanel;
      /** Tile rows that hang over the edge of c: computed aside, then brought there. */
      const overEdge = (from: number, to: number, b: number, row: number, height: number, column: number) => {
        const width = Math.min(TILE_COLUMNS, columns - column);
        setPanel(from, to, b, b + FLOAT * TILE_COLUMNS * deep, edge, FLOAT * TILE_COLUMNS);
        for (let i = 0; i < height; i++)
          for (let j = 0; j < width; j++) {
            const at = c / FLOAT + (row + i) * columns + column + j;
            const sum = floats[edge / FLOAT + i * TILE_COLUMNS + j]!;
            floats[at] = k === 0 ? sum : floats[at]! + sum;
          }
      };
      for (let top = 0; top < rows; top += BLOCK_ROWS) {
        const high = Math.min(BLOCK_ROWS, rows - top);
        const to = packBlock(a, a.start + top * a.rowStep + k * a.columnStep, high, deep);
        const full = scratch + Math.floor(high / TILE_ROWS) * stripBytes;
        const rest = high % TILE_ROWS;
        for (let left = 0; left < columns; ) {
          const count = packPanels(b, b.start + k * b.rowStep + left * b.columnStep, columns - left, deep);
          for (let i = 0; i < count; i++, left += TILE_COLUMNS) {
            const packed = packedB + i * PANEL_BYTES;
            if (columns - left < TILE_COLUMNS) overEdge(scratch, to, packed, top, high, left);
            else {
              const target = c + FLOAT * (top * columns + left);
              const bEnd = packed + FLOAT * TILE_COLUMNS * deep;
              if (full > scratch) panel(scratch, full, packed, bEnd, target, FLOAT * columns);
              if (rest > 0) overEdge(full, to, packed, top + high - rest, rest, left);
            }
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

function packLineFunction(): WasmFunction {
  const [from, depthStep, to, toStep, end] = [0, 1, 2, 6, 7] as const;
  const targets = [to, 3, 4, 5];
  return {
    name: 'packLine',
    parameters: new Array<number>(8).fill(I32),
    results: [],
    locals: [],
    body: loop(
      [
        ...targets.flatMap((target, i) => [
          ...store(target, load(from, 16 * i)),
          ...advance(target, get(toStep)),
        ]),
        ...advance(from, get(depthStep)),
      ],
      op(int.below, get(to), get(end)),
    ),
  };
}

function packTurnedFunction(): WasmFunction {
  const [from, laneStep, to, toStep, end] = [0, 1, 2, 3, 4] as const;
  const lanes = [from, 5, 6, 7];
  const rows = [8, 9, 10, 11] as const;
  const pairs = [12, 13, 14, 15] as const;
  return {
    name: 'packTurned',
    parameters: new Array<number>(5).fill(I32),
    results: [],
    locals: [I32, I32, I32, ...new Array<number>(8).fill(V128)],
    body: [
      ...[1, 2, 3].flatMap((l) => set(lanes[l]!, op(int.add, get(lanes[l - 1]!), get(laneStep)))),
      ...loop(
        [
          ...rows.flatMap((row, l) => [...set(row, load(lanes[l]!)), ...advance(lanes[l]!, constant(16))]),
          ...storeTurned(rows, pairs, to, get(toStep)),
        ],
        op(int.below, get(to), get(end)),
      ),
    ],
  };
}

function panelFunction(name: 'setPanel' | 'addPanel'): WasmFunction {
  const [a, aEnd, b, bEnd, c, rowStep, at] = [0, 1, 2, 3, 4, 5, 6] as const;
  const [left, right, entry] = [7, 8, 9] as const;
  const sum = (row: number, half: number): number => 10 + 2 * row + half;
  const rows = [0, 1, 2, 3];
  const result = (row: number, half: number): Code =>
    name === 'setPanel' ? get(sum(row, half)) : op(vec.add, load(c, 16 * half), get(sum(row, half)));
  return {
    name,
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
          ...store(c, result(row, 0)),
          ...store(c, result(row, 1), 16),
          ...set(c, op(int.add, get(c), get(rowStep))),
        ]),
      ],
      op(int.below, get(a), get(aEnd)),
    ),
  };
}
