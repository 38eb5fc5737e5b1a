/**
 * False alarms, recall, delay (with the whole log at hand, and while it grows) and speed of the detection on generated runs, beside three simple baselines.
 *
 *     npx tsx bench/detection/bench.ts [seed …]
 *
 * Prints Markdown: recall (of the detection itself with Wilson's 95 % interval), and in brackets the delay that 95 % of the found ones keep. docs/detection.md holds the result. A detection counts if its onset lies within 5 logged points of the truth (drift
 * 200); what a detector says elsewhere in an injected run is not counted for or against it. False alarms are counted in clean runs only.
 */
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
import { DEFAULT_VERDICT_SETTINGS as SETTINGS } from '../../src/judge/incidents/settings.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { share } from '../causes/score.ts';
import { clean, type GeneratedRun, generate, incident } from './runs.ts';

const judgePoints = (values: Float64Array) =>
  judgeAttempt(values, SETTINGS, { levelSays: true, isWhole: true });

/** Onsets of alarms, as indices. */
type Method = (values: Float64Array) => readonly number[];

const WINDOW = 100;
/** Scales of the noise above which a point is a spike, and an incident. */
const [SPIKE_SCALES, INCIDENT_SCALES] = [7.5, 8];

/** First points of stretches of alarms. */
const episodes = (flags: readonly boolean[]): readonly number[] =>
  flags.flatMap((flag, i) => (flag && !flags[i - 1] ? [i] : []));

const METHODS: Record<string, Method> = {
  'clippy-diag, incidents': (values) => judgePoints(values).incidents.map(({ onset }) => onset),
  'clippy-diag, incidents and spikes': (values) => {
    const { incidents, spikes } = judgePoints(values);
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
  'spike ≥ 1.5 × spike limit': (run) => heightOverLimit(run, SPIKE_SCALES * run.sigma) >= 1.5,
  'spike 1–1.5 × spike limit': (run) => within(heightOverLimit(run, SPIKE_SCALES * run.sigma), 1, 1.5),
  'spike < spike limit': (run) => within(heightOverLimit(run, SPIKE_SCALES * run.sigma), 0, 1),
};

const within = (value: number, low: number, high: number): boolean => value >= low && value < high;
const incidentLimit = (sigma: number): number =>
  Math.max(INCIDENT_SCALES * sigma, Math.log(SETTINGS.incidentRatio));
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
    const cells = delays.map((all, k) => {
      const members = all.filter((_, i) => belongs(injected[i]!));
      const found = members.filter(Number.isFinite).sort((a, b) => a - b);
      const worst = found[Math.ceil(0.95 * found.length) - 1];
      const interval = share(found.length, members.length).interval.map((end) => end.toFixed(3));
      const told = methods[k]![0].startsWith('clippy-diag') ? ` [${interval.join(', ')}]` : '';
      return `${(found.length / members.length).toFixed(3)}${told}${worst === undefined ? '' : ` (${worst})`}`;
    });
    row([`${group}, ${injected.filter(belongs).length} runs`, ...cells]);
  }
  console.log('\n| class due | runs | classes given |\n|---|---|---|');
  const given = new Map<string, Map<string, number>>();
  for (const run of [...injected, ...cleanRuns]) {
    const due = run.injection.kind === 'clean' ? 'healthy' : classDue(run);
    if (due === null) continue;
    const counts = given.get(due) ?? new Map<string, number>();
    const { class: found } = judgePoints(run.values);
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

/** What every detector says of the clean runs. Beside each loss stands a gradient norm: the values of a clean run of another seed. */
function notesOnCleanRuns(seed: number): void {
  const losses = generate(seed, 500, clean);
  const norms = generate(seed + 2_000_000, 500, clean);
  const counts = new Map<string, { findings: number; runs: number }>();
  let points = 0;
  for (const { run, values } of losses) {
    const norm = (norms.next().value as GeneratedRun).values;
    const length = Math.min(values.length, norm.length);
    const cut = (role: 'loss' | 'grad_norm', value: Float64Array) => ({
      ...run.series[0]!,
      name: role,
      role,
      step: run.series[0]!.step.subarray(0, length),
      value: value.slice(0, length),
    });
    const both = { ...run, series: [cut('loss', values), cut('grad_norm', norm)] };
    points += length;
    const judged = judgeRun(both);
    for (const detector of Object.values(DETECTORS) as Detector[]) {
      const outcome = detector.detect(both, contextFor(detector, judged));
      if (outcome.kind !== 'fail') continue;
      const { findings, runs } = counts.get(detector.id) ?? { findings: 0, runs: 0 };
      counts.set(detector.id, { findings: findings + outcome.findings.length, runs: runs + 1 });
    }
  }
  console.log(`\n### Findings on 500 clean runs with a gradient norm (${points} points)\n`);
  console.log('| detector | findings | in 100,000 points | runs |\n|---|---|---|---|');
  for (const [id, { findings, runs }] of [...counts].sort())
    console.log(`| \`${id}\` | ${findings} | ${((100_000 * findings) / points).toFixed(2)} | ${runs} |`);
}

/**
 * The delay of an alarm while the log grows: the log up to each point (drift: each tenth) is judged anew, with its own length as n, as `watch` does, from the
 * injection on. An alarm is an incident of any class, an open one too, whose onset is at most 5 points before the truth. 60 runs of each kind of at
 * most 3,000 points. And the price: incidents with different onsets that 60 clean runs show at any of their lengths, every tenth judged.
 */
function onlineDelay(seed: number): void {
  const runs = [...generate(seed + 1_000_000, 2000, incident)];
  const kinds: Record<string, (run: GeneratedRun) => boolean> = {
    'jump that stays': GROUPS['jump that stays (≥ 2.5×)']!,
    NaN: GROUPS['NaN or Inf']!,
    'spike ≥ 1.5 × incident limit': GROUPS['spike ≥ 1.5 × incident limit']!,
    drift: GROUPS['drift that ends ≥ 1.8 × its best level']!,
  };
  console.log('\n### Delay while the log grows, in logged points\n');
  console.log('| | runs | found | median | 95 % | longest |\n|---|---|---|---|---|---|');
  for (const [kind, belongs] of Object.entries(kinds)) {
    const members = runs.filter((run) => belongs(run) && run.values.length <= 3000).slice(0, 60);
    const stride = kind === 'drift' ? 10 : 1;
    const most = kind === 'drift' ? 2000 : 50;
    const delays = members.map(({ values, injection }) => {
      if (injection.kind === 'clean') return Number.POSITIVE_INFINITY;
      for (let delay = 0; delay <= most && injection.at + delay < values.length; delay += stride) {
        const soFar = values.subarray(0, injection.at + delay + 1);
        if (judgePoints(soFar).incidents.some(({ onset }) => onset >= injection.at - 5)) return delay;
      }
      return Number.POSITIVE_INFINITY;
    });
    const found = delays.filter(Number.isFinite).sort((a, b) => a - b);
    const at = (share: number): number | undefined => found[Math.ceil(share * found.length) - 1];
    console.log(`| ${kind} | ${members.length} | ${found.length} | ${at(0.5)} | ${at(0.95)} | ${at(1)} |`);
  }
  let points = 0;
  const alarms = { jump: 0, climb: 0 };
  let runsWithAlarm = 0;
  const cleanRuns = [...generate(seed, 500, clean)]
    .filter(({ values }) => values.length <= 3000)
    .slice(0, 60);
  for (const { values } of cleanRuns) {
    points += values.length;
    const onsets = { jump: new Set<number>(), climb: new Set<number>() };
    for (let n = 10; n <= values.length; n += 10)
      for (const { onset, form } of judgePoints(values.subarray(0, n)).incidents) onsets[form].add(onset);
    // The onset of a level's change moves with every point that is added: it counts once a run.
    const levels = onsets.climb.size;
    alarms.jump += onsets.jump.size;
    alarms.climb += Math.min(1, levels);
    if (onsets.jump.size + levels > 0) runsWithAlarm++;
  }
  console.log(
    `\nFalse alarms at any length of ${cleanRuns.length} clean runs (${points} points): ${alarms.jump} jumps, ${alarms.climb} climbs, in ${runsWithAlarm} runs.`,
  );
}

/** Median and range of nine runs over a million points, in milliseconds. */
function speed(): void {
  const values = Float64Array.from({ length: 1_000_000 }, (_, i) => {
    const noise = Math.sin(i * 12.9898) * 43758.5453;
    return (0.5 + 5 * Math.exp(-i / 50_000)) * Math.exp(0.2 * (noise - Math.floor(noise) - 0.5));
  });
  const times = Array.from({ length: 9 }, () => {
    const start = performance.now();
    judgePoints(values);
    return performance.now() - start;
  }).sort((a, b) => a - b);
  const [fastest, median, slowest] = [times[0]!, times[4]!, times[8]!].map(Math.round);
  console.log(`\n1,000,000 points: ${median} ms (${fastest} to ${slowest})`);
}

for (const seed of process.argv.length > 2 ? process.argv.slice(2).map(Number) : [1]) {
  score(seed);
  notesOnCleanRuns(seed);
  onlineDelay(seed);
}
speed();
