/**
 * What evaluations do to verdicts on the made runs: wrong answers of healthy runs, right ones of hurt runs, without and with them.
 *
 *     npx tsx bench/detection/evaluated.ts [--seed N] [--count N] [--points N]
 *
 * An evaluation follows the level of the last points, or a falling curve of its own (healthy runs alone: what hurts no evaluation is of
 * the rows), with noise of its own; there are twelve a run.
 */
import { parseArgs } from 'node:util';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { medianOf } from '../../src/model/order-statistics.ts';
import type { Run, TimeSeries } from '../../src/model/run.ts';
import { KINDS, type MadeRun, madeRuns } from './made.ts';
import { asRun, seeded } from './runs.ts';

const { values: options } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '40' },
    points: { type: 'string', default: '60,220,600' },
  },
});
const EVALUATIONS = 12;
const NOISES = [0.02, 0.1, 0.3];

type Curve = (end: number, values: Float64Array) => number;
const CURVES: Readonly<Record<string, Curve>> = {
  follows: (end, values) =>
    medianOf(values.subarray(Math.max(0, end - Math.max(5, values.length >> 5)), end)),
  own: (end, values) => 0.5 + 1.8 * Math.exp((-6 * end) / values.length),
};

/** A run with evaluations of so much noise. */
function evaluated({ values }: MadeRun, curve: Curve, noise: number, random: () => number): Run {
  const run = asRun(values, 1, 'made');
  const every = Math.floor(values.length / EVALUATIONS);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const step = Float64Array.from({ length: EVALUATIONS }, (_, k) => (k + 1) * every - 1);
  const value = step.map((at) => curve(at + 1, values) * Math.exp(noise * normal()));
  const series: TimeSeries = { ...run.series[0]!, name: 'eval_loss', role: 'eval_loss', step, value };
  return { ...run, series: [...run.series, series] };
}

for (const n of options.points.split(',').map(Number))
  for (const [name, curve] of Object.entries(CURVES))
    for (const noise of NOISES) {
      const random = seeded(Number(options.seed));
      const counts = { healthy: [0, 0, 0], hurt: [0, 0, 0] };
      for (const [row, kind] of KINDS.entries()) {
        if (name === 'own' && kind.group === 'hurt') continue;
        for (const made of madeRuns(kind, n, Number(options.count), Number(options.seed) * 1000 + row)) {
          const run = evaluated(made, curve, noise, random);
          const [without, withThem] = [{ ...run, series: run.series.slice(0, 1) }, run].map((each) => {
            const { class: found, onsetStep: onset } = judgeRun(each).verdict;
            return kind.right({ class: found, onset }, made);
          });
          const count = counts[kind.group];
          count[0]!++;
          if (without) count[1]!++;
          if (withThem) count[2]!++;
        }
      }
      for (const [group, [all, without, withThem]] of Object.entries(counts))
        if (all! > 0)
          console.log(
            `${n} points, ${name}, ${100 * noise} %, ${group}: right ${without} of ${all} without evaluations, ${withThem} with`,
          );
    }
