import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  Away,
  arrayOf,
  BLOCK,
  type BlockRoom,
  type Column,
  ColumnBuilder,
  copyOf,
  isArray,
  joinedOf,
  keepBlocksIn,
  pickerOf,
  readerOf,
  varies,
} from '../../src/model/column.ts';
import { toJson } from '../../src/model/json.ts';
import { BlockFile } from '../../src/read/bytes/block-file.ts';

function columnOf(values: ArrayLike<number>): Column {
  const made = new ColumnBuilder();
  for (let k = 0; k < values.length; k++) made.push(values[k]!);
  return made.finish();
}

/** The bits of numbers: NaN, −0 and the last digit all count. */
const bitsOf = (values: Float64Array): string =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex');

const SPECIAL = [
  0,
  -0,
  Number.NaN,
  Infinity,
  -Infinity,
  5e-324,
  -5e-324,
  Number.MAX_VALUE,
  2 ** 53,
  -(2 ** 53) - 2,
  1e22,
  1e23,
  0.1 + 0.2,
];
/** What logs hold: numbers that one way of packing takes, and numbers that it must not take. */
const KINDS: Readonly<Record<string, fc.Arbitrary<(k: number) => number>>> = {
  'a sequence': fc.tuple(fc.double(), fc.double()).map(
    ([first, stride]) =>
      (k) =>
        first + k * stride,
  ),
  counted: fc.tuple(fc.integer(), fc.integer({ min: 0, max: 5 })).map(
    ([first, stride]) =>
      (k) =>
        first + k * stride,
  ),
  constant: fc.oneof(fc.double(), fc.constantFrom(...SPECIAL)).map((value) => () => value),
  decimals: fc.tuple(fc.nat({ max: 22 }), fc.integer({ min: 1, max: 2 ** 31 }), fc.integer()).map(
    ([digits, range, least]) =>
      (k) =>
        Number(`${least + ((k * 7919) % range)}e-${digits}`),
  ),
  'decimals of 18 digits': fc
    .integer({ min: 1, max: 9 })
    .map((first) => (k) => Number(`${first}.${(k * 7919 + 12345678) % 1e8}${k % 10}12345678`)),
  float32: fc.double({ noNaN: true, min: 0, max: 1 }).map((seed) => (k) => Math.fround(Math.sin(k + seed))),
  float64: fc.double({ noNaN: true, min: 0, max: 1 }).map((seed) => (k) => Math.sin(k + seed)),
  'any number': fc
    .array(fc.double(), { minLength: 1, maxLength: 50 })
    .map((some) => (k) => some[k % some.length]!),
};
/** A run's numbers: two kinds one after the other, and some that stand alone among them. */
const numbers = fc
  .tuple(
    fc.constantFrom(...Object.keys(KINDS)).chain((kind) => KINDS[kind]!.map((of) => ({ kind, of }))),
    fc.constantFrom(...Object.keys(KINDS)).chain((kind) => KINDS[kind]!.map((of) => ({ kind, of }))),
    fc.nat({ max: 3 * BLOCK }),
    fc.array(fc.tuple(fc.nat({ max: 3 * BLOCK }), fc.constantFrom(...SPECIAL)), { maxLength: 3 }),
    fc.nat({ max: 2 * BLOCK }),
  )
  .map(([one, other, length, odd, turn]) => {
    const values = Float64Array.from({ length }, (_, k) => (k < turn ? one.of(k) : other.of(k)));
    for (const [at, value] of odd) if (at < length) values[at] = value;
    const told = `${length} of ${one.kind} and from ${turn} on of ${other.kind}; ${odd.map(([at, value]) => `${at}: ${value}`).join(', ')}`;
    return { values, [fc.toStringMethod]: () => told };
  });

/** A room that takes every other block. */
function halfFull(): BlockRoom {
  const kept: Uint8Array[] = [];
  let asked = 0;
  return {
    put(bytes, kind) {
      return asked++ % 2 === 0 ? new Away(this, kept.push(bytes.slice()) - 1, kind) : undefined;
    },
    get: (place, into) => into.set(kept[place]!),
  };
}

const ROOMS: readonly [string, () => BlockRoom | undefined][] = [
  ['in memory', () => undefined],
  ['in a file', () => new BlockFile(expect.unreachable)],
  ['in a room that is full now and then', halfFull],
];

afterEach(() => {
  keepBlocksIn(undefined);
});

describe.each(ROOMS)('a column %s', (_, newRoom) => {
  beforeEach(() => {
    keepBlocksIn(newRoom());
  });

  it('reads back bit for bit what was pushed, however it is looked at', () => {
    fc.assert(
      fc.property(numbers, fc.nat({ max: 3 * BLOCK }), fc.nat({ max: 3 * BLOCK }), ({ values }, a, b) => {
        const column = columnOf(values);
        expect(column.length).toBe(values.length);
        expect(bitsOf(copyOf(column))).toBe(bitsOf(values));
        expect(bitsOf(arrayOf(column))).toBe(bitsOf(values));
        expect(bitsOf(Float64Array.from(column))).toBe(bitsOf(values));
        for (const look of [readerOf(column), pickerOf(column), (k: number) => column.at(k)!])
          expect(bitsOf(values.map((_, k) => look(k)))).toBe(bitsOf(values));
        expect(bitsOf(values.map((_, k) => column.at(-1 - k)!))).toBe(bitsOf(values.toReversed()));
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const part = values.slice(from, to);
        for (const view of [column.subarray(from, to), column.subarray(from).subarray(0, to - from)]) {
          expect(view.length).toBe(part.length);
          expect(bitsOf(copyOf(view))).toBe(bitsOf(part));
          const look = pickerOf(view);
          expect(bitsOf(part.map((_, k) => look(k)))).toBe(bitsOf(part));
        }
        expect(bitsOf(copyOf(column, from, to))).toBe(bitsOf(part));
      }),
      { numRuns: 200 },
    );
  });

  it('is what it was when numbers are taken back', () => {
    fc.assert(
      fc.property(numbers, fc.nat({ max: BLOCK + 5 }), ({ values }, back) => {
        const made = new ColumnBuilder();
        for (const value of values) made.push(value);
        for (let k = 0; k < back; k++) {
          if (!Object.is(made.last(), k < values.length ? values.at(-1 - k) : undefined))
            expect.unreachable();
          made.pop();
        }
        const rest = values.subarray(0, Math.max(0, values.length - back));
        expect(made.length).toBe(rest.length);
        expect(bitsOf(copyOf(made.finish()))).toBe(bitsOf(rest));
        for (const value of values) made.push(value);
        expect(bitsOf(copyOf(made.finish()))).toBe(bitsOf(Float64Array.of(...rest, ...values)));
      }),
      { numRuns: 50 },
    );
  });

  it('answers as an array does', () => {
    fc.assert(
      fc.property(numbers, fc.nat({ max: 3 * BLOCK }), ({ values }, k) => {
        const column = columnOf(values);
        const pivot = values[k % Math.max(1, values.length)] ?? 0;
        const isPivot = (value: number, index: number): boolean => Object.is(value, pivot) && index % 2 === 0;
        expect(column.findIndex(isPivot)).toBe(values.findIndex(isPivot));
        expect(column.findLastIndex(isPivot)).toBe(values.findLastIndex(isPivot));
        expect(column.find(isPivot)).toBe(values.find(isPivot));
        expect(column.some(isPivot)).toBe(values.some(isPivot));
        expect(column.every(Number.isFinite)).toBe(values.every(Number.isFinite));
        expect(bitsOf(copyOf(column.filter(isPivot)))).toBe(bitsOf(values.filter(isPivot)));
        const twice = (value: number, index: number): number => 2 * value + index;
        expect(bitsOf(copyOf(column.map(twice)))).toBe(bitsOf(values.map(twice)));
        expect(bitsOf(copyOf(joinedOf([column, column])))).toBe(
          bitsOf(Float64Array.of(...values, ...values)),
        );
        for (const outside of [values.length, -values.length - 1])
          expect(column.at(outside)).toBe(values.at(outside));
      }),
      { numRuns: 100 },
    );
  });
});

describe('a column', () => {
  const COUNT = 64 * BLOCK;
  it.each<[string, number, (k: number) => number]>([
    ['steps', 0, (k) => 10 * k],
    ['a constant', 0, () => 3e-4],
    ['accuracies of three decimals', 2, (k) => ((k * 7919) % 1000) / 1000],
    ['losses of five decimals', 3, (k) => Number(`1.${10000 + ((k * 7919) % 89999)}`)],
    ['float32', 4, (k) => Math.fround(Math.sin(k))],
  ])('holds %s in %i bytes each', (_, bytes, of) => {
    const before = process.memoryUsage().arrayBuffers;
    const made = new ColumnBuilder();
    for (let k = 0; k < COUNT; k++) made.push(of(k));
    expect((process.memoryUsage().arrayBuffers - before) / COUNT).toBeLessThan(bytes + 0.3);
    const column = made.finish();
    expect(isArray(column)).toBe(false);
    expect(JSON.parse(toJson(column.subarray(0, 9), 0))).toEqual(Array.from({ length: 9 }, (_, k) => of(k)));
  });

  it('keeps one object for a sequence that goes on for many blocks', () => {
    const objectsOf = (of: (k: number) => number): number => {
      const made = new ColumnBuilder();
      for (let k = 0; k < COUNT; k++) made.push(of(k));
      const column = made.finish();
      expect(bitsOf(copyOf(column))).toBe(bitsOf(Float64Array.from({ length: COUNT }, (_, k) => of(k))));
      return new Set((made as unknown as { blocks: readonly object[] }).blocks).size;
    };
    expect(objectsOf((k) => 10 * k)).toBe(1);
    expect(objectsOf(() => Number.NaN)).toBe(1);
    // A sequence that starts again half way, on a whole block, is another one.
    expect(objectsOf((k) => k % (COUNT / 2))).toBe(2);
  });

  it('varies where one of its values is not the first, NaN among them', () => {
    for (const same of [[], [1], [2, 2, 2]]) expect(varies(columnOf(same))).toBe(false);
    for (const others of [[1, 2], [1, 1, Number.NaN], [Number.NaN]])
      expect(varies(columnOf(others))).toBe(true);
  });

  it('holds in memory what is after its last whole block, and steps, where it has a room', () => {
    const room = new BlockFile(expect.unreachable);
    const put = vi.spyOn(room, 'put');
    keepBlocksIn(room);
    const [losses, steps] = [new ColumnBuilder(), new ColumnBuilder()];
    for (let k = 0; k < COUNT + 1; k++) {
      losses.push(Math.sin(k));
      steps.push(k);
    }
    const sizes = put.mock.calls.map(([bytes]) => bytes.length);
    expect(sizes).toEqual(Array.from({ length: COUNT / BLOCK }, () => 8 * BLOCK));
  });

  it('unpacks few blocks for a loop over places far apart', () => {
    const values = Float64Array.from({ length: 4 * BLOCK }, (_, k) => Math.fround(Math.sin(k)));
    const column = columnOf(values);
    // A block of float32 is unpacked by one call of this.
    const unpacked = vi.spyOn(Object.getPrototypeOf(Float64Array.prototype), 'set');
    let same = 0;
    for (let k = 0; k < BLOCK; k++)
      if (column.at(k) === values[k] && column.at(2 * BLOCK + k) === values[2 * BLOCK + k]) same++;
    const calls = unpacked.mock.calls.length;
    unpacked.mockRestore();
    expect([same, calls]).toEqual([BLOCK, expect.toSatisfy((count: number) => count > 0 && count < 200)]);
  });
});
