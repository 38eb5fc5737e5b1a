/**
 * The longest lines that a printed log is searched in, 64 KiB, made to cost as much as they can: processor time of reading
 * each, the worst five. `npx tsx bench/worst-lines.ts` ends with 1 where one takes 50 ms or more.
 */
import { KERAS_BAR } from '../src/read/logs/keras-bars.ts';
import { LAYOUTS } from '../src/read/logs/printed-layouts.ts';
import { stdout } from '../src/read/logs/stdout.ts';
import { textOf, type WorstCase, worstCases } from '../test/support/regexp-steps.ts';

const LENGTH = 64 << 10;
const LIMIT = 50;

/** What the review found to take seconds, and what looks for its end in vain. */
const KNOWN: WorstCase[] = [
  { start: 'global_step=1 ', pump: 'a', end: '' },
  { start: '', pump: ' ', end: '{"a":1' },
  { start: '[x][INFO] - ', pump: '{"a":1', end: '' },
  { start: 'step=1, ', pump: 'a=', end: '' },
  { start: "{'loss': 1, 'epoch': ", pump: '1', end: '' },
  { start: 'iter 1: loss 1, ', pump: 'a ', end: '' },
];

const cases = [
  ...KNOWN,
  ...LAYOUTS.flatMap(({ line, marker }) =>
    worstCases(line).flatMap((one) => [one, { ...one, end: `${one.end} ${marker}` }]),
  ),
  ...worstCases(KERAS_BAR),
];

/** Milliseconds of processor time. */
async function timeOf(one: WorstCase): Promise<number> {
  const times = Math.floor((LENGTH - one.start.length - one.end.length - 1) / one.pump.length);
  const bytes = Buffer.from(`${textOf(one, times).replaceAll('\n', ' ')}\n`, 'latin1');
  const before = process.cpuUsage();
  await stdout.read(
    (async function* () {
      yield bytes;
    })(),
    'worst.log',
    { path: 'worst.log' } as never,
  );
  const { user, system } = process.cpuUsage(before);
  return (user + system) * 1e-3;
}

const times: { milliseconds: number; one: WorstCase }[] = [];
for (const one of cases) times.push({ milliseconds: await timeOf(one), one });
times.sort((a, b) => b.milliseconds - a.milliseconds);
const worst = times.slice(0, 100);
// Collections of garbage and compilation fall on one line or another: those that took longest are taken again.
for (const entry of worst)
  for (let i = 0; i < 3; i++) entry.milliseconds = Math.min(entry.milliseconds, await timeOf(entry.one));
worst.sort((a, b) => b.milliseconds - a.milliseconds);
for (const { milliseconds, one } of worst.slice(0, 5))
  console.log(`${milliseconds.toFixed(1)} ms  ${JSON.stringify(one)}`);
console.log(`${times.length} lines of 64 KiB`);
process.exitCode = worst[0]!.milliseconds < LIMIT ? 0 : 1;
