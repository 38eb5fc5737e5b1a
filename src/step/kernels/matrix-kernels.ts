/** The loops of products of matrices in WebAssembly SIMD (matrix-product.ts): packing, and tiles that stay in registers. */
import { type AddRows, addRowsFunction } from './elementwise.ts';
import {
  advance,
  type Code,
  compileModule,
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
  moduleOf,
  op,
  select,
  set,
  store,
  storeFloat,
  storeTurned,
  storeTwo,
  V128,
  vec,
  type WasmFunction,
  type WasmModule,
} from './wasm-assembler.ts';
import { compileOptimized, mayHaveWideVectors } from './wide-vectors.ts';

/** Columns of a tile, and of one in wide vectors. */
export const [NARROW, WIDE] = [8, 16] as const;
const FLOAT = 4;

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

export interface MatrixKernels {
  readonly tiles: Tiles;
  readonly addRows: AddRows;
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

/** The kernels for tiles of one size. */
export interface Tiled {
  readonly module: WasmModule;
  readonly fused: boolean;
  readonly tileRows: number;
  readonly tileColumns: typeof NARROW | typeof WIDE;
}

/** Compiles them; tiles of {@link WIDE} columns only where {@link mayHaveWideVectors}. */
export function tiled(fused: boolean, tileColumns: Tiled['tileColumns']): Tiled {
  const tileRows = fused ? 6 : 4;
  const bytes = moduleOf([
    pack('packRows', tileRows),
    pack('packColumns', tileColumns),
    packLineFunction(),
    packTwelveFunction(),
    packTurnedFunction('packTurned'),
    packTurnedFunction('packTurnedApart'),
    tilesFunction(tileRows, tileColumns, fused),
    addRowsFunction(),
  ]);
  const module = mayHaveWideVectors() ? compileOptimized(bytes, tileColumns === WIDE) : compileModule(bytes);
  return { module, fused, tileRows, tileColumns };
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

/** do over strips of a { do over panels of b { do over depth } }: a line of c is written at once, and a strip read once. */
function tilesFunction(tileRows: number, tileColumns: number, fused: boolean): WasmFunction {
  const [a, aEnd, b, panelBytes, bEnd, c, rowStep] = [0, 1, 2, 3, 4, 5, 6] as const;
  const [atA, atB, panelEnd, tile, target] = [7, 8, 9, 10, 11] as const;
  const vectors = tileColumns / 4;
  const entry = 12;
  const right = (vector: number): number => 13 + vector;
  const sum = (row: number, vector: number): number => right(vectors) + vectors * row + vector;
  const rows = Array.from({ length: tileRows }, (_, row) => row);
  const each = (make: (vector: number) => Code): number[] =>
    Array.from({ length: vectors }, (_, vector) => make(vector)).flat();
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
    locals: [
      ...new Array<number>(5).fill(I32),
      ...new Array<number>(1 + vectors + vectors * tileRows).fill(V128),
    ],
    body: loop(
      [
        ...set(atB, get(b)),
        ...set(tile, get(c)),
        ...loop(
          [
            ...set(atA, get(a)),
            ...set(panelEnd, op(int.add, get(atB), get(panelBytes))),
            ...rows.flatMap((row) => each((vector) => set(sum(row, vector), vec.zero))),
            ...loop(
              [
                ...each((vector) => set(right(vector), load(atB, 16 * vector))),
                ...rows.flatMap((row) => [
                  ...set(entry, loadSplat(atA, FLOAT * row)),
                  ...each((vector) => plus(sum(row, vector), entry, right(vector))),
                ]),
                ...advance(atA, constant(FLOAT * tileRows)),
                ...advance(atB, constant(FLOAT * tileColumns)),
              ],
              op(int.below, get(atB), get(panelEnd)),
            ),
            ...set(target, get(tile)),
            ...rows.flatMap((row) => [
              ...each((vector) => store(target, get(sum(row, vector)), 16 * vector)),
              ...advance(target, get(rowStep)),
            ]),
            ...advance(tile, constant(FLOAT * tileColumns)),
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
