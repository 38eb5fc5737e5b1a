/**
 * A folder of a hundred runs that grow, rotate, are copied and truncated, stall, diverge, turn into NaN and die, watched by the
 * built command: `npx tsx bench/watch/soak.ts [--minutes 60] [--runs 100] [--seed 1]`.
 *
 * Checks that every event is reported by exactly one message, within ten seconds, with one more when a stall is over; nothing of runs that
 * are well; no message again after the watcher was started anew; memory that does not grow. Prints each miss and ends with 1.
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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    runs: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
  },
});
const MINUTES = Number(values.minutes);
const RUNS = Number(values.runs);
/** Seconds without a record after which a run counts as stalled. */
const STALL = 15;
/** Within so many seconds an event is reported. */
const SOON = 10;

/** A generator of numbers from 0 to 1: mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
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

interface Run {
  readonly name: string;
  readonly path: string;
  readonly fate: Fate;
  /** Milliseconds after the start. */
  readonly at: number;
  readonly rotation: 'move' | 'copy' | 'none';
  step: number;
  wrote: number;
  dead: boolean;
  parts: number;
}

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-soak-'));
const length = MINUTES * 60_000;
/** The watcher is started anew here; nothing happens shortly before, so that it is seen by the old or the new one. */
const RESTART = 0.6 * length;

const runs: Run[] = Array.from({ length: RUNS }, (_, i) => {
  const fate = FATES[i % FATES.length]!;
  const name = `run-${String(i).padStart(3, '0')}-${fate}`;
  mkdirSync(join(folder, 'runs', name), { recursive: true });
  const at = length * (i % 2 === 0 ? 0.25 + 0.25 * random() : 0.7 + 0.15 * random());
  const rotation = fate === 'die' ? 'none' : (['move', 'copy', 'none'] as const)[i % 3]!;
  const file = fate === 'die' ? 'train.log' : 'log.jsonl';
  return {
    name,
    path: join(folder, 'runs', name, file),
    fate,
    at,
    rotation,
    step: 0,
    wrote: 0,
    dead: false,
    parts: 0,
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

function write(run: Run, losses: readonly (number | string)[], now: number): void {
  const lines = losses.map((loss) => {
    const step = run.step++;
    return run.fate === 'die' ? `step ${step} loss ${loss}\n` : `${JSON.stringify({ step, loss })}\n`;
  });
  appendFileSync(run.path, lines.join(''));
  run.wrote = now;
}

const OUT_OF_MEMORY = `Traceback (most recent call last):
  File "train.py", line 88, in <module>
    loss.backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
`;

/** What a run writes in this second. */
function second(run: Run, since: number, now: number): void {
  if (run.dead) return;
  const late = since >= run.at;
  const calm = (): number[] => Array.from({ length: 4 }, (_, i) => lossAt(run.step + i));
  if (!late || run.fate === 'well') {
    write(run, calm(), now);
  } else if (run.fate === 'diverge') {
    write(
      run,
      calm().map((loss) => loss + 80),
      now,
    );
    due(run, 'full-divergence begin', now);
  } else if (run.fate === 'nan') {
    write(
      run,
      calm().map(() => 'NaN'),
      now,
    );
    due(run, 'non-finite begin', now);
  } else if (run.fate === 'die') {
    appendFileSync(run.path, OUT_OF_MEMORY);
    run.dead = true;
    due(run, 'crash begin', now);
  } else {
    due(run, 'stall begin', run.wrote + STALL * 1000);
    if (run.fate === 'stall' || since < run.at + (STALL + 2 * SOON) * 1000) return;
    write(run, calm(), now);
    due(run, 'stall end', now);
  }
}

function rotate(run: Run): void {
  // Nothing is there to rotate after a move that nothing was written after.
  if (run.rotation === 'none' || run.dead || !existsSync(run.path)) return;
  for (let part = run.parts; part >= 1; part--) renameSync(`${run.path}.${part}`, `${run.path}.${part + 1}`);
  run.parts++;
  if (run.rotation === 'move') renameSync(run.path, `${run.path}.1`);
  else {
    copyFileSync(run.path, `${run.path}.1`);
    truncateSync(run.path, 0);
  }
}

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    const { alert, event } = JSON.parse(Buffer.concat(parts).toString()) as {
      alert: { run: string; class: string; message: string };
      event: string;
    };
    const planned = events.get(`${alert.run.split('/')[0]} ${alert.class} ${event}`);
    if (planned === undefined) unplanned.push(`${event} ${alert.class} of ${alert.run}: ${alert.message}`);
    else planned.told.push(Date.now());
    response.end();
  });
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

function startWatcher(): ChildProcess {
  const args = [
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

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => child.once('exit', () => resolve()));

const samples: { readonly since: number; readonly memory: number }[] = [];
const began = Date.now();
for (const run of runs)
  write(
    run,
    Array.from({ length: 400 }, (_, i) => lossAt(i)),
    began,
  );
let watcher = startWatcher();
let seconds = 0;
let restarted = false;
let lastSample = 0;
for (let since = 0; since < length; since = Date.now() - began) {
  const now = Date.now();
  for (const run of runs) {
    second(run, since, now);
    if (random() < 4 / (length / 1000)) rotate(run);
  }
  if (!restarted && since > RESTART) {
    restarted = true;
    ({ seconds } = usageOf(watcher));
    watcher.kill('SIGTERM');
    await ended(watcher);
    watcher = startWatcher();
  }
  if (since - lastSample > 10_000) {
    lastSample = since;
    samples.push({ since, memory: usageOf(watcher).memory });
  }
  await wait(Math.max(0, 1000 - (Date.now() - now)));
}
seconds += usageOf(watcher).seconds;
watcher.kill('SIGTERM');
await ended(watcher);
server.close();
rmSync(folder, { recursive: true });

const misses = [...events.values()].flatMap(({ run, what, due: at, told }) => {
  if (at === null) return [`${run}: ${what} did not happen: the soak is too short`];
  if (told.length !== 1) return [`${run}: ${what} was reported ${told.length} times`];
  const late = (told[0]! - at) / 1000;
  return late > SOON ? [`${run}: ${what} was reported after ${late.toFixed(1)} s`] : [];
});
const delays = [...events.values()].flatMap(({ due: at, told }) =>
  at === null ? [] : told.map((one) => (one - at) / 1000),
);
delays.sort((a, b) => a - b);
/** Of one process: from a minute after its start to its end. */
const own = samples.filter(({ since }) => since > RESTART + Math.min(60_000, 0.1 * length));
const [from, to] = [own[0]?.memory ?? Number.NaN, own.at(-1)?.memory ?? Number.NaN];
console.log(
  `${RUNS} runs, ${MINUTES} minutes, seed ${values.seed}: ${events.size} events, ${misses.length} missed, ${unplanned.length} reported that did not happen`,
);
console.log(
  `reported after ${delays.at(delays.length >> 1)?.toFixed(1)} s (median), ${delays.at(-1)?.toFixed(1)} s (latest)`,
);
console.log(
  `memory ${from.toFixed(0)} MB, at the end ${to.toFixed(0)} MB; ${seconds.toFixed(0)} s of processor time`,
);
for (const miss of [...misses, ...unplanned]) console.log(`- ${miss}`);
process.exitCode = misses.length + unplanned.length > 0 || to > 1.25 * from + 50 ? 1 : 0;
