/**
 * Layouts that no trainer prints, made by a seed: names unknown or known, orders mixed, prefixes from the start or from
 * half way, several ranks, NaN in any place, prose between. Each comes with the losses that it says, exactly.
 */

/** A made log and what it says. */
export interface MadeLog {
  readonly name: string;
  readonly text: string;
  /** The losses as they are printed, one a step; of several ranks the mean of what they print. */
  readonly losses: readonly number[];
  /** The steps; undefined where the layout prints none. */
  readonly steps: readonly number[] | undefined;
}

/** Marsaglia's xorshift of 32 bits: the same numbers everywhere. */
export function randomOf(seed: number): () => number {
  let state = (seed * 2654435761 + 12345) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

const normal = (random: () => number): number =>
  Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());

/** A loss that falls and scatters, in its k-th of n points. */
const lossAt = (k: number, n: number, random: () => number): number =>
  0.4 + 2 * Math.exp((-5 * k) / n) * (1 + 0.03 * normal(random));

/** What comes before a record; `k` is its number. */
export const PREFIXES: Readonly<Record<string, (k: number) => string>> = {
  iso: (k) => `2026-01-31T10:${two(k / 60)}:${two(k)}.${three(k * 7)}Z `,
  logging: (k) => `2026-01-31 10:${two(k / 60)}:${two(k)},${three(k * 7)} - root - INFO - `,
  bracketed: (k) => `[2026-01-31 10:${two(k / 60)}:${two(k)}] `,
  torchrun: () => '[rank0]: ',
  srun: () => '0: ',
  level: () => 'INFO:root:',
  ray: () => '(trainer pid=4711) ',
  kubernetes: (k) => `2026-01-31T10:${two(k / 60)}:${two(k)}.${three(k)}000000Z stdout F `,
  pod: () => 'trainer-7d9f-x2x4l | ',
  host: () => 'node017: ',
  glog: (k) => `I0131 10:${two(k / 60)}:${two(k)}.000000 140737 train.py:128] `,
  absl: (k) => `I0131 10:${two(k / 60)}:${two(k)}.000000 140737 loop.cc:7] `,
  loguru: (k) => `2026-01-31 10:${two(k / 60)}:${two(k)}.${three(k)} | INFO     | app.train:run:88 - `,
  syslog: (k) => `Jan 31 10:${two(k / 60)}:${two(k)} gpu-box trainer[991]: `,
};
const two = (value: number): string => String(Math.floor(value) % 60).padStart(2, '0');
const three = (value: number): string => String(Math.floor(value) % 1000).padStart(3, '0');

/** A line of a layout: the k-th record, at a step, with a loss as it is printed. */
export type Layout = (record: { k: number; n: number; step: number; loss: string; other: string }) => string;

/** Layouts that were made up by a reviewer of 0.2.0 (which refused all but one), and ten more in their manner. */
export const INVENTED: Readonly<Record<string, { layout: Layout; hasStep: boolean }>> = {
  'tr and va': {
    layout: ({ step, loss, other }) => `[${String(step).padStart(4, '0')}] tr ${loss} va ${other}`,
    hasStep: true,
  },
  'a step and a number': { layout: ({ step, loss }) => `step ${step}: ${loss}`, hasStep: true },
  'objective value': {
    layout: ({ step, loss, other }) => `iteration ${step} objective value ${loss} gradient norm ${other}`,
    hasStep: true,
  },
  semicolons: {
    layout: ({ step, loss, k, n }) => `ep=${step};ls=${loss};acc=${(0.5 + (0.4 * k) / n).toFixed(3)}`,
    hasStep: true,
  },
  'a physicist': { layout: ({ step, loss, other }) => `t=${step} J=${loss} |g|=${other}`, hasStep: true },
  'two numbers': { layout: ({ step, loss }) => `${step} ${loss}`, hasStep: true },
  tabs: { layout: ({ step, loss, other }) => `${step}\t${loss}\t${other}`, hasStep: true },
  'of many': { layout: ({ step, n, loss }) => `${step} of ${n * 10} -> ${loss}`, hasStep: true },
  arrows: { layout: ({ step, loss }) => `~> #${step} ~> cost ~> ${loss}`, hasStep: true },
  energy: {
    layout: ({ step, loss, k }) => `sweep ${step}  E = ${loss}  (${(0.4 + 0.001 * (k % 7)).toFixed(3)} s)`,
    hasStep: true,
  },
  'a sentence': {
    layout: ({ step, loss }) => `After ${step} updates the loss is now ${loss}.`,
    hasStep: true,
  },
  pipes: { layout: ({ step, loss, other }) => `| ${step} | ${loss} | ${other} |`, hasStep: true },
  'loss first': { layout: ({ step, loss }) => `${loss} loss at step ${step}`, hasStep: true },
  glued: { layout: ({ step, loss, other }) => `E${step}: crit ${loss}, w ${other}`, hasStep: true },
  thousands: {
    layout: ({ step, loss }) => `iter ${step.toLocaleString('en-US')} | err_total=${loss}`,
    hasStep: true,
  },
};

/** A made log of one of {@link INVENTED}. */
export function inventedLog(name: string, seed = 1): MadeLog {
  const random = randomOf(seed);
  const n = 120;
  const { layout, hasStep } = INVENTED[name]!;
  const losses: number[] = [];
  const steps: number[] = [];
  const lines: string[] = [];
  for (let k = 0; k < n; k++) {
    const loss = lossAt(k, n, random).toFixed(4);
    const other = (1.2 * lossAt(k, n, random)).toFixed(3);
    losses.push(Number(loss));
    steps.push(k * 10);
    lines.push(layout({ k, n, step: k * 10, loss, other }));
  }
  return { name, text: `${lines.join('\n')}\n`, losses, steps: hasStep ? steps : undefined };
}

const pick = <T>(from: readonly T[], random: () => number): T => from[Math.floor(random() * from.length)]!;

const AXIS_NAMES = [
  'step',
  'iter',
  'iteration',
  'Update',
  'sweep',
  'tick',
  'n',
  'cycle',
  'i',
  'pass',
  'global_step',
  'Epoch',
];
const LOSS_NAMES = [
  'loss',
  'Loss',
  'train_loss',
  'nll',
  'cost',
  'obj',
  'J',
  'crit',
  'misfit',
  'energy',
  'L',
  'distortion',
];
const OTHERS: readonly ((k: number, n: number, random: () => number) => string)[] = [
  (k, n) => `lr=${(1e-3 * (1 - k / n)).toExponential(2)}`,
  (k, _, random) => `time=${(0.3 + 0.05 * random() + 0 * k).toFixed(3)}s`,
  (k, n, random) => `acc=${(0.5 + (0.4 * k) / n + 0.01 * random()).toFixed(3)}`,
  (k, _, random) => `${(812 + 20 * random() + 0 * k).toFixed(1)} samples/s`,
  (k, _, random) => `gnorm ${(1 + random() + 0 * k).toFixed(2)}`,
  (k, _, random) => `mem ${Math.floor(7000 + 0 * k + 100 * random())}MB`,
];
const PROSE = [
  'saving the model',
  'Cleaning the cache.',
  'warning: the queue is slow',
  '',
  'done in a moment',
];
/** How a name and its number are joined. */
const JOINS = ['=', ': ', ' ', ' = ', ':'];
const SEPARATORS = [' ', ', ', ' | ', '; ', '\t', '  '];

/** Where the losses are NaN. */
export type NanPlace = 'none' | 'first' | 'middle' | 'last' | 'to the end';

/** A layout drawn by a seed. */
export function drawnLog(seed: number): MadeLog {
  const random = randomOf(seed + 1000);
  const n = 60 + Math.floor(random() * 200);
  const stride = pick([1, 1, 5, 10, 50, 100], random);
  const axis = pick(AXIS_NAMES, random);
  const loss = pick(LOSS_NAMES, random);
  const join = pick(JOINS, random);
  const separator = pick(SEPARATORS, random);
  const others = OTHERS.filter(() => random() < 0.35);
  const prefix = random() < 0.6 ? pick(Object.keys(PREFIXES), random) : undefined;
  const prefixFrom = prefix === undefined ? n : pick([0, Math.floor(n / 2)], random);
  const ranks = random() < 0.2 ? 2 + Math.floor(random() * 3) : 1;
  const nan = pick<NanPlace>(['none', 'none', 'first', 'middle', 'last', 'to the end'], random);
  const lossFirst = random() < 0.3 && join.trim() !== '';
  const hasProse = random() < 0.3;
  const bare = random() < 0.15 && ranks === 1;
  const digits = 3 + Math.floor(random() * 4);
  const isNan = (k: number): boolean =>
    (nan === 'first' && k === 0) ||
    (nan === 'middle' && k === n >> 1) ||
    (nan === 'last' && k === n - 1) ||
    (nan === 'to the end' && k >= (3 * n) / 4);
  const lines: string[] = [];
  const losses: number[] = [];
  const steps: number[] = [];
  for (let k = 0; k < n; k++) {
    const step = k * stride;
    let sum = 0;
    for (let rank = 0; rank < ranks; rank++) {
      const value = isNan(k) ? pick(['nan', 'NaN'], random) : lossAt(k, n, random).toFixed(digits);
      sum += Number(value === 'nan' ? Number.NaN : value);
      const at = bare ? `${step}` : `${axis}${join}${step}`;
      const told = `${loss}${join}${value}`;
      const rest = others.map((other) => other(k, n, random));
      const parts = lossFirst ? [told, at, ...rest] : [at, ...rest.slice(0, 1), told, ...rest.slice(1)];
      const front = k >= prefixFrom ? PREFIXES[prefix!]!(k) : '';
      const of = ranks > 1 ? `[rank${rank}]: ` : '';
      lines.push(`${of === '' ? front : of}${parts.join(separator)}`);
    }
    losses.push(ranks === 1 ? sum : sum / ranks);
    steps.push(step);
    if (hasProse && random() < 0.4) lines.push(pick(PROSE, random));
  }
  const name = [
    `seed ${seed}`,
    bare ? 'bare' : axis,
    loss,
    JSON.stringify(join),
    JSON.stringify(separator),
    prefix === undefined || ranks > 1 ? '' : `${prefix} from ${prefixFrom}`,
    ranks > 1 ? `${ranks} ranks` : '',
    nan === 'none' ? '' : `NaN ${nan}`,
    lossFirst ? 'loss first' : '',
    hasProse ? 'prose' : '',
  ].filter((one) => one !== '');
  return { name: name.join(', '), text: `${lines.join('\n')}\n`, losses, steps };
}
