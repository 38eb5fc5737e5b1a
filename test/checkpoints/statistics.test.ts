/** Sums and norms at the ends of float64, against closed forms and exact scalings. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '../../src/model/checkpoint.ts';
import { bytesSource } from '../../src/read/bytes/source.ts';
import { openCheckpointSource } from '../../src/read/checkpoints/registry.ts';
import { StatisticsCollector, tensorStatistics } from '../../src/read/checkpoints/statistics.ts';

const statisticsOf = (...pieces: readonly number[][]) => {
  const collector = new StatisticsCollector();
  for (const piece of pieces) collector.add(Float64Array.from(piece));
  return collector.result();
};
const expectNorm = (found: number, norm: number): void =>
  expect(Math.abs(found / norm - 1)).toBeLessThan(1e-14);

describe('the norm of a tensor', () => {
  it.each([1e-300, 1e-200, 1e-162, 1e-150, 1e-145, 1, 1e150, 1e200, 1e300])(
    'is 5 for 3 and 4, in one piece and in two of either order, times %s',
    (unit) => {
      expectNorm(statisticsOf([3 * unit, 4 * unit]).norm / unit, 5);
      expectNorm(statisticsOf([3 * unit], [4 * unit]).norm / unit, 5);
      expectNorm(statisticsOf([4 * unit], [3 * unit]).norm / unit, 5);
    },
  );

  it('keeps what lies beside entries whose squares overflow', () => {
    expectNorm(statisticsOf([5e150], [1.2e151]).norm, 1.3e151);
    expectNorm(statisticsOf([1.2e151], [5e150]).norm, 1.3e151);
    expect(statisticsOf([1, 1], [1e200], [1]).norm).toBe(1e200);
  });

  it('scales with the entries, over 800 binary orders', () => {
    const pieces = fc.array(fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { maxLength: 5 }));
    fc.assert(
      fc.property(pieces, fc.integer({ min: -300, max: 500 }), (values, power) => {
        // Multiplying by a power of two rounds nothing, so any difference comes from the scaling inside.
        const rounded = values.map((piece) => piece.map((value) => Math.fround(value)));
        fc.pre(rounded.flat().every((value) => value === 0 || Math.abs(value) > 1e-30));
        const scaled = rounded.map((piece) => piece.map((value) => value * 2 ** power));
        const norm = statisticsOf(...rounded).norm;
        const expected = norm * 2 ** power;
        expect(Math.abs(statisticsOf(...scaled).norm - expected)).toBeLessThanOrEqual(1e-14 * expected);
      }),
    );
  });

  it('leaves non-finite entries out and counts them', () => {
    const found = statisticsOf(
      [3, Number.NaN, Number.POSITIVE_INFINITY],
      [Number.NEGATIVE_INFINITY, 4e-200, -4],
    );
    expect(found).toEqual({ count: 6, sum: -1, norm: 5, min: -4, max: 3, nan: 1, posInf: 1, negInf: 1 });
    expect(statisticsOf([Number.NaN])).toMatchObject({ sum: 0, norm: 0, min: null, max: null });
  });
});

describe('values of 16 bits', () => {
  const N = 200_000;
  /** Every pattern three times or four, in another order: NaN, infinities, both zeros and subnormals among them. */
  const patterns = Uint16Array.from({ length: N }, (_, i) => Math.imul(i, 40_503));

  const checkpointOf = async (dtype: 'F16' | 'BF16', bits: Uint16Array): Promise<Checkpoint> => {
    const header = JSON.stringify({ w: { dtype, shape: [bits.length], data_offsets: [0, 2 * bits.length] } });
    const head = Buffer.alloc(8);
    head.writeBigUInt64LE(BigInt(header.length));
    const bytes = Buffer.concat([head, Buffer.from(header), Buffer.from(bits.buffer)]);
    return openCheckpointSource(bytesSource('half.safetensors', new Uint8Array(bytes)));
  };

  it.each([
    ['BF16', 'every pattern', patterns],
    ['F16', 'every pattern', patterns],
    ['BF16', 'an odd number of them', patterns.slice(1)],
    ['BF16', 'zeros', new Uint16Array(N)],
    ['F16', 'no finite value', new Uint16Array(N).fill(0x7c00)],
  ] as const)('are counted, %s, %s, to what decoding and adding them gives', async (dtype, _, bits) => {
    const checkpoint = await checkpointOf(dtype, bits);
    const decoded = new StatisticsCollector();
    for await (const piece of checkpoint.stream('w')) {
      expect(piece).toBeInstanceOf(Float32Array);
      decoded.add(piece);
    }
    const { sum, norm, ...counts } = decoded.result();
    const found = await tensorStatistics(checkpoint, 'w');
    expect(found).toMatchObject(counts);
    expect(found.count).toBe(bits.length);
    expect(Math.abs(found.norm - norm)).toBeLessThanOrEqual(1e-14 * norm);
    // Both cancel from sums of this size.
    expect(Math.abs(found.sum - sum)).toBeLessThanOrEqual(1e-12 * norm * Math.sqrt(N));
  });

  it('come as they are stored where they are asked for so', async () => {
    const checkpoint = await checkpointOf('BF16', patterns);
    for await (const piece of checkpoint.stream('w', 'bits')) expect(piece).toEqual(patterns);
  });
});
