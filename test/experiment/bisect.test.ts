/** Bisection of a small training in a real Git repository: faults planted in code, configuration and data. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { filled } from '../../src/app/bisect/bisect.ts';
import { type Chosen, smallestSet } from '../../src/experiment/compare/smallest-set.ts';
import type { Bisect } from '../../src/model/bisect.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('bisect');

/** Linear regression by momentum; each version of it is a commit. */
const training = (gradient: string): string => `
import { readFileSync } from 'node:fs';
const [config, data] = process.argv.slice(2);
const { lr, momentum, steps } = JSON.parse(readFileSync(config, 'utf8')).train;
const rows = readFileSync(data, 'utf8').trim().split('\\n').map((line) => line.split(',').map(Number));
let [w, b, v, u] = [0, 0, 0, 0];
for (let step = 0; step < steps; step++) {
  const batch = Array.from({ length: 8 }, (_, k) => rows[(8 * step + k) % rows.length]);
  const n = batch.length;
  const errors = batch.map(([x, y]) => w * x + b - y);
  console.log(JSON.stringify({ step, loss: errors.reduce((sum, e) => sum + e * e, 0) / n }));
  const dw = errors.reduce((sum, e, k) => sum + 2 * e * batch[k][0], 0) ${gradient};
  const db = errors.reduce((sum, e) => sum + 2 * e, 0) ${gradient};
  v = momentum * v + dw; w -= lr * v;
  u = momentum * u + db; b -= lr * u;
}
`;
const RIGHT = '/ n';
const WRONG = '/ Math.sqrt(n)';

const config = (train: object, more: object = {}): string =>
  JSON.stringify({ name: 'a', train: { lr: 0.05, momentum: 0.5, steps: 60, ...train }, ...more });

/** Lines of `x,y` with y about 3x + 1, and one replaced where it is asked for. */
const lines = (print: (value: number) => string, replaced?: readonly [at: number, line: string]): string =>
  `${Array.from({ length: 64 }, (_, k) => {
    const x = Math.sin(k * 1.7);
    return k === replaced?.[0] ? replaced[1] : `${print(x)},${print(3 * x + 1 + 0.3 * Math.cos(k * 2.3))}`;
  }).join('\n')}\n`;

let world: string;
const at = (path: string): string => join(world, path);
const git = (...args: string[]): string => {
  const names = ['-c', 'user.name=a', '-c', 'user.email=a@b.c', '-c', 'init.defaultBranch=main'];
  const { status, stdout, stderr } = spawnSync('git', ['-C', at('repository'), ...names, ...args], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  return stdout.trim();
};

/** Subjects of the commits; the code of each. */
const HISTORY: readonly (readonly [subject: string, code: string])[] = [
  ['first', training(RIGHT)],
  ['a comment', `// trains\n${training(RIGHT)}`],
  ['half a change', `${training(RIGHT)}}`],
  ['the other half', `// trains a line\n${training(RIGHT)}`],
  ['mean over the batch, shorter', training(WRONG)],
  ['another comment', `// trains\n${training(WRONG)}`],
  ['a third comment', `// trains a line\n${training(WRONG)}`],
];

beforeAll(() => {
  world = scratch();
  for (const folder of ['repository', 'a', 'b']) mkdirSync(at(folder));
  git('init', '-q');
  for (const [subject, code] of HISTORY) {
    writeFileSync(at('repository/train.mjs'), code);
    git('add', '.');
    git('commit', '-q', '-m', subject);
  }
  writeFileSync(at('a/config.json'), config({}));
  writeFileSync(
    at('b/config.json'),
    config({ momentum: 0.97 }, { name: 'b', note: ['x'], log: { every: 5 } }),
  );
  writeFileSync(at('good.csv'), lines(String));
  // Eight lines are written otherwise and mean the same; one is wrong.
  writeFileSync(
    at('bad.csv'),
    lines(String, [37, '0.5,900'])
      .split('\n')
      .map((line, k) => (k % 8 === 3 ? line.replace(',', ', ') : line))
      .join('\n'),
  );
});

let folders = 0;
async function bisected(
  args: readonly string[],
  command: readonly string[],
): Promise<{
  readonly code: number | null;
  readonly bisect: Bisect;
  readonly folder: string;
  readonly err: string;
}> {
  const folder = at(`trials-${folders++}`);
  const { code, out, err } = await cli([
    ...['bisect', '--good', at('a'), '--folder', folder, '--json', ...args],
    '--',
    ...command,
  ]);
  const document = JSON.parse(out) as { bisect: Bisect };
  return { code, bisect: document.bisect, folder, err };
}

const commits = (): string[] => ['--repository', at('repository'), '--commits', 'main~6..main'];

describe('finds what was planted', () => {
  it('in code: the one commit, over one that does not run', async () => {
    const before = git('status', '--porcelain', '--ignored') + git('rev-parse', 'HEAD');
    const { code, bisect } = await bisected(commits(), [
      ...['node', '{commit}/train.mjs', at('a/config.json'), at('good.csv')],
    ]);
    expect(bisect).toMatchObject({ found: true, differing: 6 });
    expect(bisect.changes.map(({ kind, name }) => [kind, name.slice(11)])).toEqual([
      ['commit', 'mean over the batch, shorter'],
    ]);
    expect(code).toBe(0);
    expect(bisect.trials.length).toBeLessThanOrEqual(6);
    expect(git('status', '--porcelain', '--ignored') + git('rev-parse', 'HEAD')).toBe(before);
    expect(readdirSync(at('repository/.git'))).not.toContain('worktrees');
  });

  it('in the configuration: the one key of four', async () => {
    const { code, bisect } = await bisected(
      ['--bad', at('b')],
      ['node', at('repository/train.mjs'), '{config}', at('good.csv')],
    );
    expect(code).toBe(0);
    expect(bisect.differing).toBe(4);
    expect(bisect.changes).toEqual([{ kind: 'config', name: 'train.momentum', good: 0.5, bad: 0.97 }]);
    expect(bisect.statement).toContain('train.momentum 0.5 → 0.97');
  });

  it('in data: the one line of nine', async () => {
    const { code, bisect } = await bisected(
      ['--data', `${at('good.csv')},${at('bad.csv')}`],
      ['node', at('repository/train.mjs'), at('a/config.json'), '{data}'],
    );
    expect(code).toBe(0);
    expect(bisect.differing).toBe(9);
    expect(bisect.changes).toMatchObject([{ kind: 'data', name: 'line 38', bad: '0.5,900' }]);
  });

  it('in one of three at once, the others being without effect', async () => {
    writeFileSync(at('harmless.json'), config({}, { name: 'c' }));
    const { code, bisect } = await bisected(
      [
        ...['--repository', at('repository'), '--commits', 'main~6..main~3', '--bad', at('harmless.json')],
        ...['--data', `${at('good.csv')},${at('bad.csv')}`],
      ],
      ['node', '{commit}/train.mjs', '{config}', '{data}'],
    );
    expect(code).toBe(0);
    expect(bisect.changes.map(({ name }) => name)).toEqual(['line 38']);
  });

  it('in a folder of shards, and in a choice between two programs', async () => {
    for (const side of ['shards-a', 'shards-b']) mkdirSync(at(side));
    for (const k of [0, 1, 2, 3]) {
      writeFileSync(at(`shards-a/${k}.csv`), lines(String));
      writeFileSync(at(`shards-b/${k}.csv`), lines(k === 2 ? (x) => String(40 * x) : (x) => `${x} `));
    }
    const shards = await bisected(
      ['--data', `${at('shards-a')},${at('shards-b')}`],
      ['node', at('repository/train.mjs'), at('a/config.json'), '{data}/2.csv'],
    );
    expect(shards.bisect.changes.map(({ name }) => name)).toEqual(['2.csv']);
    writeFileSync(at('new.mjs'), HISTORY.at(-1)![1]);
    writeFileSync(at('old.mjs'), HISTORY[0]![1]);
    const choice = await bisected(
      ['--vary', `script=${at('old.mjs')},${at('new.mjs')}`],
      ['node', '{script}', at('a/config.json'), at('good.csv')],
    );
    expect(choice.bisect.changes).toMatchObject([{ kind: 'choice', name: 'script' }]);
  });
});

describe('does not find what is not there', () => {
  it('changes that make no difference end with 4', async () => {
    writeFileSync(at('same.json'), config({}, { name: 'd', note: 'e' }));
    const { code, bisect } = await bisected(
      ['--bad', at('same.json')],
      ['node', at('repository/train.mjs'), '{config}', at('good.csv')],
    );
    expect(code).toBe(4);
    expect(bisect).toMatchObject({ found: false, changes: [] });
    expect(bisect.statement).toMatch(/With all 2 changes the command does not differ/);
  });

  it('a command that fails on the good side, or prints no loss', async () => {
    const failing = await bisected(['--bad', at('b')], ['node', '-e', 'process.exit(3)', '{config}']);
    expect([failing.code, failing.bisect.statement]).toEqual([4, expect.stringMatching(/exit code 3/)]);
    const silent = await bisected(['--bad', at('b')], ['node', '-e', '0', '{config}']);
    expect([silent.code, silent.bisect.statement]).toEqual([4, expect.stringMatching(/no loss/)]);
  });
});

describe('a difference that rounding may explain', () => {
  it('counts where the good side repeats itself', async () => {
    const slower = at('slower.json');
    writeFileSync(slower, config({ lr: 0.0501 }, { name: 'c' }));
    const found = await bisected(
      ['--bad', slower],
      ['node', at('repository/train.mjs'), '{config}', at('good.csv')],
    );
    expect(found.code).toBe(0);
    expect(found.bisect.changes).toMatchObject([{ name: 'train.lr', good: 0.05, bad: 0.0501 }]);
  });

  it('does not where the command never repeats itself', async () => {
    const noisy = `const { appendFileSync, statSync } = require('node:fs');
      appendFileSync(${JSON.stringify(at('calls'))}, 'x');
      const noise = 1 + 1e-3 * statSync(${JSON.stringify(at('calls'))}).size;
      for (let step = 0; step < 30; step++) console.log(JSON.stringify({ step, loss: noise / (step + 1) }));`;
    const { code, bisect } = await bisected(['--bad', at('b')], ['node', '-e', noisy, '{config}']);
    expect([code, bisect.statement]).toEqual([
      4,
      expect.stringMatching(/does not differ from the good side/),
    ]);
    expect(readFileSync(at('calls'), 'utf8')).toHaveLength(3);
  });
});

it('the command keeps the order of its words, also of those that bisect has itself or that come twice', async () => {
  const words = ['--steps', '{steps}', '--a', '1', '--b', '1', '{config}'];
  const { code, bisect } = await bisected(
    ['--bad', at('b'), '--steps', '7'],
    [
      'node',
      '-e',
      `if (process.argv.slice(1, 7).join() !== '--steps,7,--a,1,--b,1') process.exit(3)`,
      '--',
      ...words,
    ],
  );
  expect([code, bisect.statement]).toEqual([4, expect.stringMatching(/no loss/)]);
});

it('goes on where an earlier process ended, and refuses the folder to another question', async () => {
  const folder = at('resumed');
  const line = (command: string): string[] => [
    ...['bisect', '--good', at('a'), '--bad', at('b'), '--folder', folder, '--json', '--max-runs', '3'],
    ...['--', command, at('repository/train.mjs'), '{config}', at('good.csv')],
  ];
  const codes: (number | null)[] = [];
  let found: Bisect | undefined;
  for (let k = 0; k < 6 && found?.found !== true; k++) {
    const { code, out } = await cli(line('node'));
    codes.push(code);
    found = (JSON.parse(out) as { bisect: Bisect }).bisect;
    if (!found.found) expect(found.statement).toMatch(/--max-runs.*goes on/);
  }
  expect(found!.changes.map(({ name }) => name)).toEqual(['train.momentum']);
  expect(codes.slice(0, -1)).toEqual(codes.slice(0, -1).map(() => 4));
  expect(codes.length).toBeGreaterThan(1);
  const other = await cli(line(process.execPath));
  expect([other.code, other.err]).toEqual([2, expect.stringMatching(/another question/)]);
});

describe('of strangers', () => {
  it('names and values run nothing, and no hook, filter or link of the repository does', async () => {
    const repository = at('repository');
    const pwned = at('pwned');
    for (const hook of ['post-checkout', 'post-index-change', 'reference-transaction'])
      writeFileSync(join(repository, '.git/hooks', hook), `#!/bin/sh\ntouch ${pwned}\n`, { mode: 0o755 });
    git('config', 'filter.evil.smudge', `touch ${pwned}; cat`);
    git('config', 'core.fsmonitor', `touch ${pwned}`);
    writeFileSync(join(repository, '.gitattributes'), '*.mjs filter=evil\n');
    symlinkSync('/etc', join(repository, 'outside'));
    symlinkSync('train.mjs', join(repository, 'inside'));
    spawnSync('git', [
      '-C',
      repository,
      '-c',
      'core.fsmonitor=false',
      '-c',
      'core.hooksPath=/dev/null',
      'add',
      '.',
    ]);
    spawnSync('git', [
      ...['-C', repository, '-c', 'core.hooksPath=/dev/null', '-c', 'user.name=a', '-c', 'user.email=a@b.c'],
      ...['-c', 'core.fsmonitor=false', 'commit', '-q', '-m', `$(touch ${pwned}) \`touch ${pwned}\``],
    ]);
    writeFileSync(
      join(world, 'evil.json'),
      config({ momentum: 0.97 }, { [`$(touch ${pwned})`]: `; touch ${pwned}`, __proto__: 1 }),
    );
    const { code, bisect, folder } = await bisected(
      [
        ...['--repository', repository, '--commits', 'main~4..main', '--bad', at('evil.json')],
        ...['--vary', `name=$(touch ${pwned}),{config}`],
      ],
      ['node', '{commit}/train.mjs', '{config}', at('good.csv'), '{name}', '; touch x'],
    );
    expect(code, bisect.statement).toBe(0);
    expect(existsSync(pwned)).toBe(false);
    const [tree] = readdirSync(join(folder, 'commits')).filter((one) =>
      existsSync(join(folder, 'commits', one, '.gitattributes')),
    );
    expect(readFileSync(join(folder, 'commits', tree!, 'inside'), 'utf8')).toContain('momentum');
    expect(existsSync(join(folder, 'commits', tree!, 'outside'))).toBe(false);
  });

  it('a commit that is an option is none', async () => {
    const { code, err } = await cli([
      ...['bisect', '--good', at('a'), '--repository', at('repository'), '--folder', at('none')],
      ...['--commits', '--output=x..main', '--', 'node', '{commit}'],
    ]);
    expect(code).toBe(2);
    expect(err).toMatch(/git:|Flag --commits expects a value/);
  });

  it('a value is not read as a placeholder', () => {
    const values = new Map([
      ['a', '{b}'],
      ['b', 'x'],
    ]);
    expect(filled(['{a}-{b}', '{c}', '{a'], values)).toEqual(['{b}-x', '{c}', '{a']);
  });
});

describe('a smallest set', () => {
  const all = (needed: Chosen) => async (chosen: Chosen) =>
    needed.every((own, d) => own.every((k) => chosen[d]!.includes(k))) ? 'bad' : 'good';

  it.each<[string, Chosen]>([
    ['one of a hundred', [[73], [], []]],
    ['two far apart', [[2, 91], [], []]],
    ['one of a set and a commit', [[50], [4], []]],
    ['one of each', [[0], [0], [99]]],
    ['the last commit alone', [[], [9], []]],
  ])('%s', async (_, needed) => {
    let tests = 0;
    const test = all(needed);
    const found = await smallestSet(
      [
        { size: 100, ordered: false },
        { size: 10, ordered: true },
        { size: 100, ordered: false },
      ],
      async (chosen) => {
        tests++;
        return test(chosen);
      },
    );
    expect(found.needed).toEqual(needed);
    expect(tests).toBeLessThan(80);
  });
});
