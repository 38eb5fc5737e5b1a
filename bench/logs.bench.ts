/**
 * How fast logs are read, beside reading their bytes alone, and what memory it takes.
 *
 *     npx tsx bench/logs.bench.ts            every format, 5 runs each, a process a run
 *     npx tsx bench/logs.bench.ts jsonl 3    one format, 3 runs
 *
 * Prints the median with the smallest and largest run, by processor time: a busy machine stretches the other kind (which
 * is shown for the read itself). The files are made first, in the folder for temporary files,
 * with a fixed seed. Results with machine and command stand in docs/performance.md.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, createReadStream, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { readChunks } from '../src/read/bytes/chunks.ts';
import { crc32c, maskedCrc32c } from '../src/read/bytes/crc32c.ts';
import { openFile } from '../src/read/bytes/source.ts';
import { readLogFile } from '../src/read/logs/read-log.ts';

/** A small generator (mulberry32), so that the files are the same everywhere. */
const random = (seed: number): (() => number) => {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
};

function* textLines(lines: number, line: (step: number, next: () => number) => string): Generator<Buffer> {
  const next = random(1);
  let text = '';
  for (let step = 0; step < lines; step++) {
    text += line(step, next);
    if (text.length > 1 << 20) {
      yield Buffer.from(text);
      text = '';
    }
  }
  yield Buffer.from(text);
}

/** Scalar events as torch's SummaryWriter writes them: one simple_value each, three tags. */
function* eventRecords(records: number): Generator<Buffer> {
  const next = random(1);
  const tags = ['train/loss', 'train/grad_norm', 'lr'].map((tag) => Buffer.from(tag));
  let parts: Buffer[] = [];
  let bytes = 0;
  for (let k = 0; k < records; k++) {
    const tag = tags[k % 3]!;
    const step = Math.floor(k / 3);
    const value = Buffer.alloc(2 + tag.length + 5);
    value.set([0x0a, tag.length]);
    value.set(tag, 2);
    value[2 + tag.length] = 0x15;
    value.writeFloatLE(next(), 3 + tag.length);
    const stepBytes: number[] = [];
    for (let rest = step; ; rest = Math.floor(rest / 128)) {
      stepBytes.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
      if (rest < 128) break;
    }
    const data = Buffer.alloc(9 + 1 + stepBytes.length + 2 + 2 + value.length);
    data[0] = 0x09;
    data.writeDoubleLE(1.7e9 + step, 1);
    data[9] = 0x10;
    data.set(stepBytes, 10);
    const at = 10 + stepBytes.length;
    data.set([0x2a, value.length + 2, 0x0a, value.length], at);
    data.set(value, at + 4);
    const record = Buffer.alloc(12 + data.length + 4);
    record.writeUInt32LE(data.length, 0);
    record.writeUInt32LE(maskedCrc32c(crc32c(record, 0, 8)), 8);
    record.set(data, 12);
    record.writeUInt32LE(maskedCrc32c(crc32c(data)), 12 + data.length);
    parts.push(record);
    bytes += record.length;
    if (bytes > 1 << 20) {
      yield Buffer.concat(parts);
      parts = [];
      bytes = 0;
    }
  }
  yield Buffer.concat(parts);
}

const FILES: Record<string, () => Generator<Buffer>> = {
  // 1,000,000 lines of 82 bytes: step, loss, grad_norm, learning_rate.
  jsonl: () =>
    textLines(
      1_000_000,
      (step, next) =>
        `{"step": ${step}, "loss": ${(next() + 0.1).toFixed(5)}, "grad_norm": ${(9 * next()).toFixed(5)}, "learning_rate": ${(next() / 1000).toFixed(5)}}\n`,
    ),
  csv: () =>
    (function* () {
      yield Buffer.from('step,loss,grad_norm,lr,val_loss,auc\n');
      yield* textLines(
        2_400_000,
        (step, next) =>
          `${step},${(next() + 0.1).toFixed(6)},${(9 * next()).toFixed(6)},${(next() / 1000).toFixed(8)},${step % 100 === 0 ? next().toFixed(6) : ''},${next().toFixed(6)}\n`,
      );
    })(),
  'csv, 17 digits': () =>
    (function* () {
      yield Buffer.from('step,loss,grad_norm,lr\n');
      yield* textLines(1_800_000, (step, next) => `${step},${next()},${next() * 9},${next() / 1000}\n`);
    })(),
  tfevents: () => eventRecords(1_800_000),
  stdout: () =>
    textLines(
      1_000_000,
      (step, next) =>
        `step:${step}/1000000 train_loss:${(next() + 3).toFixed(4)} train_time:${step * 174}ms step_avg:174.04ms and 40 more bytes of text\n`,
    ),
  // A layout that no dialect knows; beside it the peer `expression`.
  'stdout, any layout': () =>
    textLines(
      600_000,
      (step, next) =>
        `[2026-11-26 12:00:00,123][INFO] Epoch: [${Math.floor(step / 5000)}] [${String(step % 5000).padStart(4)}/5000]  eta: 1:02:00  lr: 0.001000  loss: ${(next() + 3).toFixed(4)} (3.5123)  grad_norm: ${(9 * next()).toFixed(4)}  time: 0.4121  data: 0.0021  max mem: 7312\n`,
    ),
};

interface Result {
  /** Processor time, user and system. */
  readonly seconds: number;
  readonly wallSeconds: number;
  readonly megabytes: number;
}

/** What a child process does: `bytes` reads, `log` reads into series, `expression` reads lines and two numbers of each. */
async function measure(what: string, path: string): Promise<Result> {
  const begin = process.hrtime.bigint();
  const before = process.cpuUsage();
  if (what === 'expression') {
    // What a script would do: each line, one expression, two numbers.
    const losses: number[] = [];
    const lines = createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY });
    for await (const line of lines) {
      const found = /\[ *(\d+)\/\d+\].*? loss: (\S+)/.exec(line);
      if (found !== null) losses.push(Number(found[1]), Number(found[2]));
    }
    if (losses.length === 0) throw new Error('the expression found nothing');
  } else if (what === 'bytes') for await (const _ of readChunks(await openFile(path)));
  else {
    const log = await readLogFile(path, { sidecars: false });
    if (log.errors.length > 0 || log.lost > 0) throw new Error(JSON.stringify(log.errors));
  }
  const { user, system } = process.cpuUsage(before);
  return {
    seconds: (user + system) / 1e6,
    wallSeconds: Number(process.hrtime.bigint() - begin) / 1e9,
    megabytes: process.resourceUsage().maxRSS / 1024,
  };
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;

async function main(): Promise<void> {
  const [only, repeats = '5'] = process.argv.slice(2);
  if (only === '--child') {
    process.stdout.write(JSON.stringify(await measure(process.argv[3]!, process.argv[4]!)));
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'logs-bench-'));
  try {
    process.stdout.write(`${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.versions.node}\n`);
    process.stdout.write(
      'format               MB  read it (processor)     wall      its bytes  ratio  peak memory\n',
    );
    for (const [format, make] of Object.entries(FILES)) {
      if (only !== undefined && only !== format) continue;
      const path = join(folder, 'log');
      const file = openSync(path, 'w');
      for (const chunk of make()) writeSync(file, chunk);
      closeSync(file);
      const size = statSync(path).size / 1e6;
      const run = (what: string): Result[] =>
        Array.from({ length: Number(repeats) }, () => {
          const child = spawnSync(
            process.execPath,
            ['--import', 'tsx', fileURLToPath(import.meta.url), '--child', what, path],
            { encoding: 'utf8' },
          );
          if (child.status !== 0) throw new Error(child.stderr);
          return JSON.parse(child.stdout) as Result;
        });
      run('bytes');
      const bytes = median(run('bytes').map((one) => one.seconds));
      const runs = run('log');
      const seconds = runs.map((one) => one.seconds);
      const read = median(seconds);
      const rate = (time: number): string => (size / time).toFixed(0);
      process.stdout.write(
        `${format.padEnd(18)} ${size.toFixed(0).padStart(4)}  ${`${rate(read)} MB/s (${rate(Math.max(...seconds))}..${rate(Math.min(...seconds))})`.padEnd(22)}` +
          `  ${rate(median(runs.map((one) => one.wallSeconds)))} MB/s  ${rate(bytes)} MB/s  ${(bytes / read).toFixed(2)}  ${median(runs.map((one) => one.megabytes)).toFixed(0)} MB\n`,
      );
      if (format === 'stdout, any layout')
        process.stdout.write(
          `  readline and one expression: ${rate(median(run('expression').map((one) => one.seconds)))} MB/s (processor)\n`,
        );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
