/** What is followed on from one judgement to the next says what following from the start says. */
import { expect, test } from 'vitest';
import { Followers, judgeBranches } from '../../src/judge/incidents/followers.ts';
import { judgeLevels } from '../../src/judge/incidents/judge-points.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { ColumnBuilder } from '../../src/model/column.ts';
import { random as randomOf } from '../support/random.ts';

/** A loss that comes down, with jumps, climbs, values that are no number, and in some series one that is not positive. */
function seriesOf(seed: number, points: number): number[] {
  const random = randomOf(seed);
  let level = 3;
  let high = 0;
  return Array.from({ length: points }, (_, i) => {
    level = 0.5 + (level - 0.5) * 0.998;
    if (random() < 0.004) high = random() < 0.5 ? 40 * random() : -high;
    high *= random() < 0.3 ? 0.97 : 1;
    if (random() < 0.002) return [Number.NaN, Number.POSITIVE_INFINITY, 1e30][Math.floor(3 * random())]!;
    if (seed % 5 === 0 && i > points / 2 && random() < 0.001) return -random();
    return level + Math.max(0, high) + 0.05 * (random() - 0.5);
  });
}

test.each([...Array(30).keys()])('series %i in pieces says what the whole says', (seed) => {
  const random = randomOf(1000 + seed);
  const values = seriesOf(seed, 2500);
  const column = new ColumnBuilder();
  const followers = new Followers();
  for (let n = 0; n < values.length; ) {
    const to = Math.min(values.length, n + 1 + Math.floor(random() * 200));
    for (; n < to; n++) column.push(values[n]!);
    const points = column.finish();
    const judge = () => judgeLevels(points, DEFAULT_VERDICT_SETTINGS, seed % 2 === 0);
    expect(followers.during(judge)).toEqual(judge());
  }
});

test('a judgement follows only the points that are new', () => {
  const followers = new Followers();
  const values = Float64Array.from(seriesOf(1, 1000));
  const judge = (points: Float64Array) =>
    followers.during(() => {
      judgeLevels(points, DEFAULT_VERDICT_SETTINGS, true);
      judgeLevels(points, DEFAULT_VERDICT_SETTINGS, false);
    });
  for (let n = 300; n <= 1000; n += 100) judge(values.subarray(0, n));
  expect(followers.taken).toBe(2 * 1000);
});

test('a series that was rewritten, or is judged by other numbers, is followed from its start', () => {
  const followers = new Followers();
  const values = Float64Array.from(seriesOf(1, 600));
  const other = values.map((value, i) => (i === 100 ? value + 30 : value));
  const strict = { ...DEFAULT_VERDICT_SETTINGS, incidentRatio: 1.1 };
  for (const [points, settings] of [
    [values.subarray(0, 500), DEFAULT_VERDICT_SETTINGS],
    [other, DEFAULT_VERDICT_SETTINGS],
    [values, strict],
    [values.subarray(0, 400), strict],
  ] as const) {
    const judge = () => judgeLevels(points, settings, true);
    expect(followers.during(judge)).toEqual(judge());
  }
  expect(followers.taken).toBe(500 + 600 + 600 + 400);
});

test('no more than four series of a run are kept, the longest', () => {
  const followers = new Followers();
  const all = Array.from({ length: 8 }, (_, k) => Float64Array.from(seriesOf(k, 300 + k)));
  const judge = () =>
    followers.during(() => {
      for (const values of all) judgeLevels(values, DEFAULT_VERDICT_SETTINGS, true);
    });
  judge();
  const first = followers.taken;
  judge();
  expect(followers.taken - first).toBe(300 + 301 + 302 + 303);
});

test.each([...Array(20).keys()])('branches of series %i say what each says alone', (seed) => {
  const stem = seriesOf(seed, 300);
  // With another unit in some, and shorter than the stem.
  const branches = [1, 2, 3, 4, 5].map((k) => [...stem, ...seriesOf(100 * seed + k, 40 * k)]);
  const all = [...branches, stem, stem.slice(0, 200)].map((values) => Float64Array.from(values));
  const judge = () => all.map((values) => judgeLevels(values, DEFAULT_VERDICT_SETTINGS, seed % 2 === 0));
  expect(judgeBranches(stem.length, judge)).toEqual(judge());
});

test('a branch that changed a point of the stem is followed from its start', () => {
  const stem = seriesOf(1, 300);
  const changed = stem.map((value, i) => (i === 150 ? value + 30 : value));
  const judge = () =>
    [stem, changed].map((start) =>
      judgeLevels(Float64Array.from([...start, 1, 1]), DEFAULT_VERDICT_SETTINGS, true),
    );
  expect(judgeBranches(stem.length, judge)).toEqual(judge());
});
