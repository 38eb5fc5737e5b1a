/** Series that end before others: each is held against the furthest ends alone, which must say what all of them say. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { seriesThatEnd } from '../../src/app/engine/series-end.ts';
import type { TimeSeries } from '../../src/model/run.ts';

const point = fc.record({
  step: fc.integer({ min: 0, max: 12 }),
  time: fc.constantFrom(0, 1, 2, 5, 9, 100, Number.NaN),
  line: fc.integer({ min: 1, max: 40 }),
});
const series = fc.record({
  points: fc.array(point, { minLength: 1, maxLength: 5 }),
  timed: fc.boolean(),
  placed: fc.boolean(),
  files: fc.integer({ min: 1, max: 2 }),
});

it('says of any series what comparing it with each other one says', () => {
  fc.assert(
    fc.property(fc.array(series, { minLength: 1, maxLength: 7 }), (drawn) => {
      const all = drawn.map(({ points, timed, placed, files }, k): TimeSeries => {
        const sorted = points.map(({ step }) => step).sort((a, b) => a - b);
        return {
          name: `${k}`,
          step: Float64Array.from(sorted),
          value: Float64Array.from(sorted),
          pathOffsets: files === 1 ? [0] : [0, points.length - 1],
          ...(timed ? { wallTime: Float64Array.from(points, ({ time }) => time) } : {}),
          ...(placed ? { line: Uint32Array.from(points, ({ line }) => line).sort() } : {}),
        } as unknown as TimeSeries;
      });
      const found = seriesThatEnd({ series: all });
      // A run of two has no other end that could stand for one.
      const alone = all.filter((own) =>
        all.some((other) => other !== own && seriesThatEnd({ series: [own, other] }).has(own)),
      );
      expect([...found]).toEqual(alone);
    }),
    { numRuns: 1000 },
  );
});

it('holds 50,000 series against a few ends', () => {
  let reads = 0;
  const counted = (values: number[]): Float64Array =>
    new Proxy(Float64Array.from(values), {
      get(target, key) {
        if (typeof key === 'string' && /^\d+$/.test(key)) reads++;
        const member: unknown = Reflect.get(target, key, target);
        return typeof member === 'function' ? member.bind(target) : member;
      },
    });
  // Each is written a little later than the one before, as event files have it.
  const all = Array.from(
    { length: 50_000 },
    (_, k) =>
      ({
        name: `${k}`,
        step: counted([0, 1, 2]),
        wallTime: Float64Array.of(k * 1e-6, 1 + k * 1e-6, 2 + k * 1e-6),
        pathOffsets: [0],
      }) as unknown as TimeSeries,
  );
  const before = process.cpuUsage();
  expect(seriesThatEnd({ series: all }).size).toBe(0);
  const { user } = process.cpuUsage(before);
  expect(reads).toBeLessThan(20 * all.length);
  // Each against each took two minutes.
  expect(user * 1e-6).toBeLessThan(10);
});
