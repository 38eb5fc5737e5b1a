/**
 * The stream of a recorder on the made runs: how often healthy runs begin a capture, and how soon hurt ones do.
 *
 *     npx tsx bench/detection/stream.ts [--seed N] [--count N] [--points N] [--only TEXT]
 */
import { parseArgs } from 'node:util';
import { lossStream } from '../../src/judge/incidents/stream.ts';
import { medianOf } from '../../src/model/order-statistics.ts';
import { KINDS, type Kind, type MadeRun, madeRuns } from './made.ts';

const { values: options } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '50' },
    points: { type: 'string', default: '600' },
    only: { type: 'string', default: '' },
  },
});

/** Made jumps at the noise of a small batch, beside those of the table. */
const NOISY_JUMPS: readonly Kind[] = [2, 3, 6, 12, 30].map((factor) => ({
  name: `jump of × ${factor} that stays at 45 %`,
  group: 'hurt',
  asked: null,
  make(random, n) {
    const at = Math.floor(n * (0.3 + 0.4 * random()));
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const level = (i: number): number => (0.4 + 1.9 * Math.exp((-10 * i) / n)) * (i < at ? 1 : factor);
    const values = Float64Array.from({ length: n }, (_, i) => level(i) * Math.exp(0.45 * normal()));
    return { values, at, until: n };
  },
  right: () => true,
}));

/** Positions at which captures begin. */
function beginsOf({ values }: MadeRun): readonly number[] {
  const stream = lossStream();
  return [...values].flatMap((loss, i) => (stream.add(loss)?.begins === true ? [i] : []));
}

console.log('| row | runs | begin before the harm | seen within 10 points | ever | median delay |');
console.log('|---|---|---|---|---|---|');
for (const [row, kind] of [...KINDS, ...NOISY_JUMPS].entries()) {
  if (!kind.name.includes(options.only)) continue;
  const runs = [
    ...madeRuns(kind, Number(options.points), Number(options.count), Number(options.seed) * 1000 + row),
  ];
  const found = runs.map((run) => {
    const at = run.at ?? run.values.length;
    const begins = beginsOf(run);
    return { before: begins.some((i) => i < at), delay: (begins.find((i) => i >= at) ?? Number.NaN) - at };
  });
  const count = (is: (one: (typeof found)[number]) => boolean): number => found.filter(is).length;
  const delays = found.map(({ delay }) => delay).filter(Number.isFinite);
  const seen =
    kind.group === 'healthy'
      ? ['', '', '']
      : [count(({ delay }) => delay < 10), delays.length, Math.round(medianOf(delays))];
  console.log(`| ${[kind.name, runs.length, count(({ before }) => before), ...seen].join(' | ')} |`);
}
