/** Every example of every command's help runs, in a shell, in a folder that has the files it names. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-examples-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeAll(async () => {
  const copy = (from: string, to: string): void =>
    cpSync(join(projectRoot, 'fixtures', from), join(folder, to), { recursive: true });
  mkdirSync(join(folder, 'runs/a'), { recursive: true });
  copy('logs/healthy-tb/input.tfevents', 'runs/a/events.out.tfevents.1719849387.host');
  const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), 'utf8');
  writeFileSync(join(folder, 'train.jsonl'), log.replaceAll('"loss":', '"train/nll": 0.5, "loss":'));
  copy('incident/capture', 'capture');
  copy('incident/capture', 'fixtures/incident/capture');
  copy('incident/capture/initial.safetensors', 'step-900.safetensors');
  copy('captures/seed-2/initial.safetensors', 'step-1000.safetensors');
  await cli(['baseline', 'update', 'runs/'], { cwd: folder });
  await cli(['analyze', 'train.jsonl', '--report', 'json:report.json'], { cwd: folder });
});

const { commands } = JSON.parse(readFileSync(join(projectRoot, 'oclif.manifest.json'), 'utf8')) as {
  commands: Record<string, { id: string; examples?: string[] }>;
};
const examples = Object.values(commands).flatMap(({ id, examples = [] }) =>
  examples.map((text) =>
    text.replaceAll('<%= config.bin %>', 'clippy-diag').replaceAll('<%= command.id %>', id.replace(':', ' ')),
  ),
);

/** Examples whose files no fixture has; their flags are tested where the command is. */
const elsewhere = /--batch batch\.npz/;

describe('examples in --help', () => {
  it('are there for every command', async () =>
    expect(Object.keys(commands).filter((id) => commands[id]!.examples === undefined)).toEqual([]));

  it.each(examples.filter((line) => !elsewhere.test(line)))('%s', async (line) => {
    const { status, stderr } = spawnSync(
      'bash',
      [
        '-c',
        // A watcher goes on until its log is silent for a while.
        `clippy-diag() { "$NODE" "$BIN" "$@"; }; ${line}${/ watch /.test(line) ? ' --idle-exit 1' : ''}`,
      ],
      {
        cwd: folder,
        env: { ...process.env, NODE: process.execPath, BIN: join(projectRoot, 'bin/run.js') },
        encoding: 'utf8',
        timeout: 60_000,
      },
    );
    expect(stderr).not.toMatch(/error\[|^bug:/m);
    // 1: the gate of an example may fail on the run; that is its answer.
    expect(status).toBeLessThanOrEqual(/ (gate|watch) |--fail-on/.test(line) ? 1 : 0);
  });
});
