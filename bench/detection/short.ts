/**
 * Jumps, climbs and false incidents in series as short as captures and runs of epochs are, most of them falling.
 *
 *     npx tsx bench/detection/short.ts
 *
 * Prints Markdown: of 1,000 runs a row, how many are found. docs/detection.md holds the result. Jumps: the loss falls by e² over the run with log-normal noise
 * of 10 %, and is ×2 to ×10 (uniform) from 50 to 80 % of the run on; found within 2 points. Replay has the first half as history; a recorder sees the
 * losses as they come. Clean: noise of 10 % with Student tails (3 degrees of freedom); every incident is a false one. Climbs: to ×1.8 to ×7.2 from 30 to
 * 70 % of the run on, 30 to 100 points, noise of 0.2 to 30 %; found is any incident.
 */
import { judgeAttempt } from '../../src/judge/incidents/judge-attempt.ts';
import { judgeLosses } from '../../src/judge/incidents/losses.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { lossStream } from '../../src/judge/incidents/stream.ts';
import { seeded } from './runs.ts';

const RUNS = 1000;

/** Uniform, standard normal and Student (3) numbers of a seed. */
function numbers(seed: number) {
  const uniform = seeded(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const student = (): number => normal() / Math.sqrt((normal() ** 2 + normal() ** 2 + normal() ** 2) / 3);
  return { uniform, normal, student };
}
const judge = (losses: readonly number[]) =>
  judgeAttempt(Float64Array.from(losses), DEFAULT_VERDICT_SETTINGS, { levelSays: true, isWhole: true })
    .incidents;
const near = (onset: number | undefined, at: number): boolean =>
  onset !== undefined && Math.abs(onset - at) <= 2;
const row = (...cells: readonly (string | number)[]): void => console.log(`| ${cells.join(' | ')} |`);

row('jumps ×2 to ×10 on falling losses', 'verdict of a log', 'replay, closed loop', 'recorder');
row('---', '---', '---', '---');
for (const points of [40, 55, 100, 300]) {
  const { uniform, normal } = numbers(points);
  let log = 0;
  let replay = 0;
  let recorder = 0;
  for (let run = 0; run < RUNS; run++) {
    const at = Math.floor(points * (0.5 + 0.3 * uniform()));
    const ratio = 2 + 8 * uniform();
    const losses = Array.from(
      { length: points },
      (_, i) => Math.exp((-2 * i) / points + 0.1 * normal()) * (i < at ? 1 : ratio),
    );
    if (judge(losses).some(({ onset }) => near(onset, at))) log++;
    const half = points >> 1;
    if (near(judgeLosses(losses.slice(half), losses.slice(0, half)).incident?.onset, at - half)) replay++;
    const stream = lossStream();
    if (
      near(
        losses.findIndex((loss) => stream.add(loss)?.begins === true),
        at,
      )
    )
      recorder++;
  }
  row(`${points} points`, log, replay, recorder);
}

console.log();
row('clean runs of 55 points, Student tails', 'with a jump', 'with a climb');
row('---', '---', '---');
for (const fall of [0, 2]) {
  const { student } = numbers(7);
  let jumps = 0;
  let climbs = 0;
  for (let run = 0; run < RUNS; run++) {
    const found = judge(Array.from({ length: 55 }, (_, i) => Math.exp((-fall * i) / 55 + 0.1 * student())));
    if (found.some(({ form }) => form === 'jump')) jumps++;
    if (found.some(({ form }) => form === 'climb')) climbs++;
  }
  row(fall === 0 ? 'flat' : `falling by e^${fall}`, jumps, climbs);
}

console.log();
row('climbs in runs of 30 to 100 points', 'Gaussian noise', 'Student tails');
row('---', '---', '---');
for (const fall of [0, 1, 2]) {
  const found = (['normal', 'student'] as const).map((noise) => {
    const draw = numbers(11);
    let hits = 0;
    for (let run = 0; run < RUNS; run++) {
      const points = 30 + Math.floor(70 * draw.uniform());
      const at = Math.floor(points * (0.3 + 0.4 * draw.uniform()));
      const length = Math.max(3, Math.floor((points - at) * (0.3 + 0.7 * draw.uniform())));
      const ratio = 1.8 * 4 ** draw.uniform();
      const sigma = 0.002 * 150 ** draw.uniform();
      const losses = Array.from(
        { length: points },
        (_, i) =>
          Math.exp((-fall * Math.min(i, at)) / points + sigma * draw[noise]()) *
          ratio ** Math.min(1, Math.max(0, (i - at) / length)),
      );
      if (judge(losses).length > 0) hits++;
    }
    return hits;
  });
  row(fall === 0 ? 'flat before' : `falling by e^${fall}`, ...found);
}
