/**
 * Products of float32 matrices in WebAssembly SIMD, on the heap of tfjs's wasm backend.
 *
 * The backend's own product takes transposed arguments at a tenth of its speed. Here blocks of both arguments are packed
 * first, which makes a transposition a matter of strides, and tiles of 4 × 8 stay in registers (Goto and van de Geijn
 * 2008, doi 10.1145/1356052.1356053). Fused multiply-add needs no register for a product, so that a tile has six rows.
 */
import {
  advance,
  assemble,
  type Code,
  constant,
  type Four,
  get,
  I32,
  int,
  load,
  loadFloat,
  loadSplat,
  loadTwo,
  loop,
  op,
  overFours,
  select,
  set,
  store,
  storeFloat,
  storeTurned,
  storeTwo,
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

const TILE_COLUMNS = 8;
/** A block of a: 516 KiB, for the second cache. A panel of b of this depth: 8 KiB, for the first. */
const BLOCK_ROWS = 516;
const BLOCK_DEPTH = 256;
const FLOAT = 4;

/** A panel of b of whole depth; two of them are packed at once, since they share the cache lines of b. */
const PANEL_BYTES = FLOAT * TILE_COLUMNS * BLOCK_DEPTH;
/** float32s of a cache line, which the packing of lanes that lie side by side reads at once. */
const LINE = 16;

/** Rows of a that are packed at once where depths lie side by side, fused: two strips of six are three fours. */
const TWELVE = 12;

/** Bytes of scratch memory that products take. */
export const SCRATCH_BYTES =
  FLOAT * BLOCK_ROWS * BLOCK_DEPTH + 2 * PANEL_BYTES + 2 * FLOAT * BLOCK_ROWS * TILE_COLUMNS;

/** c ← a · b for strips of rows of a (packed, one after the other) and panels of b (likewise, each of `panelBytes`). */
type Tiles = (
  a: number,
  aEnd: number,
  b: number,
  panelBytes: number,
  bEnd: number,
  c: number,
  rowStep: number,
) => void;
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
  readonly tiles: Tiles;
  /** c ← c + rows of `width` bytes that lie one after the other. */
  addRows(from: number, end: number, width: number, c: number, rowStep: number): void;
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
  /** Likewise, with the first two lanes to `to`, the other two to `other`. */
  packTurnedApart(
    from: number,
    laneStep: number,
    to: number,
    other: number,
    toStep: number,
    end: number,
  ): void;
  /** Packs twelve lanes that lie side by side as two strips of six. */
  packTwelve(from: number, depthStep: number, to: number, other: number, toStep: number, end: number): void;
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
 * @param fused whether with fused multiply-add, which rounds once on one processor and twice on another
 * @throws where `fused` and this Node has no Relaxed SIMD (fused-multiply-add.ts)
 */
export function matrixProduct(memory: WasmMemory, scratch: number, fused = false): MatrixProduct {
  const tileRows = fused ? 6 : 4;
  const tileBytes = FLOAT * tileRows;
  const { packRows, packColumns, packLine, packTwelve, packTurned, packTurnedApart, tiles, addRows } =
    assemble<Kernels>(
      [
        pack('packRows', tileRows),
        pack('packColumns', TILE_COLUMNS),
        packLineFunction(),
        packTwelveFunction(),
        packTurnedFunction('packTurned'),
        packTurnedFunction('packTurnedApart'),
        tilesFunction(tileRows, fused),
        addRowsFunction(),
      ],
      memory,
    );
  const packedB = scratch + FLOAT * BLOCK_ROWS * BLOCK_DEPTH;
  const edge = packedB + 2 * PANEL_BYTES;
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
  /** One panel of b, or two; returns how many. */
  const packPanels = (b: Strided, from: number, columns: number, depth: number): 1 | 2 => {
    const depthBytes = FLOAT * TILE_COLUMNS;
    const end = packedB + depthBytes * depth;
    if (b.columnStep === FLOAT && columns >= LINE) {
      packLine(from, b.rowStep, packedB, packedB + 16, end, end + 16, depthBytes, end);
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
    const rowStep = FLOAT * columns;
    if (depth === 0) floats.fill(0, c / FLOAT, c / FLOAT + rows * columns);
    for (let k = 0; k < depth; k += BLOCK_DEPTH) {
      const deep = Math.min(BLOCK_DEPTH, depth - k);
      const stripBytes = tileBytes * deep;
      const panelBytes = FLOAT * TILE_COLUMNS * deep;
      /** Tile rows that hang over the edge of c: computed aside, then brought there. */
      const overEdge = (from: number, to: number, b: number, row: number, height: number, column: number) => {
        const width = Math.min(TILE_COLUMNS, columns - column);
        tiles(from, to, b, panelBytes, b + panelBytes, edge, FLOAT * TILE_COLUMNS);
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
        const full = scratch + Math.floor(high / tileRows) * stripBytes;
        const rest = high % tileRows;
        for (let left = 0; left < columns; ) {
          const count = packPanels(b, b.start + k * b.rowStep + left * b.columnStep, columns - left, deep);
          const width = count * TILE_COLUMNS;
          if (columns - left < TILE_COLUMNS) overEdge(scratch, to, packedB, top, high, left);
          else {
            const target = c + FLOAT * (top * columns + left);
            const bEnd = packedB + count * panelBytes;
            if (full > scratch && k === 0) tiles(scratch, full, packedB, panelBytes, bEnd, target, rowStep);
            else if (full > scratch) {
              tiles(scratch, full, packedB, panelBytes, bEnd, edge, FLOAT * width);
              addRows(edge, edge + FLOAT * width * (high - rest), FLOAT * width, target, rowStep);
            }
            for (let i = 0; rest > 0 && i < count; i++)
              overEdge(full, to, packedB + i * panelBytes, top + high - rest, rest, left + i * TILE_COLUMNS);
          }
          left += width;
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

function packTwelveFunction(): WasmFunction {
  const [from, depthStep, to, other, toStep, end] = [0, 1, 2, 3, 4, 5] as const;
  return {
    name: 'packTwelve',
    parameters: new Array<number>(6).fill(I32),
    results: [],
    locals: [],
    body: loop(
      [
        ...store(to, load(from)),
        ...storeTwo(to, load(from, 16), 16),
        ...storeTwo(other, loadTwo(from, 24)),
        ...store(other, load(from, 32), 8),
        ...advance(to, get(toStep)),
        ...advance(other, get(toStep)),
        ...advance(from, get(depthStep)),
      ],
      op(int.below, get(to), get(end)),
    ),
  };
}

function packTurnedFunction(name: 'packTurned' | 'packTurnedApart'): WasmFunction {
  const apart = name === 'packTurnedApart';
  const [from, laneStep, to, other, toStep, end] = apart
    ? ([0, 1, 2, 3, 4, 5] as const)
    : ([0, 1, 2, 2, 3, 4] as const);
  const lanes = [from, end + 1, end + 2, end + 3];
  const [rows, pairs] = [4, 8].map((i) => [0, 1, 2, 3].map((j) => end + i + j)) as unknown as [Four, Four];
  return {
    name,
    parameters: new Array<number>(end + 1).fill(I32),
    results: [],
    locals: [I32, I32, I32, ...new Array<number>(8).fill(V128)],
    body: [
      ...[1, 2, 3].flatMap((l) => set(lanes[l]!, op(int.add, get(lanes[l - 1]!), get(laneStep)))),
      ...loop(
        [
          ...rows.flatMap((row, l) => [...set(row, load(lanes[l]!)), ...advance(lanes[l]!, constant(16))]),
          ...storeTurned(rows, pairs, to, get(toStep), apart ? other : undefined),
        ],
        op(int.below, get(to), get(end)),
      ),
    ],
  };
}

function addRowsFunction(): WasmFunction {
  const [from, end, width, c, rowStep, to, rowEnd] = [0, 1, 2, 3, 4, 5, 6] as const;
  return {
    name: 'addRows',
    parameters: [I32, I32, I32, I32, I32],
    results: [],
    locals: [I32, I32],
    body: loop(
      [
        ...set(to, get(c)),
        ...set(rowEnd, op(int.add, get(from), get(width))),
        ...overFours([from, to], rowEnd, store(to, op(vec.add, load(to), load(from)))),
        ...advance(c, get(rowStep)),
      ],
      op(int.below, get(from), get(end)),
    ),
  };
}

/** do over strips of a { do over panels of b { do over depth } }: a line of c is written at once, and a strip read once. */
function tilesFunction(tileRows: number, fused: boolean): WasmFunction {
  const [a, aEnd, b, panelBytes, bEnd, c, rowStep] = [0, 1, 2, 3, 4, 5, 6] as const;
  const [atA, atB, panelEnd, tile, target] = [7, 8, 9, 10, 11] as const;
  const [left, right, entry] = [12, 13, 14] as const;
  const sum = (row: number, half: number): number => 15 + 2 * row + half;
  const rows = Array.from({ length: tileRows }, (_, row) => row);
  const plus = (to: number, x: number, y: number): number[] =>
    set(
      to,
      fused
        ? op(vec.multiplyAdd, get(x), get(y), get(to))
        : op(vec.add, get(to), op(vec.mul, get(x), get(y))),
    );
  return {
    name: 'tiles',
    parameters: new Array<number>(7).fill(I32),
    results: [],
    locals: [...new Array<number>(5).fill(I32), ...new Array<number>(3 + 2 * tileRows).fill(V128)],
    body: loop(
      [
        ...set(atB, get(b)),
        ...set(tile, get(c)),
        ...loop(
          [
            ...set(atA, get(a)),
            ...set(panelEnd, op(int.add, get(atB), get(panelBytes))),
            ...rows.flatMap((row) => [...set(sum(row, 0), vec.zero), ...set(sum(row, 1), vec.zero)]),
            ...loop(
              [
                ...set(left, load(atB)),
                ...set(right, load(atB, 16)),
                ...rows.flatMap((row) => [
                  ...set(entry, loadSplat(atA, FLOAT * row)),
                  ...plus(sum(row, 0), entry, left),
                  ...plus(sum(row, 1), entry, right),
                ]),
                ...advance(atA, constant(FLOAT * tileRows)),
                ...advance(atB, constant(FLOAT * TILE_COLUMNS)),
              ],
              op(int.below, get(atB), get(panelEnd)),
            ),
            ...set(target, get(tile)),
            ...rows.flatMap((row) => [
              ...store(target, get(sum(row, 0))),
              ...store(target, get(sum(row, 1)), 16),
              ...advance(target, get(rowStep)),
            ]),
            ...advance(tile, constant(FLOAT * TILE_COLUMNS)),
          ],
          op(int.below, get(atB), get(bEnd)),
        ),
        ...set(a, get(atA)),
        ...advance(c, op(int.mul, get(rowStep), constant(tileRows))),
      ],
      op(int.below, get(a), get(aEnd)),
    ),
  };
}
