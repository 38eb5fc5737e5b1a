/** What is written never replaces what was read, and two outputs never share a file. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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

/** A run with what its trainer keeps beside the log, and a capture. */
function run(): string {
  const folder = scratch();
  cpSync(join(projectRoot, 'fixtures/captures/seed-2'), join(folder, 'run/capture'), { recursive: true });
  copyFileSync(join(projectRoot, 'fixtures/logs/healthy/input.jsonl'), join(folder, 'run/log.jsonl'));
  writeFileSync(join(folder, 'run/config.json'), '{"lr": 0.1}\n');
  return folder;
}

describe('a report over a file that the walk read is refused with 5, and the file stays', () => {
  it.each([
    ['the settings of the run', 'run/config.json'],
    ['its log', 'run/log.jsonl'],
    ['the manifest of its capture', 'run/capture/capture.json'],
    ['a tensor file of its capture', 'run/capture/initial.safetensors'],
  ])('%s', async (_what, file) => {
    const folder = run();
    const before = readFileSync(join(folder, file));
    for (const command of ['analyze', 'gate']) {
      const args = [command, 'run', '--report', `json:${file}`];
      const { code, err } = await cli(command === 'gate' ? [...args, '--settle', '0'] : args, {
        cwd: folder,
      });
      expect([command, code, err.split(':')[0]]).toEqual([command, 5, 'error[output-is-input]']);
      expect(readFileSync(join(folder, file)).equals(before)).toBe(true);
    }
  });

  it('but a report of before in the folder of the run is replaced', async () => {
    const folder = run();
    for (let time = 0; time < 2; time++)
      expect((await cli(['analyze', 'run', '--report', 'json:run/report.json'], { cwd: folder })).code).toBe(
        0,
      );
  });
});

describe('a link out of the working tree', () => {
  const LOG = join(projectRoot, 'fixtures/logs/healthy/input.jsonl');
  const tree = () => {
    const outside = scratch();
    const folder = scratch();
    mkdirSync(join(folder, '.git'));
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(outside, 'bashrc'), 'mine\n');
    return { folder, outside, mine: () => readFileSync(join(outside, 'bashrc'), 'utf8') };
  };
  const report = (cwd: string, path: string) => cli(['analyze', LOG, '--report', `html:${path}`], { cwd });

  it('is not followed by a report: neither of the file nor of a folder above it', async () => {
    const { folder, outside, mine } = tree();
    symlinkSync(join(outside, 'bashrc'), join(folder, 'report.html'));
    symlinkSync(outside, join(folder, 'out'));
    for (const path of ['report.html', 'out/bashrc', 'out/new.html', 'sub/../report.html']) {
      const { code, err } = await report(folder, path);
      expect([path, code, err.split(':')[0]]).toEqual([path, 5, 'error[output-link-outside]']);
    }
    expect([mine(), readdirSync(outside)]).toEqual(['mine\n', ['bashrc']]);
    // From a folder of the repository too.
    expect((await report(join(folder, 'sub'), '../report.html')).code).toBe(5);
  });

  it('is one thing, a link within the tree and a file that was named outside of it are others', async () => {
    const { folder, outside } = tree();
    symlinkSync('sub', join(folder, 'reports'));
    for (const path of ['reports/a.html', join(outside, 'b.html')]) {
      expect([path, (await report(folder, path)).code]).toEqual([path, 0]);
    }
    expect(readdirSync(join(folder, 'sub'))).toEqual(['a.html']);
    expect(readdirSync(outside).sort()).toEqual(['b.html', 'bashrc']);
  });

  it('that leads nowhere is replaced by the report, which stays in the tree', async () => {
    const { folder, outside } = tree();
    symlinkSync(join(outside, 'nothing'), join(folder, 'report.html'));
    expect((await report(folder, 'report.html')).code).toBe(0);
    expect(readdirSync(outside)).toEqual(['bashrc']);
  });
});

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
