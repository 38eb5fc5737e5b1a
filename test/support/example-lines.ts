/** Lines of the help and of the docs, read by a shell and run in a folder that has the files they name. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cli } from './cli.ts';
import { projectRoot } from './shared-data.ts';

/** Lines that train or differentiate: they run in the long project. */
export const TAKES_LONG = / (?:matrix|curvature) /;

interface ShellWords {
  /** The words of the command. */
  readonly args: readonly string[];
  /** What it would read from standard input. */
  readonly input: string;
}

/** What a shell, one for all, makes of lines that run in a folder. */
function readByShell(lines: readonly string[], cwd: string): ReadonlyMap<string, ShellWords> {
  const told = mkdtempSync(join(tmpdir(), 'clippy-diag-words-'));
  try {
    const script = [
      `clippy-diag() { printf '%s\\0' "$@" >&3; cat >&4; }`,
      ...lines.map((line, i) => `( ${line}\n) 3>"$0/${i}.args" 4>"$0/${i}.input" || exit 1`),
    ].join('\n');
    const { status } = spawnSync('bash', ['-c', script, told], {
      cwd,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    expect(status).toBe(0);
    const of = (i: number, what: string): string => readFileSync(join(told, `${i}.${what}`), 'utf8');
    return new Map(
      lines.map((line, i) => [line, { args: of(i, 'args').split('\0').slice(0, -1), input: of(i, 'input') }]),
    );
  } finally {
    rmSync(told, { recursive: true, force: true });
  }
}

/** Makes a test of each line, `clippy-diag …`: it runs without an error. */
export function testLines(lines: readonly string[]): void {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-examples-'));
  let words: ReadonlyMap<string, ShellWords>;
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  beforeAll(async () => {
    const copy = (from: string, to: string): void =>
      cpSync(join(projectRoot, 'fixtures', from), join(folder, to), { recursive: true });
    copy('checkpoints/pytorch2/adamw.pt', 'checkpoint.pt');
    mkdirSync(join(folder, 'runs/a'), { recursive: true });
    copy('logs/healthy-tb/input.tfevents', 'runs/a/events.out.tfevents.1719849387.host');
    const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), 'utf8');
    writeFileSync(join(folder, 'train.jsonl'), log.replaceAll('"loss":', '"train/nll": 0.5, "loss":'));
    for (const name of ['before', 'after', 'again1', 'again2', 'again3', 'a1', 'a2', 'a3', 'b1', 'b2', 'b3'])
      writeFileSync(join(folder, `${name}.jsonl`), log);
    writeFileSync(
      join(folder, 'train.log'),
      Array.from({ length: 40 }, (_, k) => `${k} | ${(2 / (k + 1)).toFixed(4)}\n`).join(''),
    );
    for (const [side, rate] of [
      ['good', 0.1],
      ['bad', 3],
    ] as const) {
      mkdirSync(join(folder, side));
      writeFileSync(join(folder, side, 'config.json'), JSON.stringify({ lr: rate, name: side }));
      const targets = Array.from({ length: 40 }, (_, k) => (side === 'bad' && k === 17 ? 1e6 : 2 + (k % 3)));
      writeFileSync(join(folder, `${side}.csv`), `${targets.join('\n')}\n`);
    }
    writeFileSync(
      join(folder, 'train.py'),
      [
        'import json, sys',
        'rate = json.load(open(sys.argv[1]))["lr"]',
        'w = 0.0',
        'for step, line in enumerate(open(sys.argv[2] if len(sys.argv) > 2 else "good.csv")):',
        '    error = w - float(line)',
        '    print(json.dumps({"step": step, "loss": error * error}))',
        '    w -= 2 * rate * error',
      ].join('\n'),
    );
    copy('incident/capture', 'capture');
    copy('ledgers/base', 'run');
    copy('incident/capture', 'fixtures/incident/capture');
    copy('incident/capture/initial.safetensors', 'step-900.safetensors');
    copy('captures/seed-2/initial.safetensors', 'step-1000.safetensors');
    copy('studies/stream/study.yaml', 'study.yaml');
    for (const file of ['model.json', 'batch.npz']) copy(`curvature/embeddings/${file}`, file);
    copy('curvature/embeddings/checkpoint.safetensors', 'runs/a/step-100.safetensors');
    if (lines.some((line) => line.includes('shard-1.json')))
      for (const part of [1, 2])
        await cli(['matrix', 'study.yaml', '--shard', `${part}/2`, '--report', `json:shard-${part}.json`], {
          cwd: folder,
        });
    await cli(['baseline', 'update', 'runs/'], { cwd: folder });
    await cli(['analyze', 'train.jsonl', '--report', 'json:report.json'], { cwd: folder });
    words = readByShell(lines, folder);
  });

  it.each(lines)('%s', async (line) => {
    const { args, input } = words.get(line)!;
    // A watcher goes on until its log is silent for a while.
    const more = args[0] === 'watch' ? ['--idle-exit', '1'] : [];
    const { code, err } = await cli([...args, ...more], { cwd: folder, input });
    expect(err).not.toMatch(/error\[|^bug:/m);
    // 1: the gate of an example may fail on the run; that is its answer.
    expect(code).toBeLessThanOrEqual(/ (gate|watch) |--fail-on/.test(line) ? 1 : 0);
  });
}
