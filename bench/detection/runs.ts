/**
 * Generated runs whose truth is known: clean ones, and the same with one injected incident.
 *
 * What they are made of was measured on real logs: the scale of the noise of log-losses lies between 0.2 % and 30 %, its standard
 * deviation between 0.95 and 1.5 robust scales, its lag-one correlation between −0.2 and 0.7, and it is skewed upwards in ranking nets. The
 * latter shape is not modelled but drawn, in blocks, from the residuals of the healthy fixture.
 */
import { readFileSync } from 'node:fs';
import { MAD_TO_SIGMA, medianOf } from '../../src/model/order-statistics.ts';
import type { Run } from '../../src/model/run.ts';

export type Injection =
  | { readonly kind: 'clean' }
  /** `height` scales of the noise, for `width` points. */
  | { readonly kind: 'spike'; readonly at: number; readonly height: number; readonly width: number }
  /** `ratio` times the level, to the end. */
  | { readonly kind: 'full'; readonly at: number; readonly ratio: number }
  /** Grows over `length` points to `ratio` times the level and stays. */
  | { readonly kind: 'drift'; readonly at: number; readonly ratio: number; readonly length: number }
  /** NaN from `at`, for `width` points or (Infinity) to the end; `lead` points of a jump before. */
  | { readonly kind: 'nan'; readonly at: number; readonly width: number; readonly lead: number };

export interface GeneratedRun {
  readonly run: Run;
  readonly values: Float64Array;
  readonly injection: Injection;
  /** Robust scale of the noise of the log-loss. */
  readonly sigma: number;
  readonly noise: string;
  /** Last level over the lowest one, without the noise. */
  readonly endOverBest: number;
}

/** Numbers in [0, 1) (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Residuals of the healthy fixture's losses in their own scales, after the first 200 steps: total and tasks. */
function fixtureResiduals(): readonly number[] {
  const rows = readFileSync(new URL('../../fixtures/logs/healthy/input.jsonl', import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);
  return Object.keys(rows[0]!)
    .filter((key) => key === 'loss' || key.endsWith('/loss'))
    .flatMap((key) => {
      const y = rows.slice(200).map((row) => Math.log(row[key]!));
      const residuals = y.slice(25, -25).map((value, i) => value - medianOf(y.slice(i, i + 51)));
      const scale = MAD_TO_SIGMA * medianOf(residuals.map(Math.abs));
      return residuals.map((value) => value / scale);
    });
}

const NOISES = ['gaussian', 'student-8', 'correlated', 'fixture'] as const;

/** Noise of robust scale 1. */
function noiseOf(
  kind: (typeof NOISES)[number],
  random: () => number,
  residuals: readonly number[],
): () => number {
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  switch (kind) {
    case 'gaussian':
      return normal;
    case 'student-8':
      // 1.4826·MAD of a Student t with 8 degrees of freedom is 1.047.
      return () => {
        let squares = 0;
        for (let k = 0; k < 8; k++) squares += normal() ** 2;
        return normal() / Math.sqrt(squares / 8) / 1.047;
      };
    case 'correlated': {
      let state = normal();
      return () => {
        state = 0.6 * state + 0.8 * normal();
        return state;
      };
    }
    case 'fixture': {
      let at = 0;
      let left = 0;
      return () => {
        if (left-- <= 0) {
          at = Math.floor(random() * (residuals.length - 10));
          left = 9;
        }
        return residuals[at++]!;
      };
    }
  }
}

/** Shapes of learning curves over u in [0, 1], from 1 to about 0. */
const CURVES: readonly ((u: number) => number)[] = [
  (u) => Math.exp(-6 * u),
  (u) => (1 + 200 * u) ** -0.5,
  (u) => 0.5 * Math.exp(-20 * u) + (u < 0.55 ? 0.5 - 0.2 * u : 0.12),
  (u) => Math.exp(-40 * u),
  (u) => 1 - u,
];

/** The runs of a seed, one after the other; `injections` decides what is injected into each. */
export function* generate(
  seed: number,
  count: number,
  inject: (random: () => number, points: number, grace: number) => Injection,
): Generator<GeneratedRun> {
  const random = seeded(seed);
  const logUniform = (low: number, high: number): number => low * (high / low) ** random();
  const pick = <T>(choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!;
  const residuals = fixtureResiduals();
  for (let k = 0; k < count; k++) {
    const points = Math.round(logUniform(300, 10_000));
    const spacing = pick([1, 10, 1000]);
    const floor = logUniform(0.05, 5);
    const height = floor * logUniform(0.3, 10);
    const sigma = logUniform(0.002, 0.3);
    const noise = pick(NOISES);
    const curve = pick(CURVES);
    const digits = pick([4, 6, 17]);
    const draw = noiseOf(noise, random, residuals);
    const injection = inject(random, points, Math.ceil(0.3 * points));
    const levels = Float64Array.from(
      { length: points },
      (_, i) => (floor + height * curve(i / points)) * factorAt(injection, i, sigma),
    );
    const values = levels.map((level) => Number((level * Math.exp(sigma * draw())).toPrecision(digits)));
    const endOverBest = levels.at(-1)! / levels.reduce((best, level) => Math.min(best, level));
    yield { run: asRun(values, spacing, `${seed}-${k}`), values, injection, sigma, noise, endOverBest };
  }
}

function factorAt(injection: Injection, i: number, sigma: number): number {
  switch (injection.kind) {
    case 'clean':
      return 1;
    case 'spike':
      return i >= injection.at && i < injection.at + injection.width ? Math.exp(injection.height * sigma) : 1;
    case 'full':
      return i >= injection.at ? injection.ratio : 1;
    case 'drift':
      return injection.ratio ** Math.min(1, Math.max(0, (i - injection.at) / injection.length));
    case 'nan':
      if (i < injection.at || i >= injection.at + injection.lead + injection.width) return 1;
      return i < injection.at + injection.lead ? 50 : Number.NaN;
  }
}

/** One loss, one attempt. */
export function asRun(value: Float64Array, spacing: number, id: string): Run {
  const step = Float64Array.from(value, (_, i) => i * spacing);
  return {
    id,
    paths: [id],
    format: 'generated',
    stepUnit: 'step',
    series: [
      {
        name: 'loss',
        role: 'loss',
        step,
        value,
        missing: 0,
        refused: 0,
        attemptOffsets: [0],
        pathOffsets: [0],
      },
    ],
    attempts: [{ index: 0, firstStep: 0, lastStep: step.at(-1)!, reason: 'start' }],
    hyperparameters: new Map(),
    notes: [],
  };
}

export const clean = (): Injection => ({ kind: 'clean' });

/** Half spikes, the rest jumps that stay, climbs, and NaN. */
export function incident(random: () => number, points: number, earliest: number): Injection {
  // Far enough from the end that the decision window is over before it.
  const latest = points - Math.max(100, Math.floor(points / 10)) - 5;
  const at = Math.floor(Math.min(earliest, latest - 20) + random() * Math.max(20, latest - earliest));
  const kind = random();
  if (kind < 0.5) return { kind: 'spike', at, height: 3 + 27 * random(), width: Math.round(50 ** random()) };
  if (kind < 0.7) return { kind: 'full', at, ratio: 2.5 * 4000 ** random() };
  if (kind < 0.85) {
    const length = Math.round((0.1 + 0.4 * random()) * (points - at));
    return { kind: 'drift', at, ratio: 1.8 * 4 ** random(), length };
  }
  return {
    kind: 'nan',
    at,
    lead: random() < 0.5 ? 0 : 1 + Math.floor(5 * random()),
    width: random() < 0.5 ? Number.POSITIVE_INFINITY : 1 + Math.floor(20 * random()),
  };
}
