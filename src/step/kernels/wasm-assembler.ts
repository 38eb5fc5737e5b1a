/**
 * The little of WebAssembly's binary format that our kernels are written in: functions on an imported memory, locals,
 * loops, 32-bit integers and 128-bit vectors of float32 and float64 (WebAssembly Core 2.0, chapter 5, and its vector instructions).
 *
 * Code is a list of bytes; operands come first, so that `op(add, a, b)` is a + b on the stack.
 */

export type Code = readonly number[];
export const [I32, F32, F64, V128] = [0x7f, 0x7d, 0x7c, 0x7b] as const;

/** LEB128 of a whole number, as the format has both the unsigned and, below 2⁶, the signed ones. */
const leb = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]);
const signedLeb = (value: number): number[] =>
  value >= -64 && value < 64 ? [value & 127] : [(value & 127) | 128, ...signedLeb(value >> 7)];
const vector = (items: readonly Code[]): number[] => [...leb(items.length), ...items.flat()];
const section = (id: number, content: Code): number[] => [id, ...leb(content.length), ...content];
const text = (name: string): number[] => [...leb(name.length), ...new TextEncoder().encode(name)];

export const op = (code: Code, ...operands: readonly Code[]): number[] => [...operands.flat(), ...code];
export const get = (local: number): number[] => [0x20, ...leb(local)];
export const set = (local: number, value: Code): number[] => [...value, 0x21, ...leb(local)];
export const constant = (value: number): number[] => [0x41, ...signedLeb(value)];
/** pointer += step */
export const advance = (pointer: number, step: Code): number[] =>
  set(pointer, op(int.add, get(pointer), step));
/** do { body } while (condition) */
export const loop = (body: Code, condition: Code): number[] => [
  ...[0x03, 0x40],
  ...body,
  ...condition,
  ...[0x0d, 0x00, 0x0b],
];
/** do { body; pointers += 16 bytes } while (the first of them < end) */
export const overFours = (pointers: readonly [number, ...number[]], end: number, body: Code): number[] =>
  loop(
    [...body, ...pointers.flatMap((pointer) => advance(pointer, constant(16)))],
    op(int.below, get(pointers[0]), get(end)),
  );
/** Both pairs of four entries, by their offset in bytes. */
export const pairs = (make: (offset: number) => Code): number[] => [0, 8].flatMap((offset) => make(offset));
/** The first operand if the third is not 0, else the second. */
export const select: Code = [0x1b];
/** Of 32-bit integers. */
export const int = { add: [0x6a], sub: [0x6b], mul: [0x6c], below: [0x49] } as const;
/** Of float32; `demote` rounds a float64 to one. */
export const float = { max: [0x97], demote: [0xb6] } as const;
/** Of float64. */
export const double = { add: [0xa0] } as const;

const simd = (opcode: number): number[] => [0xfd, ...leb(opcode)];
const at = (opcode: Code, align: number, offset: number): number[] => [...opcode, align, ...leb(offset)];
/** Of four float32; `and not` of their bits. */
export const vec = {
  splat: simd(0x13),
  equal: simd(0x41),
  notAbove: simd(0x45),
  and: simd(0x4e),
  andNot: simd(0x4f),
  /** The bits of the first where those of the third are 1, else of the second. */
  choose: simd(0x52),
  abs: simd(0xe0),
  sqrt: simd(0xe3),
  add: simd(0xe4),
  sub: simd(0xe5),
  mul: simd(0xe6),
  div: simd(0xe7),
  max: simd(0xe9),
  /** The second where it is above the first, else the first, NaN too; one instruction, where `max` takes five. */
  larger: simd(0xeb),
  /** Likewise the second where it is below the first. */
  smaller: simd(0xea),
  /** a · b + c (fused-multiply-add.ts). */
  multiplyAdd: simd(0x105),
  zero: [...simd(0x0c), ...new Array<number>(16).fill(0)],
  lane: (k: number): number[] => [...simd(0x1f), k],
  /** Of two vectors four entries, by their numbers: 0 to 3 are those of the first, 4 to 7 of the second. */
  shuffle: (...entries: readonly [number, number, number, number]): number[] => [
    ...simd(0x0d),
    ...entries.flatMap((entry) => [0, 1, 2, 3].map((byte) => 4 * entry + byte)),
  ],
} as const;
/** Of two float64; `promote` makes them of the first two float32, `demote` rounds them to those. */
export const wide = {
  splat: simd(0x14),
  equal: simd(0x47),
  notBelow: simd(0x4c),
  demote: simd(0x5e),
  promote: simd(0x5f),
  abs: simd(0xec),
  negate: simd(0xed),
  sqrt: simd(0xef),
  add: simd(0xf0),
  sub: simd(0xf1),
  mul: simd(0xf2),
  div: simd(0xf3),
  /** As those of `vec`. */
  larger: simd(0xf7),
  smaller: simd(0xf6),
  lane: (k: number): number[] => [...simd(0x21), k],
} as const;
export const load = (pointer: number, offset = 0): number[] => [
  ...get(pointer),
  ...at(simd(0x00), 2, offset),
];
/** Two float32 into the first two of four; the others are 0. */
export const loadTwo = (pointer: number, offset = 0): number[] => [
  ...get(pointer),
  ...at(simd(0x5d), 2, offset),
];
/** The first two of four float32, or with `pair` 1 the last two. */
export const storeTwo = (pointer: number, value: Code, offset = 0, pair: 0 | 1 = 0): number[] => [
  ...get(pointer),
  ...value,
  ...at(simd(0x5b), 2, offset),
  pair,
];
/** One float32 into all four. */
export const loadSplat = (pointer: number, offset = 0): number[] => [
  ...get(pointer),
  ...at(simd(0x09), 2, offset),
];
export const store = (pointer: number, value: Code, offset = 0): number[] => [
  ...get(pointer),
  ...value,
  ...at(simd(0x0b), 2, offset),
];
export type Four = readonly [number, number, number, number];
/**
 * Four rows of four entries as columns: a block of 4 × 4 turned in registers, its columns stored `step` bytes apart; of each
 * the last two entries at another target where there is one.
 */
export const storeTurned = (
  rows: Four,
  pairs: Four,
  target: number,
  step: Code,
  other?: number,
): number[] => [
  // Entries 0 and 1 of rows 0 and 1, of rows 2 and 3; then 2 and 3 of both.
  ...set(pairs[0], op(vec.shuffle(0, 4, 1, 5), get(rows[0]), get(rows[1]))),
  ...set(pairs[1], op(vec.shuffle(0, 4, 1, 5), get(rows[2]), get(rows[3]))),
  ...set(pairs[2], op(vec.shuffle(2, 6, 3, 7), get(rows[0]), get(rows[1]))),
  ...set(pairs[3], op(vec.shuffle(2, 6, 3, 7), get(rows[2]), get(rows[3]))),
  ...[pairs.slice(0, 2), pairs.slice(2)].flatMap(([upper, lower]) =>
    [vec.shuffle(0, 1, 4, 5), vec.shuffle(2, 3, 6, 7)].flatMap((half) => [
      ...(other === undefined
        ? store(target, op(half, get(upper!), get(lower!)))
        : [
            ...storeTwo(target, op(half, get(upper!), get(lower!))),
            ...storeTwo(other, op(half, get(upper!), get(lower!)), 0, 1),
            ...advance(other, step),
          ]),
      ...advance(target, step),
    ]),
  ),
];
/** A single float32 at an address that is an expression. */
export const loadFloat = (address: Code): number[] => [...address, 0x2a, 2, 0];
export const storeFloat = (pointer: number, value: Code, offset = 0): number[] => [
  ...get(pointer),
  ...value,
  0x38,
  2,
  ...leb(offset),
];
export const storeDouble = (address: Code, value: Code): number[] => [...address, ...value, 0x39, 3, 0];

export interface WasmFunction {
  readonly name: string;
  readonly parameters: readonly number[];
  readonly results: readonly number[];
  /** Types of further locals, numbered after the parameters. */
  readonly locals: readonly number[];
  readonly body: Code;
}

/** What is used of WebAssembly: Node's types leave it out. */
interface WebAssemblyHere {
  readonly Memory: new (size: { initial: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (
    module: WasmModule,
    imports: { m: { m: WasmMemory } },
  ) => { readonly exports: object };
}
/** Compiled functions, without their memory. */
export interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
const wasm = (globalThis as unknown as { readonly WebAssembly: WebAssemblyHere }).WebAssembly;

/**
 * New memory, zero.
 *
 * @throws RangeError where it cannot be had
 */
export const newMemory = (bytes: number): WasmMemory =>
  new wasm.Memory({ initial: Math.ceil(bytes / 65536) });

/** Compiles the functions on a memory; they are exported by their names. */
export const assemble = <Exports>(functions: readonly WasmFunction[], memory: WasmMemory): Exports =>
  compile<Exports>(moduleOf(functions), memory);

/** The functions in WebAssembly's binary format, for {@link compile}. */
export const moduleOf = (functions: readonly WasmFunction[]): Uint8Array =>
  Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      vector(
        functions.map(({ parameters, results }) => [
          0x60,
          ...vector(parameters.map((type) => [type])),
          ...vector(results.map((type) => [type])),
        ]),
      ),
    ),
    ...section(2, vector([[...text('m'), ...text('m'), 0x02, 0x00, 0x01]])),
    ...section(3, vector(functions.map((_, i) => leb(i)))),
    ...section(7, vector(functions.map(({ name }, i) => [...text(name), 0x00, ...leb(i)]))),
    ...section(
      10,
      vector(
        functions.map(({ locals, body }) => {
          const code = [...vector(locals.map((type) => [1, type])), ...body, 0x0b];
          return [...leb(code.length), ...code];
        }),
      ),
    ),
  ]);

/** Compiles a module on a memory; its functions are exported by their names. */
export const compile = <Exports>(bytes: Uint8Array, memory: WasmMemory): Exports =>
  instantiate<Exports>(compileModule(bytes), memory);

export const compileModule = (bytes: Uint8Array): WasmModule => new wasm.Module(bytes);

/** The functions of a module on a memory, by their names. */
export function instantiate<Exports>(module: WasmModule, memory: WasmMemory): Exports {
  const { exports } = new wasm.Instance(module, { m: { m: memory } });
  // A copy: in the object of exports, which is frozen, looking up a function costs more than a short loop.
  return { ...exports } as Exports;
}

/**
 * Two float64 over those of a local `root`; 0 where the root is 0 and a local `x`, which the dividend is 0 with, is too.
 *
 * @param of `vec` for four float32
 */
export const quotientOrZero = (
  dividend: Code,
  x: number,
  root: number,
  of: { readonly div: Code; readonly equal: Code } = wide,
): Code =>
  op(
    vec.andNot,
    op(of.div, dividend, get(root)),
    op(vec.and, op(of.equal, get(x), vec.zero), op(of.equal, get(root), vec.zero)),
  );
