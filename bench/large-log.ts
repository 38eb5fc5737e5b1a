/**
 * A log of 24 million lines: what `inspect` and `analyze` take of processor time and memory.
 *
 *     npm run build && npx tsx bench/large-log.ts [LINES] [REPEATS] [BIN]
 *
 * JSON lines of step, loss, gradient norm and learning rate, a falling loss and a cosine schedule; 24,000,000 are 2.1 GB of
 * disk in the folder for temporary files. `printed` is as a trainer prints them, with a few decimals; `float32` as Python
 * writes numbers of that type in full. BIN runs another build (`../other/bin/run.js`) in turn with this one; that both
 * write the same report is checked.
 */
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spread, type Taken, take } from './taken.ts';

const [lines = '24000000', repeats = '1', other] = process.argv.slice(2);
const own = fileURLToPath(new URL('../bin/run.js', import.meta.url));
const bins = [own, ...(other === undefined ? [] : [resolve(other)])];

const KINDS: Readonly<Record<string, (value: number, decimals: number) => string | number>> = {
  printed: (value, decimals) => value.toFixed(decimals),
  float32: (value) => Math.fround(value),
};

/** Mulberry32: the same log on every machine. */
function random(): () => number {
  let state = 7;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function writeLog(path: string, count: number, text: (value: number, decimals: number) => string | number) {
  const next = random();
  const file = openSync(path, 'w');
  let piece = '';
  for (let step = 0; step < count; step++) {
    const loss = 0.5 + 2 * Math.exp((-5 * step) / count) + 0.1 * next();
    const norm = 1 + 0.3 * next();
    const rate = 0.0005 * (1 + Math.cos((Math.PI * step) / count)) + 1e-6;
    piece += `{"step": ${step}, "loss": ${text(loss, 5)}, "grad_norm": ${text(norm, 5)}, "learning_rate": ${text(rate, 7)}}\n`;
    if (piece.length > 1 << 20) {
      writeSync(file, piece);
      piece = '';
    }
  }
  writeSync(file, piece);
  closeSync(file);
}

const folder = mkdtempSync(join(tmpdir(), 'large-log-'));
const path = join(folder, 'train.jsonl');
try {
  const load = loadavg()[0]!.toFixed(1);
  console.log(`${cpus()[0]!.model}, ${cpus().length} cores, Node ${process.version}, load ${load}`);
  for (const [kind, text] of Object.entries(KINDS)) {
    writeLog(path, Number(lines), text);
    const size = statSync(path).size / 1e6;
    for (const command of ['inspect', 'analyze']) {
      const runs = new Map<string, Taken[]>(bins.map((bin) => [bin, []]));
      for (let k = 0; k < Number(repeats); k++)
        for (const bin of bins) runs.get(bin)!.push(take(bin, [command, path, '--json']));
      for (const [bin, all] of runs) {
        const rates = all.map(({ seconds }) => size / seconds);
        console.log(
          `${kind.padEnd(8)} ${size.toFixed(0)} MB  ${command.padEnd(8)} ${spread(
            all.map(({ seconds }) => seconds),
            1,
          )} s of processor time, ${spread(rates, 0)} MB/s, wall ${spread(
            all.map(({ wall }) => wall),
            1,
          )} s, ${spread(
            all.map(({ megabytes }) => megabytes),
            0,
          )} MB at the peak${bin === own ? '' : `  (${bin})`}`,
        );
      }
      const reports = new Set([...runs.values()].flatMap((all) => all.map(({ sha256 }) => sha256)));
      if (reports.size > 1) console.log(`${kind} ${command}: the reports differ`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
