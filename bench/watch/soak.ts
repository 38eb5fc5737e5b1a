/**
 * A folder of a hundred runs (JSON lines, printed text with progress bars, CSV, event files) that grow, rotate, are copied and truncated, stall, resume, diverge, turn into NaN and die, watched by the
 * built command: `npx tsx bench/watch/soak.ts [--minutes 60] [--runs 100] [--rate 0.5] [--seed 1]`.
 *
 * Checks that every event is reported by exactly one message, within ten seconds, with one more when a stall is over; nothing of runs that
 * are well; no message again after the watcher was started anew; memory that does not grow; a watcher that never ends by itself.
 * Prints a line each minute, then the delays, each miss, and ends with 1 where there is one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { random as randomOf } from '../../test/support/random.ts';
import { eventOf } from '../../test/support/training-logs.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    runs: { type: 'string', default: '100' },
    rate: { type: 'string', default: '0.5' },
    seed: { type: 'string', default: '1' },
  },
});
const MINUTES = Number(values.minutes);
const RUNS = Number(values.runs);
/** Records that a run writes each second. */
const RATE = Number(values.rate);
/** Seconds without a record after which a run counts as stalled. */
const STALL = 15;
/** Within so many seconds an event is reported. */
const SOON = 10;

const random = randomOf(Number(values.seed));

const FATES = ['well', 'well', 'well', 'diverge', 'nan', 'stall', 'resume', 'die'] as const;
type Fate = (typeof FATES)[number];

interface Event {
  readonly run: string;
  readonly what: string;
  /** Milliseconds: when the log showed it; null before. */
  due: number | null;
  readonly told: number[];
}

/** As many as have no divisor in common with the fates: each fate comes in each kind. */
const KINDS = ['json', 'json', 'json', 'printed', 'printed', 'csv', 'events'] as const;
const FILES = {
  json: 'log.jsonl',
  printed: 'train.log',
  csv: 'metrics.csv',
  events: 'events.out.tfevents.1700000000.host',
} as const;
const CSV_HEADER = 'step,loss,lr\n';

interface Run {
  readonly name: string;
  readonly kind: (typeof KINDS)[number];
  readonly path: string;
  readonly fate: Fate;
  /** Milliseconds after the start. */
  readonly at: number;
  readonly rotation: 'move' | 'copy' | 'none';
  /** Records that were high or no number. */
  bad: number;
  /** Seconds that it has lived. */
  ticks: number;
  step: number;
  wrote: number;
  dead: boolean;
  parts: number;
  /** Milliseconds: when it was rotated. */
  readonly rotated: number[];
  /** Seconds after its last record at which a run that stalls is rotated. */
  readonly rotatesIn: number;
  /** Seconds since it stalled. */
  silent: number;
}

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-soak-'));
const memoryFile = join(folder, 'memory.jsonl');
const length = MINUTES * 60_000;
/** The watcher is started anew here; nothing happens shortly before, so that it is seen by the old or the new one. */
const RESTART = 0.6 * length;

const runs: Run[] = Array.from({ length: RUNS }, (_, i) => {
  const fate = FATES[i % FATES.length]!;
  const name = `run-${String(i).padStart(3, '0')}-${fate}`;
  mkdirSync(join(folder, 'runs', name), { recursive: true });
  const early = Math.min(length * (0.25 + 0.25 * random()), RESTART - (STALL + 4 * SOON) * 1000);
  const at = i % 2 === 0 ? early : length * (0.7 + 0.15 * random());
  const kind = fate === 'die' ? 'printed' : KINDS[i % KINDS.length]!;
  // Nobody rotates a table, which would begin without its header, or an event file.
  const rotation =
    fate === 'die' || kind === 'csv' || kind === 'events'
      ? 'none'
      : (['move', 'copy', 'none'] as const)[i % 3]!;
  return {
    name,
    kind,
    path: join(folder, 'runs', name, FILES[kind]),
    fate,
    at,
    rotation,
    bad: 0,
    // Not all write in the same second.
    ticks: i,
    step: 0,
    wrote: 0,
    dead: false,
    parts: 0,
    rotated: [],
    rotatesIn: 1 + Math.floor(4 * random()),
    silent: 0,
  };
});

const events = new Map<string, Event>();
const unplanned: string[] = [];
function plan(run: string, what: string): void {
  events.set(`${run} ${what}`, { run, what, due: null, told: [] });
}
for (const { name, fate } of runs) {
  if (fate === 'diverge') plan(name, 'full-divergence begin');
  if (fate === 'nan') plan(name, 'non-finite begin');
  if (fate === 'stall' || fate === 'resume') plan(name, 'stall begin');
  if (fate === 'resume') plan(name, 'stall end');
  if (fate === 'die') plan(name, 'crash begin');
}
const due = (run: Run, what: string, at: number): void => {
  const event = events.get(`${run.name} ${what}`)!;
  event.due ??= at;
};

const lossAt = (step: number): number =>
  0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898) + 0.01 * random();

/** A record; of printed text with a bar that was drawn over, so that files have 64 KiB soon and are read on. */
function lineOf(kind: Run['kind'], step: number, loss: number | string): string | Buffer {
  if (kind === 'events') return eventOf(step, [['loss', Number(loss)]]);
  if (kind === 'json') return `${JSON.stringify({ step, loss })}\n`;
  if (kind === 'csv') return `${step === 0 ? CSV_HEADER : ''}${step},${loss},0.001\n`;
  const bars = [1, 2, 3].map((k) => `\r${25 * k}%|${'█'.repeat(k)}${' '.repeat(4 - k)}| ${k}/4 [00:0${k}]`);
  return `${bars.join('')}\n[trainer] INFO step ${step} loss ${loss} lr 0.001 grad_norm 1.5 tokens/s 1000\n`;
}

function write(run: Run, losses: readonly (number | string)[], now: number): void {
  const lines = losses.map((loss) => {
    const step = run.step++;
    return lineOf(run.kind, step, loss);
  });
  if (lines.length === 0) return;
  appendFileSync(run.path, Buffer.concat(lines.map((line) => Buffer.from(line))));
  run.wrote = now;
}

const OUT_OF_MEMORY = `Traceback (most recent call last):
  File "train.py", line 88, in <module>
    loss.backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
`;

/** Losses of a run that is well, of as many records as it writes in a second: of half a record a second one in every other one. */
function calmLosses(run: Run): number[] {
  run.ticks++;
  const records = Math.floor(run.ticks * RATE) - Math.floor((run.ticks - 1) * RATE);
  return Array.from({ length: records }, (_, i) => lossAt(run.step + i));
}

/** What a run writes in this second. */
function second(run: Run, since: number, now: number): void {
  if (run.dead) return;
  const calm = calmLosses(run);
  if (since < run.at || run.fate === 'well') {
    write(run, calm, now);
  } else if (run.fate === 'die') {
    appendFileSync(run.path, OUT_OF_MEMORY);
    run.dead = true;
    due(run, 'crash begin', now);
  } else if (run.fate === 'stall' || run.fate === 'resume') {
    due(run, 'stall begin', run.wrote + STALL * 1000);
    // The time of the file is then not that of its last record.
    if (++run.silent === run.rotatesIn) rotate(run);
    const isBack = run.fate === 'resume' && since >= run.at + (STALL + 2 * SOON) * 1000;
    if (!isBack || calm.length === 0) return;
    write(run, calm, now);
    due(run, 'stall end', now);
  } else if (calm.length > 0) {
    const isNan = run.fate === 'nan';
    write(
      run,
      calm.map((loss) => (isNan ? 'NaN' : loss + 80)),
      now,
    );
    // One point that is high is a spike: a divergence begins to show with the next one.
    run.bad += calm.length;
    if (isNan) due(run, 'non-finite begin', now);
    else if (run.bad > 1) due(run, 'full-divergence begin', now);
  }
}

function rotate(run: Run): void {
  // Nothing is there to rotate after a move that nothing was written after.
  if (run.rotation === 'none' || run.dead || !existsSync(run.path)) return;
  for (let part = run.parts; part >= 1; part--) renameSync(`${run.path}.${part}`, `${run.path}.${part + 1}`);
  run.parts++;
  run.rotated.push(Date.now());
  if (run.rotation === 'move') renameSync(run.path, `${run.path}.1`);
  else {
    copyFileSync(run.path, `${run.path}.1`);
    truncateSync(run.path, 0);
  }
}

/** Notes which event a message of the watcher reports. */
function receive(body: string): void {
  const { alert, event } = JSON.parse(body) as {
    alert: { run: string; class: string; message: string };
    event: string;
  };
  const planned = events.get(`${alert.run.split('/')[0]} ${alert.class} ${event}`);
  if (planned === undefined) unplanned.push(`${event} ${alert.class} of ${alert.run}: ${alert.message}`);
  else planned.told.push(Date.now());
}

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts).toString();
    try {
      receive(body);
    } catch {
      unplanned.push(`a message that is no alert: ${body.slice(0, 200)}`);
    }
    response.end();
  });
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

function startWatcher(): ChildProcess {
  const args = [
    '--expose-gc',
    '--import',
    './bench/watch/memory.js',
    'bin/run.js',
    'watch',
    join(folder, 'runs'),
    '--stall',
    `${STALL}s`,
    '--notify',
    'webhook',
    '--no-config',
  ];
  args.push('--state', join(folder, 'state.json'), '--metrics', join(folder, 'clippy-diag.prom'));
  return spawn(process.execPath, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      CLIPPY_DIAG_WEBHOOK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
      CLIPPY_DIAG_SOAK_MEMORY: memoryFile,
      CLIPPY_DIAG_SOAK_EVERY: String(length / 24),
    },
  });
}

/** Megabytes that a process has in memory and seconds of processor time that it took; NaN where the system does not say. */
function usageOf({ pid }: ChildProcess): { readonly memory: number; readonly seconds: number } {
  try {
    const [, kB = 'NaN'] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return { memory: Number(kB) / 1024, seconds: (Number(fields[11]) + Number(fields[12])) / 100 };
  } catch {
    return { memory: Number.NaN, seconds: Number.NaN };
  }
}

/** Ends a watcher; one that has ended before is a miss. */
async function endWatcher(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  await ended;
}

interface Sample {
  readonly since: number;
  /** Of the watcher, in MB. */
  readonly memory: number;
  /** Processes that want the processor, of the whole machine, over the last minute. */
  readonly load: number;
}
const samples: Sample[] = [];
const failures: string[] = [];
const began = Date.now();
for (const run of runs)
  write(
    run,
    Array.from({ length: 400 }, (_, i) => lossAt(i)),
    began,
  );
let watcher = startWatcher();
let seconds = 0;
let starts = 1;
/** Milliseconds by which the slowest second of the writer came late: what it wrote then was written late. */
let slowest = 0;

/** Starts a watcher in the place of one that was ended, or that ended by itself. */
function startAgain(): void {
  watcher = startWatcher();
  starts++;
}

/** Seconds from each event to its message, of those that were reported. */
const delaysSoFar = (): number[] =>
  [...events.values()].flatMap(({ due: at, told }) =>
    at === null ? [] : told.slice(0, 1).map((one) => (one - at) / 1000),
  );

function sample(since: number): void {
  const { memory } = usageOf(watcher);
  const [load = Number.NaN] = loadavg();
  samples.push({ since, memory, load });
  if (samples.length % 6 === 1)
    console.log(
      `minute ${(since / 60_000).toFixed(0)}: ${memory.toFixed(0)} MB, load ${load.toFixed(1)}, ` +
        `${[...events.values()].filter(({ told }) => told.length > 0).length} of ${events.size} events reported, ` +
        `the latest after ${Math.max(0, ...delaysSoFar()).toFixed(1)} s`,
    );
}

/** A second of all runs. What the file system refuses is a failure of the soak, not of the watcher; it is said. */
function allRuns(since: number, now: number): void {
  for (const run of runs)
    try {
      second(run, since, now);
      if (random() < 4 / (length / 1000)) rotate(run);
    } catch (error) {
      failures.push(`${run.name} at ${(since / 1000).toFixed(0)} s: ${String(error)}`);
      run.dead = true;
    }
}

async function soak(): Promise<void> {
  let restarted = false;
  for (let since = 0; since < length; since = Date.now() - began) {
    const now = Date.now();
    allRuns(since, now);
    if (!restarted && since > RESTART) {
      restarted = true;
      ({ seconds } = usageOf(watcher));
      await endWatcher(watcher);
      startAgain();
    } else if (watcher.exitCode !== null || watcher.signalCode !== null) {
      failures.push(
        `the watcher ended after ${(since / 1000).toFixed(0)} s with ${watcher.exitCode ?? watcher.signalCode}`,
      );
      startAgain();
    }
    if (since - (samples.at(-1)?.since ?? -10_000) >= 10_000) sample(since);
    const took = Date.now() - now;
    slowest = Math.max(slowest, took - 1000);
    await wait(Math.max(0, 1000 - took));
  }
}

/** What the watchers held, as `memory.js` wrote it. */
let held: {
  at: number;
  rss: number;
  heapUsed: number;
  heapTotal: number;
  arrayBuffers: number;
  external: number;
  collections: number;
}[] = [];

try {
  await soak();
  // What happened last is reported within ten seconds.
  await wait(SOON * 1000);
  seconds += usageOf(watcher).seconds;
} finally {
  await endWatcher(watcher);
  if (existsSync(memoryFile))
    held = readFileSync(memoryFile, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  server.close();
  rmSync(folder, { recursive: true, force: true });
}

const misses = [...events.values()].flatMap(({ run, what, due: at, told }) => {
  if (at === null) return [`${run}: ${what} did not happen: the soak is too short`];
  if (told.length !== 1) return [`${run}: ${what} was reported ${told.length} times`];
  return [];
});
const delays = delaysSoFar().sort((a, b) => a - b);
const late = [...events.values()].flatMap(({ run, what, due: at, told: [first] }) =>
  at === null || first === undefined || first - at <= SOON * 1000
    ? []
    : [`${run}: ${what} was reported after ${((first - at) / 1000).toFixed(1)} s`],
);
const quantile = (share: number): string =>
  (delays[Math.min(delays.length - 1, Math.floor(share * delays.length))] ?? Number.NaN).toFixed(1);
/** Of the second process: from a minute after its start to its end. */
const own = samples.filter(({ since }) => since > RESTART + Math.min(60_000, 0.1 * length));
const memoryAt = (list: readonly Sample[], share: number): number =>
  list[Math.min(list.length - 1, Math.floor(share * list.length))]?.memory ?? Number.NaN;
const first = samples.filter(({ since }) => since > 20_000 && since < RESTART);
const loads = samples.map(({ load }) => load).sort((a, b) => a - b);

console.log(
  `${RUNS} runs, ${MINUTES} minutes, ${RATE} records a second each, seed ${values.seed}: ${events.size} events, ` +
    `${misses.length} not reported once, ${late.length} late, ${unplanned.length} reported that did not happen`,
);
console.log(
  `reported after ${quantile(0.5)} s (median), ${quantile(0.9)} s (90 %), ${quantile(0.99)} s (99 %), ${quantile(1)} s (latest)`,
);
for (const [words, list] of [
  ['first watcher', first],
  ['second watcher', own],
] as const)
  console.log(
    `memory of the ${words}: ${[0, 0.5, 1].map((share) => memoryAt(list, share).toFixed(0)).join(', ')} MB at its start, middle and end`,
  );
console.log(
  `${starts} starts, ${seconds.toFixed(0)} s of processor time; load of the machine ${loads[0]?.toFixed(1)} to ${loads.at(-1)?.toFixed(1)}, ` +
    `median ${loads[loads.length >> 1]?.toFixed(1)}; the writer was at most ${(slowest / 1000).toFixed(1)} s late`,
);
console.log('minute  MB in all  in use after a collection: objects  numbers  collections so far');
for (const { at, rss, heapUsed, arrayBuffers, collections } of held)
  console.log(
    [(at - began) / 60_000, ...[rss, heapUsed, arrayBuffers].map((bytes) => bytes / 2 ** 20)]
      .map((number) => number.toFixed(1).padStart(8))
      .join('') + String(collections).padStart(8),
  );
console.log('the slowest:');
for (const { run, what, due: at, told } of [...events.values()]
  .filter((one): one is Event & { due: number } => one.due !== null && one.told.length > 0)
  .sort((a, b) => b.told[0]! - b.due - (a.told[0]! - a.due))
  .slice(0, 8)) {
  const { rotated, rotation } = runs.find(({ name }) => name === run)!;
  const near = rotated
    .filter((one) => Math.abs(one - at) < 30_000)
    .map((one) => ((one - at) / 1000).toFixed(1));
  console.log(
    `- ${run}: ${what} at ${((at - began) / 1000).toFixed(1)} s, after ${((told[0]! - at) / 1000).toFixed(1)} s; ${rotation} at ${near.join(', ') || '-'} s from it`,
  );
}
for (const line of [...misses, ...late, ...unplanned, ...failures]) console.log(`- ${line}`);
const isFlat = memoryAt(own, 1) <= 1.25 * memoryAt(own, 0) + 50;
if (!isFlat) console.log('- memory grew');
const isWell = misses.length + late.length + unplanned.length + failures.length === 0 && isFlat;
process.exitCode = isWell ? 0 : 1;
