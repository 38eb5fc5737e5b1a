/** `teach`, `inspect --tokens`, and what a config says of how a log is read. */
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { inventedLog } from '../logs/made-layouts.ts';
import { cli } from '../support/cli.ts';

const made = inventedLog('tr and va');
let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'teach-'));
  writeFileSync(join(cwd, 'train.log'), made.text);
});
const run = (...args: string[]) => cli(args, { cwd });
interface Inspected {
  inputs: {
    readBy?: { how: string; statement: string };
    runs: { series: { name: string; role: string; points: number; last: number }[] }[];
  }[];
}
const inspected = async (...args: string[]): Promise<Inspected['inputs'][number]> =>
  (JSON.parse((await run('inspect', 'train.log', '--json', ...args)).out) as Inspected).inputs[0]!;

describe('inspect --tokens', () => {
  it('shows the numbers of a line, their names and what they are for', async () => {
    const { code, out } = await run('inspect', '--tokens', '[rank0]: step 3/100 | train loss 2.5 | 10:02:03');
    expect(code).toBe(0);
    expect(out).toMatch(/#1\s+0\s+"rank"\s+rank/);
    expect(out).toMatch(/#2\s+3\s+"step"\s+step/);
    expect(out).toMatch(/#3\s+2\.5\s+"train loss"\s+train loss/);
    expect(out).toMatch(/clock\s+10:02:03/);
  });
  it('is the line again, piece by piece', async () => {
    const line = "  {'loss': nan, 'lr': 1e-4} done";
    const { out } = await run('inspect', '--tokens', line, '--json');
    const { tokens } = JSON.parse(out) as { tokens: { text: string }[] };
    expect(tokens.map(({ text }) => text).join('')).toBe(line);
  });
});

describe('teach', () => {
  it('shows the tables of a log', async () => {
    const { code, out } = await run('teach', 'train.log');
    expect(code).toBe(0);
    expect(out).toContain('table 1: 120 lines like line 1');
    expect(out).toContain('[0000] tr ');
    expect(out).toMatch(/column 2 {2}tr/);
  });
  it('writes a layout that the log is read by from then on, and proves it on a twin', async () => {
    expect((await inspected()).readBy?.how).toBe('guess');
    const { code, out } = await run(
      'teach',
      'train.log',
      '--column',
      '1=step',
      '--column',
      '2=loss',
      '--column',
      '3=eval_loss',
    );
    expect({ code, out }).toMatchObject({
      code: 0,
      out: expect.stringContaining('a twin with NaN in line 61'),
    });
    const config = readFileSync(join(cwd, '.clippy-diag.yaml'), 'utf8');
    expect(config).toContain('version: 2');
    const log = await inspected();
    expect(log.readBy).toMatchObject({ how: 'layout', statement: expect.stringContaining('taught') });
    expect(log.runs[0]!.series).toMatchObject([
      { name: 'loss', role: 'loss', points: 120, last: made.losses.at(-1) },
      { name: 'val loss', role: 'eval_loss', points: 120 },
    ]);
    expect((await inspected('--no-config')).readBy?.how).toBe('guess');
    // A gate judges it without asking, since nobody guessed.
    expect((await run('gate', 'train.log', '--settle', '0')).code).toBe(0);
    expect(
      (await run('gate', 'train.log', '--settle', '0', '--no-config', '--rule', 'full-divergence')).code,
    ).toBe(4);
    const accepted = await run(
      'gate',
      'train.log',
      '--settle',
      '0',
      '--no-config',
      '--rule',
      'full-divergence',
      '--accept-guess',
    );
    expect(accepted.code).toBe(0);
  });
  it('keeps what a config says already, with its comments', async () => {
    const file = join(cwd, '.clippy-diag.yaml');
    writeFileSync(file, '# ours\nversion: 1\nrules:\n  nan: error # never\n');
    await run('teach', 'train.log', '--column', '1=step', '--column', '2=loss');
    const config = readFileSync(file, 'utf8');
    expect(config).toContain('# ours');
    expect(config).toContain('nan: error # never');
    await run('teach', 'train.log', '--column', '1=step', '--column', '2=loss');
    expect(readFileSync(file, 'utf8').match(/name: taught/g)).toHaveLength(1);
  });
  it('writes nothing with --print, and where a column does not exist', async () => {
    expect((await run('teach', 'train.log', '--column', '2=loss', '--print')).code).toBe(0);
    expect((await run('teach', 'train.log', '--column', '9=loss')).code).toBe(2);
    expect((await run('teach', 'train.log', '--column', '2=lost')).code).toBe(2);
    expect(existsSync(join(cwd, '.clippy-diag.yaml'))).toBe(false);
  });
});

describe('--map and map', () => {
  it('chooses a column by its number', async () => {
    const log = await inspected('--map', 'loss=#3');
    expect(log.readBy?.how).toBe('layout');
    expect(log.runs[0]!.series.find(({ role }) => role === 'loss')).toMatchObject({
      name: '#3',
      points: 120,
    });
  });
  it('a config gives roles, also of names that a log lacks', async () => {
    writeFileSync(
      join(cwd, 'm.jsonl'),
      Array.from({ length: 20 }, (_, k) => `{"step":${k},"misfit":${1 / (k + 1)}}\n`).join(''),
    );
    writeFileSync(join(cwd, '.clippy-diag.yaml'), 'version: 2\nmap:\n  loss: [misfit, other]\n');
    const { out, code } = await run('inspect', 'm.jsonl', '--json');
    expect(code).toBe(0);
    const { series } = (JSON.parse(out) as Inspected).inputs[0]!.runs[0]!;
    expect(series).toContainEqual(expect.objectContaining({ name: 'misfit', role: 'loss' }));
  });
});
