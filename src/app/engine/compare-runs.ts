/** Where two runs part, and what they were set to: the comparison of `analyze A B --compare`. */
import { noiseScale } from '../../judge/incidents/bands.ts';
import type { Column } from '../../model/column.ts';
import {
  type Comparison,
  SETTING_KINDS,
  type SeriesComparison,
  type SettingDifference,
} from '../../model/comparison.ts';
import { formatCount, formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { isLossLike, type Run, type TimeSeries } from '../../model/run.ts';

/** Fewer steps in common tell nothing. */
const LEAST_STEPS = 20;
/** A distance of less is none that a user would act on, however smooth both runs are. */
const LEAST_SHARE = 0.1;
/** Levels must be apart by more than so many scales of the noise of single points: seeds move a level by less. */
const SCALES = 3;

/** The value of each step; what a later attempt logged replaces what it repeats. */
const byStep = ({ step, value }: TimeSeries): ReadonlyMap<number, number> =>
  new Map(Array.from(step, (at, i) => [at, value.at(i)!]));

const same = (x: number, y: number): boolean => x === y || (Number.isNaN(x) && Number.isNaN(y));

/** Compares a series of two runs at the steps that both logged; null with too few of them. */
export function compareSeries(first: TimeSeries, second: TimeSeries): SeriesComparison | null {
  const [a, b] = [byStep(first), byStep(second)];
  const steps = [...a.keys()].filter((step) => b.has(step)).sort((x, y) => x - y);
  if (steps.length < LEAST_STEPS) return null;
  const x = Float64Array.from(steps, (step) => a.get(step)!);
  const y = Float64Array.from(steps, (step) => b.get(step)!);
  const finite = [...x, ...y].filter(Number.isFinite);
  const relative = finite.every((value) => value > 0);
  const to = relative ? Math.log : (value: number): number => value;
  const noise = Math.hypot(noiseScale(x, to), noiseScale(y, to));
  const unit = relative ? Math.log1p(LEAST_SHARE) : LEAST_SHARE * medianOf(finite.map(Math.abs));
  const limit = Math.max(unit, SCALES * noise);
  const distance = Float64Array.from(steps, (_, i) => {
    if (same(x[i]!, y[i]!)) return 0;
    const between = Math.abs(to(x[i]!) - to(y[i]!));
    // A value that is not finite beside one that is: nothing is further apart.
    return Number.isNaN(between) ? Number.POSITIVE_INFINITY : between;
  });
  const signed = Float64Array.from(steps, (_, i) =>
    Number.isFinite(distance[i]!) ? to(x[i]!) - to(y[i]!) : Number.POSITIVE_INFINITY,
  );
  const width = Math.max(5, Math.floor(steps.length / 50));
  const level = (from: number): number => {
    const window = [...signed.subarray(from, from + width)].sort((p, q) => p - q);
    return Math.abs(window[window.length >> 1]!);
  };
  // From the end backwards: apart for as long as the level of every window is.
  let from = steps.length - width;
  if (level(from) > limit) while (from > 0 && level(from - 1) > limit) from--;
  else from = -1;
  // Two in a row: one point alone is so far away by chance.
  const far = (i: number): boolean => i >= steps.length || distance[i]! > limit;
  while (from >= 0 && from < steps.length - 1 && !(far(from) && far(from + 1))) from++;
  const differs = steps.findIndex((_, i) => !same(x[i]!, y[i]!));
  const ends = (values: Column): number => {
    const last = values.subarray(-width);
    return last.some((value) => !Number.isFinite(value)) ? values.at(-1)! : medianOf(last);
  };
  const last = [ends(x), ends(y)] as const;
  const apart = same(last[0], last[1]) ? 0 : Math.abs(to(last[0]) - to(last[1]));
  const shared = (size: number): number => (relative ? Math.expm1(size) : size);
  return {
    name: first.name,
    steps: steps.length,
    differsAt: differs < 0 ? null : steps[differs]!,
    partsAt: from < 0 ? null : steps[from]!,
    last,
    apart: Number.isNaN(apart) ? Number.POSITIVE_INFINITY : shared(apart),
    limit: shared(limit),
    relative,
  };
}

const KINDS: readonly (readonly [SettingDifference['kind'], RegExp])[] = [
  ['learning-rate', /(^|[._/])lr(_|$)|learning_?rate|warm_?up|scheduler/i],
  ['clipping', /clip|max_(grad_)?norm/i],
  ['optimizer', /optim|momentum|beta|weight_decay|epsilon|(^|[._/])(wd|eps|opt)$/i],
  ['data', /data|batch|shuffle|split|corpus|tokens?|(^|[._/])(train|valid|val)_(file|path|set)/i],
  ['seed', /seed/i],
];

function settingsOf(first: Run, second: Run): { differ: SettingDifference[]; compared: number } {
  const [a, b] = [first.hyperparameters, second.hyperparameters];
  const names = [...new Set([...a.keys(), ...b.keys()])].sort();
  const differ = names
    .filter((name) => !(a.has(name) && b.has(name) && Object.is(a.get(name), b.get(name))))
    .map(
      (name): SettingDifference => ({
        name,
        kind: KINDS.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other',
        ...(a.has(name) ? { first: a.get(name)! } : {}),
        ...(b.has(name) ? { second: b.get(name)! } : {}),
      }),
    );
  return {
    differ: differ.sort((x, y) => SETTING_KINDS.indexOf(x.kind) - SETTING_KINDS.indexOf(y.kind)),
    compared: names.filter((name) => a.has(name) && b.has(name)).length,
  };
}

const brief = (value: number): string => formatNumber(value, 'brief');

/** How far two last values are from each other, in words. */
function apartWords({ last: [a, b], apart, relative }: SeriesComparison): string {
  const ratio = Math.max(a, b) / Math.min(a, b);
  const much =
    !relative || !Number.isFinite(apart)
      ? ''
      : ratio >= 2
        ? ` (${brief(ratio)} times)`
        : ` (${brief(100 * apart)} %)`;
  return `${brief(a)} in the first run and ${brief(b)} in the second${much}`;
}

/** Compares two runs. Series are those of the same name; those of learning rates and clipping are settings that were logged. */
export function compareRuns(first: Run, second: Run): Comparison {
  const unit = first.stepUnit;
  const lossFirst = (name: string): number => {
    const role = first.series.find((one) => one.name === name)!.role;
    return role === 'loss' ? 0 : isLossLike(role) ? 1 : 2;
  };
  const pairs = first.series.flatMap((one) => {
    const other = second.series.find(({ name }) => name === one.name);
    return other === undefined || one.role === 'other' ? [] : [[one, other] as const];
  });
  const compared = (first.stepUnit === second.stepUnit ? pairs : [])
    .flatMap(([a, b]) => compareSeries(a, b) ?? [])
    .sort(
      (a, b) =>
        lossFirst(a.name) - lossFirst(b.name) ||
        (a.partsAt ?? Number.POSITIVE_INFINITY) - (b.partsAt ?? Number.POSITIVE_INFINITY) ||
        0,
    );
  const { differ: settings, compared: settingsCompared } = settingsOf(first, second);
  const told = {
    runs: [first.paths[0] ?? first.id, second.paths[0] ?? second.id] as const,
    compared,
    settings,
    settingsCompared,
  };
  const [leading] = compared;
  if (leading === undefined)
    return {
      ...told,
      outcome: 'cannot-tell',
      why: `The runs have no series with ${LEAST_STEPS} ${unit}s in common: log the same quantities at the same ${unit}s.`,
      step: null,
      series: null,
    };
  const losses = compared.filter(({ name }) => lossFirst(name) < 2);
  const parted = (losses.length > 0 ? losses : compared).filter(({ partsAt }) => partsAt !== null);
  const [at] = parted.sort((a, b) => a.partsAt! - b.partsAt!);
  if (at !== undefined)
    return {
      ...told,
      outcome: 'part',
      why: `They part at ${unit} ${formatCount(at.partsAt!)}: \`${at.name}\` ends at ${apartWords(at)}.`,
      step: at.partsAt,
      series: at.name,
    };
  const differs = compared.filter(({ differsAt }) => differsAt !== null);
  if (differs.length === 0)
    return {
      ...told,
      outcome: 'same',
      why: `They do not part: all values of ${compared.length} series are the same at ${formatCount(leading.steps)} ${unit}s.`,
      step: null,
      series: null,
    };
  return {
    ...told,
    outcome: 'within-noise',
    why: `They do not part: \`${leading.name}\` ends at ${apartWords(leading)}; only more than ${leading.relative ? `${brief(100 * leading.limit)} %` : brief(leading.limit)} to the end would be more than noise.`,
    step: null,
    series: null,
  };
}
