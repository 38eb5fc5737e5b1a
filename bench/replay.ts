/**
 * What a replay of recorded steps takes: the command as a whole process under six rules, beside the memory bound of each rule and
 * step: parameter, gradient and state are read, parameter and state are written, at the rate at which float32s are copied.
 *
 *     npm run build && npx tsx bench/replay.ts [MILLION PARAMETERS = 4] [STEPS = 4] [RUNS = 3] [OPTIMIZER = adagrad] [RULE…]
 *
 * The optimizer may have options: adamw:weightDecay=0.01. The capture (float32 in eight tensors, no snapshots) is written first,
 * with fixed noise: 4 bytes a parameter for each step and for the parameters and each slot before. BUILD names another built
 * checkout, which is run before this one each time. Prints processor time, time by the clock (with the
 * threads that a replay takes by itself) and peak memory of each run.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createCapture } from '../src/read/captures/write.ts';
import { chooseOptimizer } from '../src/step/optimizers/registry.ts';

const [millions = '4', steps = '4', runs = '3', named = 'adagrad', ...asked] = process.argv.slice(2);
const [name, ...given] = named.split(/[:,]/);
const options = Object.fromEntries(
  given.map((one) => {
    const [key, value] = one.split('=');
    return [key!, value === 'true' ? true : Number(value)];
  }),
);
const choice = chooseOptimizer(name!, options);
const slots = choice.optimizer.slots(choice.options).map((slot) => slot.name);
const rules = asked.length > 0 ? asked : ['none', 'value', 'global-norm', 'agc', 'lars', 'clippy'];
const TENSORS = 8;
const rows = Math.round((Number(millions) * 1e6) / TENSORS / 1000);
const shape = [rows, 1000];
const parameters = Array.from({ length: TENSORS }, (_, k) => ({
  name: `layer${k}/kernel`,
  shape,
  layout: 'IO' as const,
  embedding: false,
}));

let state = 1;
/** Values in (-size, size). */
const noise = (size: number): Float32Array => {
  const values = new Float32Array(rows * 1000);
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = (size * state) / 2 ** 31;
  }
  return values;
};

/** Of a gradient, that is read, of its parameter and its state, which are read and written. A copy reads one and writes one. */
const MOVED_BYTES = 4 + 8 * (1 + slots.length);
const COPIED_BYTES = 8;
/** 64 MB to 64 MB: a replay has its arrays in no cache near the processor either. */
const copyFrom = new Float32Array(16e6).fill(1);
const copyTo = new Float32Array(copyFrom.length).fill(0);
function nanosecondsOfCopy(): number {
  const begin = process.cpuUsage();
  copyTo.set(copyFrom);
  const { user, system } = process.cpuUsage(begin);
  return (1000 * (user + system)) / copyFrom.length;
}

const folder = mkdtempSync(join(tmpdir(), 'replay-bench-'));
try {
  const optimizer = { name: name!, ...choice.options };
  const writer = await createCapture(
    folder,
    { framework: 'bench', optimizer, parameters },
    parameters.map(() => noise(0.05)),
    parameters.map(() =>
      Object.fromEntries(
        slots.map((slot) => [
          slot,
          slot === 'accumulator'
            ? noise(0.1).map(Math.abs)
            : slot === 'v'
              ? // Above the square of m.
                noise(1e-4).map((x) => 1e-4 + Math.abs(x))
              : noise(0.01),
        ]),
      ),
    ),
  );
  for (let step = 0; step < Number(steps); step++)
    await writer.step({
      step,
      learningRate: 0.01,
      loss: 1,
      gradients: parameters.map(() => ({ values: noise(0.01) })),
    });
  await writer.finish();

  const entries = rows * 1000 * TENSORS;
  const copies = Array.from({ length: 7 }, nanosecondsOfCopy).sort((a, b) => a - b);
  const bound = (MOVED_BYTES / COPIED_BYTES) * copies[3]!;
  console.log(
    `${entries / 1e6} million parameters, ${steps} steps, ${rules.length} rules; a float32 is copied in ${copies[3]!.toFixed(2)} ns (${copies[0]!.toFixed(2)}..${copies[6]!.toFixed(2)}): the memory bound of a rule and step, ${MOVED_BYTES} bytes, is ${bound.toFixed(2)} ns a parameter`,
  );
  const own = new URL('../dist/run.js', import.meta.url).href;
  const { BUILD: other } = process.env;
  const builds = other === undefined ? [own] : [pathToFileURL(join(other, 'dist/run.js')).href, own];
  for (const program of Array.from({ length: Number(runs) }, () => builds).flat()) {
    const begin = performance.now();
    const { stderr, status } = spawnSync(
      process.execPath,
      [
        ...['--input-type=module', '-e'],
        `const { run, processIo } = await import(${JSON.stringify(program)});
         process.exitCode = await run(process.argv.slice(1), processIo());
         const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
         let kilobytes = maxRSS;
         // Linux counts what this process was before it became node: the bench with all of its arrays.
         try { kilobytes = Number(/VmHWM:\\s*(\\d+)/.exec((await import('node:fs')).readFileSync('/proc/self/status', 'utf8'))[1]); } catch {}
         process.stderr.write(JSON.stringify({ seconds: (userCPUTime + systemCPUTime) / 1e6, megabytes: kilobytes / 1024 }));`,
        ...['replay', folder, '--mode', 'as-recorded', '--json'],
        ...rules.flatMap((rule) => ['--rule', rule]),
      ],
      { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'], maxBuffer: 1 << 28 },
    );
    const found = /\{"seconds".*\}$/.exec(stderr);
    // 4: no verdict, of steps too few to tell that the losses have no incident.
    if ((status !== 0 && status !== 4) || found === null) throw new Error(stderr);
    const { seconds, megabytes } = JSON.parse(found[0]) as { seconds: number; megabytes: number };
    const wall = (performance.now() - begin) / 1000;
    const [each, byClock] = [seconds, wall].map(
      (time) => (1e9 * time) / (entries * Number(steps) * rules.length),
    );
    console.log(
      `  ${program === own ? '' : `${other}: `}${seconds.toFixed(2)} s of processor time, ${wall.toFixed(2)} s by the clock, ${megabytes.toFixed(0)} MB; a rule and step takes ${each!.toFixed(1)} ns a parameter, ${(each! / bound).toFixed(2)} times the bound, and ${(byClock! / bound).toFixed(2)} times by the clock`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
