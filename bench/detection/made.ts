/**
 * Made runs whose truth is known, as design tables name them: healthy ones of every kind of noise, and runs that are hurt.
 *
 * Everything is drawn anew from a seed. A run has 60, 600 or 6,000 points.
 */
import { seeded } from './runs.ts';

/** What is known of a made run. */
export interface MadeRun {
  readonly values: Float64Array;
  /** First point that is hurt; null in a healthy run. */
  readonly at: number | null;
  /** Last point by which an onset is in time. */
  readonly until: number;
}

/** What a judge says of a run. */
export interface Said {
  readonly class: string;
  readonly onset: number | null;
}

/** One row of the table: how its runs are made, and which answer is right. */
export interface Kind {
  readonly name: string;
  readonly group: 'healthy' | 'hurt';
  /** Share of right answers that the design asks for; null where it asks for none. */
  readonly asked: number | null;
  make(random: () => number, n: number): MadeRun;
  right(said: Said, run: MadeRun): boolean;
}

type Noise = () => number;

/** Normal numbers of standard deviation 1. */
const normalOf = (random: () => number): Noise => {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
};

/** First-order autoregressive noise of standard deviation 1. */
const autoregressive = (random: () => number, rho: number): Noise => {
  const normal = normalOf(random);
  let state = normal();
  return () => {
    state = rho * state + Math.sqrt(1 - rho * rho) * normal();
    return state;
  };
};

/** Student's t with 3 degrees of freedom, divided by its standard deviation. */
const student3 = (random: () => number): Noise => {
  const normal = normalOf(random);
  return () => {
    const squares = normal() ** 2 + normal() ** 2 + normal() ** 2;
    return normal() / Math.sqrt(squares / 3) / Math.sqrt(3);
  };
};

/** Falling curves over u in [0, 1], from about 2.3 to a floor. */
const CURVES: readonly ((u: number) => number)[] = [
  (u) => 0.3 + 2 * Math.exp(-6 * u),
  (u) => 2.3 * (1 + 200 * u) ** -0.3,
  (u) => 0.5 + 1.8 * Math.exp(-40 * u),
  (u) => 0.4 + (u < 0.2 ? 1.9 : u < 0.5 ? 1.2 : 0.6),
  (u) => 2.3 - 1.8 * u,
];

const curveOf = (random: () => number): ((u: number) => number) =>
  CURVES[Math.floor(random() * CURVES.length)]!;

const noisy = (n: number, level: (i: number) => number, sigma: number, noise: Noise): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => level(i) * Math.exp(sigma * noise()));

const healthy = (
  name: string,
  asked: number,
  make: (random: () => number, n: number) => Float64Array,
): Kind => ({
  name,
  group: 'healthy',
  asked,
  make: (random, n) => ({ values: make(random, n), at: null, until: n }),
  right: (said) => said.class === 'healthy',
});

/** Somewhere from 30 to 70 % of the run. */
const placeOf = (random: () => number, n: number): number => Math.floor(n * (0.3 + 0.4 * random()));

const isOneOf =
  (...classes: readonly string[]) =>
  (said: Said, { at, until }: MadeRun): boolean =>
    classes.includes(said.class) &&
    said.onset !== null &&
    said.onset >= at! - early(until, at!) &&
    said.onset <= until;

/** An onset may be found a little early: noise before it is as high. */
const early = (until: number, at: number): number => Math.max(10, until - at);

/** A curve of which a factor is the harm from a place on. */
const hurt = (
  name: string,
  asked: number | null,
  classes: readonly string[],
  sigma: number,
  late: (n: number) => number,
  factor: (i: number, at: number, n: number) => number,
): Kind => ({
  name,
  group: 'hurt',
  asked,
  make(random, n) {
    const curve = curveOf(random);
    const at = placeOf(random, n);
    const noise = normalOf(random);
    // What follows is of the level at the place: that it would have fallen on is another matter.
    const values = noisy(
      n,
      (i) => curve(Math.min(i, at) / n) * (i < at ? 1 : factor(i, at, n)),
      sigma,
      noise,
    );
    return { values, at, until: at + late(n) };
  },
  right: isOneOf(...classes),
});

/** All that was learnt, from `untrained` down to `learnt`, is lost at once. */
const lostAll = (name: string, untrained: number, learnt: number): Kind => ({
  name,
  group: 'hurt',
  asked: 0.95,
  make(random, n) {
    const at = placeOf(random, n);
    const level = (i: number): number =>
      i >= at ? untrained : learnt + (untrained - learnt) * Math.exp((-15 * i) / n);
    return { values: noisy(n, level, 0.02, normalOf(random)), at, until: at + 10 };
  },
  right: isOneOf('full-divergence'),
});

const LOST = ['full-divergence', 'drift'];
const ten = (): number => 10;
const share = (n: number): number => Math.max(10, Math.floor(0.05 * n));
const wide = (n: number): number => Math.floor(0.3 * n);

/** The rows of the table. */
export const KINDS: readonly Kind[] = [
  ...[0.02, 0.05, 0.15, 0.45].map((sigma) =>
    healthy(`white noise ${100 * sigma} %`, 0.99, (random, n) => {
      const curve = curveOf(random);
      return noisy(n, (i) => curve(i / n), sigma, normalOf(random));
    }),
  ),
  ...[0.9, 0.99].map((rho) =>
    healthy(`correlated ${rho} at 30 %`, rho > 0.95 ? 0.95 : 0.99, (random, n) => {
      const curve = curveOf(random);
      return noisy(n, (i) => curve(i / n), 0.3, autoregressive(random, rho));
    }),
  ),
  healthy('t₃ tails at 20 %', 0.99, (random, n) => {
    const curve = curveOf(random);
    return noisy(n, (i) => curve(i / n), 0.2, student3(random));
  }),
  healthy('running mean (0.98) of 45 %', 0.99, (random, n) => {
    const curve = curveOf(random);
    const normal = normalOf(random);
    let mean = curve(0);
    return Float64Array.from({ length: n }, (_, i) => {
      mean = 0.98 * mean + 0.02 * curve(i / n) * Math.exp(0.45 * normal());
      return mean;
    });
  }),
  healthy('two printed digits', 0.99, (random, n) => {
    const curve = curveOf(random);
    return noisy(n, (i) => curve(i / n), 0.02, normalOf(random)).map((x) => Number(x.toPrecision(2)));
  }),
  healthy('flat fine-tune at 15 %', 0.99, (random, n) => noisy(n, () => 0.8, 0.15, normalOf(random))),
  healthy('daily cycle ± 35 %', 0.99, (random, n) => {
    const curve = curveOf(random);
    const period = n / (5 + 10 * random());
    const phase = random();
    return noisy(
      n,
      (i) => curve(i / n) * (1 + 0.35 * Math.sin(2 * Math.PI * (i / period + phase))),
      0.05,
      normalOf(random),
    );
  }),
  healthy('warm restarts', 0.99, (random, n) => {
    const cycle = Math.floor(n / (4 + 4 * random()));
    const noise = normalOf(random);
    const curve = curveOf(random);
    return noisy(
      n,
      (i) =>
        curve(i / n) * (1 + (i < cycle ? 0 : 0.5) * (0.5 + 0.5 * Math.cos((Math.PI * (i % cycle)) / cycle))),
      0.05,
      noise,
    );
  }),
  ...CURVES.map((curve, k) =>
    healthy(
      ['falls exponentially', 'falls by a power', 'falls at once', 'falls in steps', 'falls in a line'][k]!,
      0.99,
      (random, n) => noisy(n, (i) => curve(i / n), 0.05, normalOf(random)),
    ),
  ),
  ...[0.05, 0.15, 0.45].map((sigma) =>
    hurt(`× 2 that stays at ${100 * sigma} %`, sigma > 0.4 ? 0.6 : 0.99, LOST, sigma, share, () => 2),
  ),
  hurt('× 6 that stays at 45 %', 0.99, LOST, 0.45, ten, () => 6),
  hurt('× 30 for three points at 15 %', 0.99, ['micro-divergence'], 0.15, ten, (i, at) =>
    i < at + 3 ? 30 : 1,
  ),
  lostAll('all lost: 0.455 → 0.50 at 2 %', 0.5, 0.455),
  lostAll('all lost: 0.60 → 0.693 at 2 %', Math.LN2, 0.6),
  lostAll('all lost: 2.9 → 3.4 at 2 %', 3.4, 2.9),
  ...[1.3, 1.6, 3].map((end) =>
    hurt(
      `climb to ${end} × at 5 %`,
      end > 1.5 ? 0.9 : null,
      LOST,
      0.05,
      wide,
      (i, at, n) => end ** ((i - at) / (n - 1 - at)),
    ),
  ),
  hurt(
    'NaN at once',
    1,
    ['non-finite'],
    0.15,
    () => 0,
    () => Number.NaN,
  ),
  hurt(
    'NaN after a jump of × 10',
    1,
    ['non-finite'],
    0.15,
    () => 3,
    (i, at, n) => (i < at + 3 + n / 60 ? 10 : Number.NaN),
  ),
  hurt(
    'NaN after a climb to 5 ×',
    1,
    ['non-finite'],
    0.05,
    (n) => Math.floor(0.1 * n),
    (i, at, n) => (i < at + 0.2 * n ? 5 ** ((i - at) / (0.2 * n)) : Number.NaN),
  ),
];

/** The runs of a row. @param offset added to every value: a loss of both signs is judged by differences */
export function* madeRuns(
  kind: Kind,
  n: number,
  count: number,
  seed: number,
  offset = 0,
): Generator<MadeRun> {
  const random = seeded(seed);
  for (let k = 0; k < count; k++) {
    const run = kind.make(random, n);
    yield offset === 0 ? run : { ...run, values: run.values.map((value) => value + offset) };
  }
}
