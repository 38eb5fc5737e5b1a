/** What is written never replaces what was read, and two outputs never share a file. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, linkSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('outputs');

const STUDY = `version: 1
data: { file: log.csv, order: column t, train: 320, test: 80 }
columns: { x: dense, y: { label: y, loss: sigmoid-cross-entropy } }
models: { m: { shared: { type: shared-bottom, units: [2], activation: relu } } }
rules: [none]
learningRates: [0.05]
seeds: 1
batch: 16
`;

/** A folder with one of each input, and a second name for each. */
function inputs(): string {
  const folder = scratch();
  copyFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), join(folder, 'log.jsonl'));
  writeFileSync(join(folder, '.clippy-diag.yaml'), 'version: 1\nextends: recommended\n');
  writeFileSync(join(folder, 'study.yaml'), STUDY);
  writeFileSync(
    join(folder, 'log.csv'),
    `t,x,y\n${Array.from({ length: 400 }, (_, i) => `${i},${Math.sin(i)},${i % 2}`).join('\n')}\n`,
  );
  for (const name of ['log.jsonl', 'log.csv', '.clippy-diag.yaml', 'study.yaml']) {
    symlinkSync(name, join(folder, `link-to-${name}`));
    linkSync(join(folder, name), join(folder, `same-as-${name}`));
  }
  return folder;
}

describe('an output over an input is refused with 5 before the work, by every name of the file', () => {
  const cases: [file: string, args: (file: string) => string[]][] = [
    ['log.jsonl', (file) => ['analyze', 'log.jsonl', '--report', `json:${file}`]],
    ['.clippy-diag.yaml', (file) => ['analyze', 'log.jsonl', '--report', `json:${file}`]],
    ['.clippy-diag.yaml', (file) => ['gate', 'log.jsonl', '--report', `junit:${file}`]],
    ['log.jsonl', (file) => ['watch', 'log.jsonl', '--idle-exit', '1', '--state', file]],
    ['.clippy-diag.yaml', (file) => ['watch', 'log.jsonl', '--idle-exit', '1', '--state', file]],
    ['study.yaml', (file) => ['matrix', 'study.yaml', '--report', `json:${file}`]],
    ['log.csv', (file) => ['matrix', 'study.yaml', '--report', `csv:${file}`]],
  ];
  it.each(cases)('%s %#', async (file, args) => {
    const folder = inputs();
    const before = readFileSync(join(folder, file), 'utf8');
    for (const name of [file, `./${file}`, `link-to-${file}`, `same-as-${file}`]) {
      const { code, err } = await cli(args(name), { cwd: folder });
      expect([name, code, err.split(':')[0]]).toEqual([name, 5, 'error[output-is-input]']);
      expect(readFileSync(join(folder, file), 'utf8')).toBe(before);
    }
  });

  it('a state to go on from that is none is damaged input, and stays', async () => {
    const folder = inputs();
    for (const args of [
      ['matrix', 'study.yaml', '--resume', 'study.yaml'],
      ['matrix', 'study.yaml', '--resume', 'log.jsonl'],
      ['baseline', 'update', 'log.jsonl', '--settle', '0', '--file', 'log.jsonl'],
    ]) {
      const before = readFileSync(join(folder, args.at(-1)!), 'utf8');
      expect([args.join(' '), (await cli(args, { cwd: folder })).code]).toEqual([args.join(' '), 3]);
      expect(readFileSync(join(folder, args.at(-1)!), 'utf8')).toBe(before);
    }
  });

  it('a log that is not there yet is not made by the state of its watcher', async () => {
    const folder = scratch();
    expect((await cli(['watch', 'new.jsonl', '--state', './new.jsonl'], { cwd: folder })).code).toBe(5);
  });
});

it('two outputs to one file are a usage error, by whatever names', async () => {
  const folder = inputs();
  symlinkSync('.', join(folder, 'here'));
  for (const command of [
    ['analyze', 'log.jsonl'],
    ['gate', 'log.jsonl'],
    ['matrix', 'study.yaml'],
  ]) {
    const { code, err } = await cli(
      [...command, '--report', 'json:a.out', '--report', 'markdown:here/a.out'],
      { cwd: folder },
    );
    expect([command[0], code]).toEqual([command[0], 2]);
    expect(err).toContain('two reports are to be written to');
  }
});

it('a watcher of what is no file ends with 3, at once', async () => {
  const folder = scratch();
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  for (const path of ['pipe', '/dev/null']) {
    const { code, err } = await cli(['watch', path, '--idle-exit', '1', '--state', 'state'], { cwd: folder });
    expect([path, code]).toEqual([path, 3]);
    expect(err).toContain('error[file-not-regular]');
  }
});
