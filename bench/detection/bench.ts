/**
 * False alarms, recall, delay and speed of the detection on generated runs, beside three simple baselines.
 *
 *     npx tsx bench/detection/bench.ts [seed …]
 *
 * Prints Markdown: recall, and in brackets the delay that 95 % of the found ones keep. docs/detection.md holds the result. A detection counts if its onset lies within 5 logged points of the truth (drift
 * 200); what a detector says elsewhere in an injected run is not counted for or against it. False alarms are counted in clean runs only.
 */
import { judgePoints } from '../../src/detectors/incidents.ts';
import { DEFAULT_VERDICT_SETTINGS as SETTINGS } from '../../src/detectors/verdict-settings.ts';
import { clean, type GeneratedRun, generate, incident } from './runs.ts';

/** Onsets of alarms, as indices. */
type Method = (values: Float64Array) => readonly number[];

const WINDOW = 100;

/** First points of stretches of alarms. */
const episodes = (flags: readonly boolean[]): readonly number[] =>
  flags.flatMap((flag, i) => (flag && !flags[i - 1] ? [i] : []));

const METHODS: Record<string, Method> = {
  'clippy-diag, incidents': (values) => judgePoints(values, SETTINGS).incidents.map(({ onset }) => onset),
  'clippy-diag, incidents and spikes': (values) => {
    const { incidents, spikes } = judgePoints(values, SETTINGS);
    return [...incidents.map(({ onset }) => onset), ...spikes.map(({ index }) => index)];
  },
  '3σ above a rolling mean': (values) => {
    let count = 0;
    let sum = 0;
    let squares = 0;
    const take = (value: number, sign: number): void => {
      if (!Number.isFinite(value)) return;
      count += sign;
      sum += sign * value;
      squares += sign * value * value;
    };
    const flags = Array.from(values, (value, i) => {
      const mean = sum / count;
      const alarm =
        i < WINDOW
          ? Number.isNaN(value)
          : !(value <= mean + 3 * Math.sqrt(Math.max(0, squares / count - mean * mean)));
      take(value, 1);
      if (i >= WINDOW) take(values[i - WINDOW]!, -1);
      return alarm;
    });
    return episodes(flags);
  },
  'twice an EMA (0.98)': (values) => {
    let ema = values[0]!;
    return episodes(
      Array.from(values, (value) => {
        const alarm = !(value <= 2 * ema);
        if (Number.isFinite(value)) ema = 0.98 * ema + 0.02 * value;
        return alarm;
      }),
    );
  },
  always: (values) => Array.from(values, (_, i) => i),
};

/** Groups of injected runs, by what is due. */
const GROUPS: Record<string, (run: GeneratedRun) => boolean> = {
  'jump that stays (≥ 2.5×)': ({ injection }) => injection.kind === 'full',
  'NaN or Inf': ({ injection }) => injection.kind === 'nan',
  'drift that ends ≥ 1.8 × its best level': ({ injection, endOverBest }) =>
    injection.kind === 'drift' && endOverBest >= 1.8,
  'spike ≥ 1.5 × incident limit': (run) => heightOverLimit(run, incidentLimit(run.sigma)) >= 1.5,
  'spike ≥ 1.5 × spike limit': (run) => heightOverLimit(run, SETTINGS.spikeScales * run.sigma) >= 1.5,
  'spike 1–1.5 × spike limit': (run) =>
    within(heightOverLimit(run, SETTINGS.spikeScales * run.sigma), 1, 1.5),
  'spike < spike limit': (run) => within(heightOverLimit(run, SETTINGS.spikeScales * run.sigma), 0, 1),
};

const within = (value: number, low: number, high: number): boolean => value >= low && value < high;
const incidentLimit = (sigma: number): number =>
  Math.max(SETTINGS.incidentScales * sigma, Math.log(SETTINGS.incidentRatio));
/** Height of a spike over a limit, both on the log scale; NaN for what is no spike. */
const heightOverLimit = ({ injection, sigma }: GeneratedRun, limit: number): number =>
  injection.kind === 'spike' ? (injection.height * sigma) / limit : Number.NaN;

/** Logged points between the truth and the nearest alarm; Infinity for a miss. */
function delayOf({ injection }: GeneratedRun, alarms: readonly number[]): number {
  if (injection.kind === 'clean') return Infinity;
  const nearest = Math.min(...alarms.map((alarm) => Math.abs(alarm - injection.at)), Infinity);
  return nearest <= (injection.kind === 'drift' ? 200 : 5) ? nearest : Infinity;
}

/** The class that the verdict owes to an injection; null where the numbers leave it open. */
function classDue(run: GeneratedRun): string | null {
  const { injection } = run;
  if (injection.kind === 'nan') return injection.width === Infinity ? 'non-finite' : 'micro-divergence';
  if (injection.kind === 'full') return 'full-divergence';
  if (injection.kind === 'drift') return run.endOverBest >= 1.8 ? 'drift' : null;
  return heightOverLimit(run, incidentLimit(run.sigma)) >= 1.5 ? 'micro-divergence' : null;
}

function score(seed: number): void {
  const cleanRuns = [...generate(seed, 500, clean)];
  const injected = [...generate(seed + 1_000_000, 2000, incident)];
  const points = cleanRuns.reduce((sum, { values }) => sum + values.length, 0);
  const methods = Object.entries(METHODS);
  const row = (cells: readonly (string | number)[]): void => console.log(`| ${cells.join(' | ')} |`);
  console.log(`\n### Seed ${seed}: 500 clean runs (${points} points), 2,000 with an incident\n`);
  row(['', ...methods.map(([name]) => name)]);
  row(['---', ...methods.map(() => '---')]);
  const alarms = (method: Method): number =>
    cleanRuns.reduce((sum, { values }) => sum + method(values).length, 0);
  row([
    'false alarms in 100,000 clean points',
    ...methods.map(([, method]) => ((100_000 * alarms(method)) / points).toFixed(2)),
  ]);
  const delays = methods.map(([name, method]) =>
    injected.map((run) => (name === 'always' ? 0 : delayOf(run, method(run.values)))),
  );
  for (const [group, belongs] of Object.entries(GROUPS)) {
    const cells = delays.map((all) => {
      const members = all.filter((_, i) => belongs(injected[i]!));
      const found = members.filter(Number.isFinite).sort((a, b) => a - b);
      const worst = found[Math.ceil(0.95 * found.length) - 1];
      return `${(found.length / members.length).toFixed(3)}${worst === undefined ? '' : ` (${worst})`}`;
    });
    row([`${group}, ${injected.filter(belongs).length} runs`, ...cells]);
  }
  console.log('\n| class due | runs | classes given |\n|---|---|---|');
  const given = new Map<string, Map<string, number>>();
  for (const run of [...injected, ...cleanRuns]) {
    const due = run.injection.kind === 'clean' ? 'healthy' : classDue(run);
    if (due === null) continue;
    const counts = given.get(due) ?? new Map<string, number>();
    const { class: found } = judgePoints(run.values, SETTINGS);
    given.set(due, counts.set(found, (counts.get(found) ?? 0) + 1));
  }
  for (const [due, counts] of given) {
    const sorted = [...counts].sort((a, b) => b[1] - a[1]);
    row([
      due,
      sorted.reduce((sum, [, count]) => sum + count, 0),
      sorted.map(([name, count]) => `${name} ${count}`).join(', '),
    ]);
  }
}

/** Median and range of nine runs over a million points, in milliseconds. */
function speed(): void {
  const values = Float64Array.from({ length: 1_000_000 }, (_, i) => {
    const noise = Math.sin(i * 12.9898) * 43758.5453;
    return (0.5 + 5 * Math.exp(-i / 50_000)) * Math.exp(0.2 * (noise - Math.floor(noise) - 0.5));
  });
  const times = Array.from({ length: 9 }, () => {
    const start = performance.now();
    judgePoints(values, SETTINGS);
    return performance.now() - start;
  }).sort((a, b) => a - b);
  const [fastest, median, slowest] = [times[0]!, times[4]!, times[8]!].map(Math.round);
  console.log(`\n1,000,000 points: ${median} ms (${fastest} to ${slowest})`);
}

for (const seed of process.argv.length > 2 ? process.argv.slice(2).map(Number) : [1]) score(seed);
speed();
