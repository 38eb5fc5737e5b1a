import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const incident = 'fixtures/incident/log.jsonl';
const healthy = 'fixtures/logs/healthy/input.jsonl';
const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-analyze-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const reportOf = (text: string): Report => JSON.parse(text) as Report;
/** No escape sequence, no stack trace, whatever went wrong. */
const civil = (text: string): void => {
  expect(text).not.toContain('\u001b');
  expect(text).not.toMatch(/\n\s+at .*:\d+:\d+/);
};
const line = (step: number, rest: string): string => `{"step":${step},${rest}}\n`;
const many = (rest: (i: number) => string): string =>
  Array.from({ length: 200 }, (_, i) => line(i, rest(i))).join('');

const scratch = scratchFolders('analyze-cli');

describe('analyze', () => {
  it('answers on one screen: what happened in the first line, then where and why, and a chart', async () => {
    const { code, out, err } = await cli(['analyze', incident]);
    expect(err).toBe('');
    expect(code).toBe(0);
    const lines = out.trimEnd().split('\n');
    expect(lines[0]).toBe('✗ DIVERGED at step 400   loss 0.402 → 147, then 2.65: no recovery');
    expect(lines.length).toBeLessThanOrEqual(24);
    for (const part of ['Where   Task `watch` broke first (step 400)', 'Why ', '▲ step 400', '--verbose'])
      expect(out).toContain(part);
    civil(out);
  });

  it('says with --quiet, too, that not all was read', async () => {
    const log = join(scratch(), 'stars.log');
    const line = (i: number) => `step ${i} loss ${i % 4 === 0 ? '***' : (2 - i / 200).toFixed(3)}`;
    writeFileSync(log, Array.from({ length: 200 }, (_, i) => line(i)).join('\n'));
    const { out, code } = await cli(['analyze', log, '--quiet']);
    expect(code).toBe(3);
    expect(out).toMatch(/^healthy: .*stars\.log; not all was read: .*50/);
    expect(out.split('\n')).toHaveLength(2);
  });

  it('says the verdict alone with --quiet', async () => {
    const { out } = await cli(['analyze', incident, '--quiet']);
    expect(out).toBe('full-divergence from step 400: fixtures/incident/log.jsonl\n');
  });

  it('shows everything with --verbose: findings, charts and what to do', async () => {
    const { out } = await cli(['analyze', incident, '--verbose']);
    expect(out.split('\n')[0]).toBe('full-divergence from step 400: fixtures/incident/log.jsonl');
    for (const part of ['order of onset: watch', 'Findings', '(log scale)', '▲ incident at 400', 'Next'])
      expect(out).toContain(part);
    civil(out);
  });

  it.each([60, 80, 200])('keeps within %d columns', async (width) => {
    const { out } = await cli(['analyze', incident], { env: { COLUMNS: String(width) } });
    for (const text of out.split('\n')) expect([...text].length, text).toBeLessThanOrEqual(width);
  });

  it('uses no colour in a pipe, colour where forced, ASCII where asked for', async () => {
    expect((await cli(['analyze', incident], { env: { FORCE_COLOR: '1' } })).out).toContain('\u001b[');
    expect(
      (await cli(['analyze', incident], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).out,
    ).not.toContain('\u001b[');
    expect((await cli(['analyze', incident, '--ascii'])).out).toMatch(/^[\x20-\x7e\n]*$/);
  });

  it('prints exactly one JSON document with --json, and the same to a file', async () => {
    const target = join(folder, 'report.json');
    const { code, out } = await cli(['analyze', incident, '--json', '--report', `json:${target}`]);
    const report = reportOf(out);
    expect(code).toBe(0);
    expect(report.verdict).toMatchObject({
      class: 'full-divergence',
      onsetStep: 400,
      lastGoodStep: 399,
      run: incident,
    });
    expect(report.inputs[0]).toMatchObject({ path: incident, format: 'jsonl', kept: 600, lost: 0 });
    expect(report.inputs[0]!.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(report.runs[0]!.tasks[0]!.name).toBe('watch');
    expect(readFileSync(target, 'utf8')).toBe(out);
  });

  it('fails on what it is told to fail on', async () => {
    expect((await cli(['analyze', incident, '--fail-on', 'error'])).code).toBe(1);
    expect((await cli(['analyze', healthy, '--fail-on', 'warning'])).code).toBe(0);
  });

  it('says of each named clipping limit how often it would act, and refuses what is no limit', async () => {
    const { runs } = reportOf(
      (await cli(['analyze', incident, '--clip-limit', '0.01', '--clip-limit', '1e6', '--json'])).out,
    );
    const found = runs[0]!.findings.filter(({ id }) => id === 'clipping-saturation');
    expect(found.map(({ message }) => /(step limiter|safety net)\b/.exec(message)?.[1])).toEqual(
      expect.arrayContaining(['step limiter', 'safety net']),
    );
    for (const limit of ['0', '-1', 'NaN', 'Infinity', '', 'much'])
      expect((await cli(['analyze', incident, `--clip-limit=${limit}`])).code, limit).toBe(2);
  });

  it('makes a table of many runs, the worst first, in other orders and with fewer rows when asked', async () => {
    const table = async (...flags: string[]): Promise<string[][]> => {
      const { out } = await cli(['analyze', 'fixtures/logs', ...flags]);
      return out
        .split('\n')
        .slice(3)
        .filter((row) => /^\S/.test(row))
        .map((row) => row.split(/ {2,}/));
    };
    const all = await table();
    expect(all[0]!.slice(0, 3)).toEqual(['nan-overflow/input.jsonl', 'non-finite', '400']);
    expect(all.at(-1)![1]).toBe('healthy');
    const some = await table('--where', 'class!=healthy', '--where', 'best<0.35', '--sort', '-run');
    expect(some.length).toBeGreaterThan(2);
    expect(some.length).toBeLessThan(all.length);
    for (const [, name, , best] of some) {
      expect(name).not.toBe('healthy');
      expect(Number(best)).toBeLessThan(0.35);
    }
    const names = some.map(([name]) => name!);
    expect(names).toEqual([...names].sort().reverse());
    const report = reportOf((await cli(['analyze', 'fixtures/logs', '--where', 'best<0.35', '--json'])).out);
    expect(report.table!.columns.slice(0, 5)).toEqual(['run', 'class', 'onset', 'best', 'last']);
    expect(report.runs.length).toBe(all.length);
    expect(new Set(report.table!.rows.map(({ run }) => run))).toEqual(
      new Set((await table('--where', 'best<0.35')).map(([name]) => name)),
    );
    expect((await cli(['analyze', 'fixtures/logs', '--where', 'clas=healthy'])).err).toMatch(
      /no column "clas"[\s\S]*did you mean class/,
    );
  });

  it('groups the table by hyperparameters, also by one that is the same in all runs', async () => {
    const groups = join(folder, 'groups');
    for (const [i, lr] of [0.1, 0.01, 0.1, 0.01].entries()) {
      const run = join(groups, `run-${i}`);
      mkdirSync(run, { recursive: true });
      writeFileSync(join(run, 'hparams.json'), JSON.stringify({ lr, batch: 64, seed: i }));
      writeFileSync(
        join(run, 'log.jsonl'),
        many((k) => `"loss":${i === 2 && k > 60 ? 'NaN' : 0.4 + i / 100 + 1 / (k + 1)}`),
      );
    }
    const { out } = await cli(['analyze', groups, '--group-by', 'lr', '--where', 'batch=64']);
    const lines = out.split('\n').filter((line) => /^(lr|run-)/.test(line));
    expect(lines.map((line) => line.split(/ {2,}| · /)[0])).toEqual([
      'lr 0.01',
      'run-1/log.jsonl',
      'run-3/log.jsonl',
      'lr 0.1',
      'run-2/log.jsonl',
      'run-0/log.jsonl',
    ]);
    expect(out).toContain('lr 0.1 · 2 runs: 1 non-finite, 1 healthy');
    const { table } = reportOf((await cli(['analyze', groups, '--group-by', 'lr', '--json'])).out);
    expect(table!.groupBy).toEqual(['lr']);
    expect(table!.groups!.map(({ values, runs, classes }) => ({ values, runs, classes }))).toEqual([
      { values: { lr: 0.01 }, runs: 2, classes: { healthy: 2 } },
      { values: { lr: 0.1 }, runs: 2, classes: { 'non-finite': 1, healthy: 1 } },
    ]);
    // Half of its runs end in no number: no median hides that.
    expect(table!.groups![1]!.last).toBe('Infinity');
    expect((await cli(['analyze', groups, '--group-by', 'lrr'])).err).toMatch(
      /no column "lrr"[\s\S]*mean lr/,
    );
  });

  it('shows one of many runs by its name, and offers the nearest', async () => {
    const one = await cli(['analyze', 'fixtures/logs', '--run', 'full-divergence/input.jsonl']);
    expect(one.out).toMatch(/^✗ DIVERGED at step 400/);
    const none = await cli(['analyze', 'fixtures/logs', '--run', 'helthy/input.jsonl']);
    expect(none.code).toBe(2);
    expect(none.err).toContain('did you mean healthy/input.jsonl?');
  });

  it('reads standard input', async () => {
    expect((await cli(['analyze', '-'], { input: readFileSync(incident) })).out).toMatch(
      /^✗ DIVERGED at step 400/,
    );
  });
});

describe('chart', () => {
  it("draws a guard's risk below the losses of its pulse, and no column that only sounds like one", async () => {
    const lines = Array.from({ length: 60 }, (_, step) =>
      JSON.stringify({
        step,
        loss: 1 / (step + 1),
        grad_norm: 2,
        risk: step === 40 ? 0.97 : 0.01,
        asterisk: 0.5,
      }),
    );
    const path = join(mkdtempSync(join(tmpdir(), 'pulse-')), 'pulse.jsonl');
    writeFileSync(path, lines.join('\n'));
    const titles = JSON.parse((await cli(['chart', path, '--json'])).out).charts[0].series;
    expect(titles.map(({ name }: { name: string }) => name)).toEqual(['loss', 'grad_norm', 'risk']);
    expect((await cli(['chart', path])).out).toMatch(/^risk/m);
  });

  it('draws a metric of a range of steps', async () => {
    const { code, out } = await cli([
      'chart',
      incident,
      '--metric',
      'grad_norm',
      '--log',
      '--from',
      '390',
      '--to',
      '420',
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(/^grad_norm \(log scale\)/);
    expect(out).toMatch(/step +390 .*420/);
  });

  it('names what is there when a metric is not', async () => {
    const { code, err } = await cli(['chart', incident, '--metric', 'lost']);
    expect(code).toBe(4);
    expect(err).toContain('no series "lost"');
    expect(err).toContain('grad_norm');
    const empty = await cli(['chart', incident, '--from', '5000']);
    expect(empty.code).toBe(4);
    expect(empty.err).toMatch(/lies from step 5000 on\n[\s\S]*steps 0 to 599/);
  });
});

describe('what bad input gets', () => {
  const rubbish = Uint8Array.from({ length: 4000 }, (_, i) => (i * 7919) % 251);
  it.each<[string, () => string, number, RegExp]>([
    ['a missing file', () => join(folder, 'none.csv'), 3, /error\[file-missing\]/],
    [
      'a name with a slip of the pen',
      () => file('train.log', 'step 1 loss 2\n').replace('train', 'trian'),
      3,
      /error\[file-missing\].*try: did you mean \S*train\.log\? check the path/s,
    ],
    ['an empty file', () => file('empty.csv', ''), 3, /error\[file-empty\]/],
    [
      'binary rubbish',
      () => file('rubbish', rubbish),
      3,
      /error\[format-unknown\].*tried the \d+ formats of logs and the \d+ of checkpoints/s,
    ],
    [
      'a log without a loss',
      () =>
        file(
          'noloss.jsonl',
          many((i) => `"acc":${i / 200}`),
        ),
      4,
      /loss/,
    ],
    ['one point only', () => file('one.jsonl', line(1, '"loss":0.5')), 4, /too-few-points/],
    [
      'UTF-16',
      () => file('utf16.csv', Buffer.from('\ufeffstep,loss\n1,0.5\n', 'utf16le')),
      4,
      /too-few-points/,
    ],
    ['a duplicate column', () => file('twice.csv', 'step,loss,loss\n1,2,3\n2,3,4\n'), 3, /loss/],
    [
      'a duplicate key',
      () => file('twice.jsonl', '{"step":1,"loss":1,"loss":2}\n{"step":2,"loss":1}\n'),
      3,
      /loss/,
    ],
  ])('%s', async (_, path, code, message) => {
    const result = await cli(['analyze', path()]);
    expect(result.out + result.err).toMatch(message);
    expect(result.code).toBe(code);
    civil(result.out + result.err);
  });

  it('a folder without logs', async () => {
    const empty = join(folder, 'nothing-here');
    mkdirSync(empty);
    writeFileSync(join(empty, 'notes.md'), 'hello');
    expect(await cli(['analyze', empty])).toMatchObject({
      code: 3,
      err: expect.stringContaining('folder-without-inputs'),
    });
  });

  it('NaN to the end, 1e400 and an empty cell are told apart', async () => {
    const verdictOf = async (rest: (i: number) => string): Promise<Report> =>
      reportOf((await cli(['analyze', file('odd.jsonl', many(rest)), '--json'])).out);
    expect((await verdictOf((i) => `"loss":${i < 100 ? 1 : 'NaN'}`)).verdict).toMatchObject({
      class: 'non-finite',
      onsetStep: 100,
    });
    expect((await verdictOf(() => '"loss":NaN')).verdict.class).toBe('non-finite');
    const huge = await verdictOf((i) => `"loss":${i < 100 ? 1 : '1e400'}`);
    expect(huge.verdict.class).toBe('non-finite');
    expect(huge.runs[0]!.series.find((s) => s.name === 'loss')!.statistics.posInf).toBe(100);

    const cells = Array.from({ length: 200 }, (_, i) => `${i},${i < 100 ? 1 : ''},0.5\n`).join('');
    const stopped = reportOf(
      (await cli(['analyze', file('cells.csv', `step,loss,acc\n${cells}`), '--json'])).out,
    ).runs[0]!;
    expect(stopped.series.find((s) => s.name === 'loss')!.statistics).toMatchObject({ points: 100, nan: 0 });
    expect(stopped.findings.map((f) => f.id)).toContain('loss-column-stops');
  });

  it('names that would poison an object or a terminal stay text', async () => {
    const path = file(
      'hostile.jsonl',
      many((i) => `"loss":${1 + 1 / (i + 1)},"__proto__":${i},"\\u001b[31mred":1`),
    );
    const { out, code } = await cli(['analyze', path, '--json']);
    expect(code).toBe(0);
    expect(reportOf(out).runs[0]!.series.map((s) => s.name)).toContain('__proto__');
    civil((await cli(['inspect', path])).out);
    civil((await cli(['chart', path, '--metric', '\u001b[31mred'])).out);
  });

  it.skipIf(process.getuid?.() === 0)('an unreadable file (skipped for root, who can read all)', async () => {
    const path = file('locked.jsonl', line(1, '"loss":1'));
    chmodSync(path, 0);
    expect(await cli(['analyze', path])).toMatchObject({
      code: 3,
      err: expect.stringContaining('permission denied'),
    });
  });

  it('damage in the middle gives the rest, what was lost, and code 3', async () => {
    const { code, out } = await cli([
      'analyze',
      file('damaged.jsonl', `${many((i) => `"loss":${1 + i / 1e4}`)}not json\n${line(200, '"loss":1')}`),
    ]);
    expect(code).toBe(3);
    expect(out).toMatch(/1 record lost/);
  });

  it('a value that is no JSON makes its line a lost one, not an absent key', async () => {
    const { code, out } = await cli([
      'analyze',
      file(
        'word.jsonl',
        many((i) => `"loss":${i === 100 ? 'oops' : 1}`),
      ),
    ]);
    expect(code).toBe(3);
    expect(out).toMatch(/1\s+records?\s+lost,\s+199\s+kept/);
  });

  it('a torn last line is a warning only', async () => {
    const { code, out } = await cli([
      'analyze',
      file('torn.jsonl', `${many(() => '"loss":1')}{"step":200,"lo`),
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(/unfinished\s+last\s+record/);
  });

  it('a bad file beside a good one: the report of the good one, and code 3', async () => {
    const { code, out } = await cli(['analyze', healthy, join(folder, 'none.csv')]);
    expect(code).toBe(3);
    expect(out).toMatch(/^! HEALTHY/);
    expect(out).toContain('none.csv');
  });
});

describe('output', () => {
  it('tells of an unwritable report and goes on, leaves no temporary file, and keeps what was there', async () => {
    const { code, err, out } = await cli([
      'analyze',
      incident,
      '--report',
      `json:${join(folder, 'none', 'r.json')}`,
    ]);
    expect([code, out, err]).toEqual([
      5,
      expect.stringContaining('DIVERGED'),
      expect.stringMatching(/^error\[output-unwritable\]/),
    ]);
    const copy = file('input.jsonl', readFileSync(incident));
    expect(await cli(['analyze', copy, '--report', `json:${copy}`])).toMatchObject({
      code: 5,
      err: expect.stringContaining('output-is-input'),
    });
    expect(readFileSync(copy)).toEqual(readFileSync(incident));
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('usage', () => {
  it.each<[string[], RegExp]>([
    [['analyse', incident], /"analyse" is not a command[\s\S]*did you mean analyze/],
    [['analyze'], /Missing 1 required arg/],
    [['analyze', incident, '--nope'], /--nope/],
    [['analyze', incident, '--report', 'pdf:x'], /no report format "pdf"/],
    [['analyze', incident, '--fail-on', 'note'], /fail-on/],
    [['analyze', incident, '--format', 'xml'], /xml/],
  ])('%s', async (args, message) => {
    const result = await cli(args);
    expect(result.err).toMatch(message);
    expect(result.code).toBe(2);
    civil(result.err);
  });

  it('keeps the code and prints one document with --json', async () => {
    const { code, out } = await cli(['analyze', 'no-such-file', '--json']);
    expect(code).toBe(3);
    expect(JSON.parse(out)).toMatchObject({ error: { id: 'file-missing', path: 'no-such-file' } });
  });

  it('answers --version and --help', async () => {
    expect(await cli(['--version'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^clippy-diag\/\d+\.\d+\.\d+ /),
    });
    const help = await cli(['--help']);
    expect(help.code).toBe(0);
    for (const command of ['analyze', 'chart', 'inspect']) expect(help.out).toContain(command);
  });
});

it('offers a column that is called total alone, and judges it where that is taken up', async () => {
  const logOf = (columns: string): string => {
    const rows = Array.from({ length: 200 }, (_, i) => `${i},${2 / (1 + i) + (i % 7) / 100},0.1\n`);
    return file('total.csv', `${columns}\n${rows.join('')}`);
  };
  const whyOf = async (path: string): Promise<string> =>
    (await cli(['analyze', path])).out.replace(/\s+/g, ' ');
  const path = logOf('step,train/total,lr');
  expect(await whyOf(path)).toContain('If "train/total" is one, --map loss=train/total judges it.');
  const { out } = await cli(['analyze', path, '--map', 'loss=train/total']);
  expect(out).toContain('HEALTHY');
  // Seconds are no loss, and of two nobody knows which is meant.
  for (const columns of ['step,total_seconds,lr', 'step,total,overall'])
    expect(await whyOf(logOf(columns))).toContain('If one is, --map loss=NAME judges it.');
});
