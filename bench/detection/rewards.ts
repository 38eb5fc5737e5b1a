/**
 * Rewards that only wander, and rewards that are lost: how many of each are told as a fall.
 *
 *     npx tsx bench/detection/rewards.ts [RUNS]
 *
 * Noise of standard deviation 1 whose neighbours are correlated by 0, 0.5, 0.9 and 0.97 (AR(1)), about levels of 0, 2 and 6. A
 * reward that is lost is learnt within a fifth of the run, and has none or three tenths of its level from 60 % on.
 */
import { fallOf } from '../../src/judge/incidents/rewards.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import type { TimeSeries } from '../../src/model/run.ts';
import { seeded } from './runs.ts';

const RUNS = Number(process.argv[2] ?? 200);
const LENGTHS = [50, 100, 200, 400, 1000, 2000];
const CORRELATIONS = [0, 0.5, 0.9, 0.97];

/** Standard deviation 1 from the first point on. */
function* wander(correlation: number, random: () => number): Generator<number> {
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  for (let state = normal(); ; state = correlation * state + Math.sqrt(1 - correlation ** 2) * normal())
    yield state;
}

function falls(correlation: number, points: number, level: (share: number) => number): number {
  let count = 0;
  for (let run = 0; run < RUNS; run++) {
    const noise = wander(correlation, seeded(7919 * run + 31 * points + Math.round(100 * correlation)));
    const value = Float64Array.from(
      { length: points },
      (_, i) => level(i / points) + (noise.next().value as number),
    );
    const series: TimeSeries = {
      name: 'ep_rew_mean',
      role: 'metric',
      step: Float64Array.from(value.keys()),
      value,
      attemptOffsets: [0],
      missing: 0,
      refused: 0,
      pathOffsets: [0],
    };
    if (fallOf(series, 0, DEFAULT_VERDICT_SETTINGS) !== null) count++;
  }
  return count;
}

const learnt = (share: number): number => 1 - Math.exp(-10 * share);
const CASES: readonly (readonly [string, (share: number) => number])[] = [
  ['wanders about 0', () => 0],
  ['wanders about 2', () => 2],
  ['wanders about 6', () => 6],
  ['learns to 3', (share) => 3 * learnt(share / 2)],
  ...[3, 6].flatMap((level) =>
    [0, 0.3].map(
      (kept) =>
        [
          `${level}, lost but for ${kept}`,
          (share: number) => level * learnt(share) * (share < 0.6 ? 1 : kept),
        ] as const,
    ),
  ),
];
console.log(`| falls told of ${RUNS} | correlation | ${LENGTHS.map((n) => `${n} points`).join(' | ')} |`);
console.log(`|---|---|${LENGTHS.map(() => '---').join('|')}|`);
for (const [name, level] of CASES)
  for (const correlation of CORRELATIONS)
    console.log(
      `| ${name} | ${correlation} | ${LENGTHS.map((n) => falls(correlation, n, level)).join(' | ')} |`,
    );
