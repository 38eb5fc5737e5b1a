/** What a gate reads: patterns of paths, saved reports beside logs, and only what its rules ask for. */
import { existsSync, mkdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { type GateReadOptions, readGateEvidence } from '../../src/app/gate/evidence.ts';
import { toJson } from '../../src/model/json.ts';
import { healthyRun, makeReport, makeRunReport } from '../support/make-report.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('gate-paths');
const LOG = `step,loss\n${Array.from({ length: 60 }, (_, k) => `${k + 1},${(1 + 1 / (k + 1)).toFixed(4)}`).join('\n')}\n`;
const report = (...ids: readonly string[]): string =>
  toJson(makeReport(ids.map((id) => makeRunReport(healthyRun(id)))));

/** Files of a folder, all of them old: nothing is waited for. */
function filesAt(files: Readonly<Record<string, string>>): string {
  const at = folder();
  for (const [name, text] of Object.entries(files)) {
    const path = join(at, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    utimesSync(path, 1e9, 1e9);
  }
  return at;
}
const read = (paths: readonly string[], options: Partial<GateReadOptions> = {}) =>
  readGateEvidence(paths, {
    toolVersion: '9',
    now: () => new Date('2026-01-02T03:04:05Z'),
    sleep: () => Promise.reject(new Error('waits')),
    ...options,
  });
/** Paths of the inputs below a folder. */
const inputsOf = async (at: string, ...patterns: readonly string[]): Promise<readonly string[]> => {
  const { report } = await read(patterns.map((pattern) => `${at}/${pattern}`));
  return report.inputs.map(({ path }) => path.slice(at.length + 1)).sort();
};

describe('patterns', () => {
  const at = filesAt({
    'a.csv': LOG,
    'b.csv': LOG,
    'sub/c.csv': LOG,
    'sub/deep/d.csv': LOG,
    'sub/node_modules/x.csv': LOG,
    'other/e.csv': LOG,
    'w[1].csv': LOG,
    'run-1.csv/log.csv': LOG,
  });
  test.each<[readonly string[], readonly string[]]>([
    [['a.csv'], ['a.csv']],
    [['?.csv'], ['a.csv', 'b.csv']],
    [['*/*.csv'], ['other/e.csv', 'run-1.csv/log.csv', 'sub/c.csv']],
    [['sub/*.csv'], ['sub/c.csv']],
    [['sub/**'], ['sub/c.csv', 'sub/deep/d.csv']],
    [['sub/**/*.csv'], ['sub/c.csv', 'sub/deep/d.csv']],
    [['s*/deep/*.csv'], ['sub/deep/d.csv']],
    // A folder that a pattern names is read as one that is named.
    [['run-?.csv'], ['run-1.csv/log.csv']],
    [
      ['a.csv', 'other/*'],
      ['a.csv', 'other/e.csv'],
    ],
  ])('%j', async (patterns, found) => {
    expect(await inputsOf(at, ...patterns)).toEqual(found);
  });
  test('are seen from the working folder, too; what two of them match is one input', async () => {
    const patterns = [
      './fixtures/logs/health?/*.jsonl',
      'fixtures/logs/healthy/in*.jsonl',
      'fixture?/logs/healthy/*.jsonl',
    ];
    for (const pattern of patterns) expect((await read([pattern])).report.inputs, pattern).toHaveLength(1);
    const { report: found } = await read([...patterns, resolve('fixtures/logs/healthy/input.jsonl')]);
    expect(found.inputs).toHaveLength(1);
    expect(found.runs).toHaveLength(1);
  });
  test.each(['*.tsv', 'nothing/*', 'a.csv/*', 'sub/*/*/*.csv'])(
    'that match nothing are refused: %s',
    async (pattern) => {
      await expect(read([`${at}/${pattern}`])).rejects.toMatchObject({
        code: 'pattern-matches-nothing',
        where: { path: `${at}/${pattern}` },
      });
    },
  );
  test('end where a folder leads back to itself', async () => {
    const round = filesAt({ 'x/a.csv': LOG });
    symlinkSync(round, join(round, 'x/again'));
    expect(await inputsOf(round, '**/*.csv')).toEqual(['x/a.csv']);
  });
});

describe('saved reports', () => {
  test('one alone is judged as it is, without the gate of that time', async () => {
    const saved = JSON.parse(report('one')) as object;
    const at = filesAt({
      'r.json': JSON.stringify({
        ...saved,
        gate: { passed: true, exitCode: 0, rules: [], problems: [], skipped: [] },
      }),
    });
    const found = await read([join(at, 'r.json')]);
    expect(found.report.runs.map(({ id }) => id)).toEqual(['one']);
    expect(found.report.createdAt).toBe('2026-01-02T03:04:05.000Z');
    expect([found.report.toolVersion, 'gate' in found.report, found.runs.size]).toEqual(['0.1.0', false, 0]);
  });
  test('two are one report of this tool, with the inputs, runs, files left out and warnings of both', async () => {
    const [a, b] = ['one', 'two'].map((id) =>
      toJson(
        makeReport([makeRunReport(healthyRun(id))], {
          skipped: [{ path: `${id}.txt`, reason: 'none' }],
          warnings: [{ id: 'file-unreadable', message: id }],
        }),
      ),
    );
    const at = filesAt({ 'a.json': a!, 'b.json': b! });
    const { report: both } = await read([join(at, 'a.json'), join(at, 'b.json')]);
    expect(both.toolVersion).toBe('9');
    expect(both.runs.map(({ id }) => id).sort()).toEqual(['one', 'two']);
    expect(both.inputs.map(({ path }) => path).sort()).toEqual(['one', 'two']);
    expect(both.skipped.map(({ path }) => path).sort()).toEqual(['one.txt', 'two.txt']);
    expect(both.warnings.map(({ message }) => message).sort()).toEqual(['one', 'two']);
  });
  test('one beside a log: the log keeps its points, but not where two runs have one name', async () => {
    const at = filesAt({ 'r.json': report('one'), 'log.csv': LOG });
    const found = await read([join(at, 'r.json'), join(at, 'log.csv')]);
    const id = [...found.runs.keys()][0]!;
    expect(found.report.runs.map((run) => run.id).sort()).toEqual([id, 'one'].sort());
    writeFileSync(join(at, 'r.json'), report(id));
    utimesSync(join(at, 'r.json'), 1e9, 1e9);
    const same = await read([join(at, 'r.json'), join(at, 'log.csv')]);
    expect(same.report.runs.map((run) => run.id)).toEqual([id, id]);
    expect(same.runs.size).toBe(0);
  });
  test('a torn one is no log: nothing is judged', async () => {
    const text = report('one');
    const at = filesAt({ 'r.json': text.slice(0, text.length - 20), 'log.csv': LOG });
    await expect(read([join(at, 'r.json'), join(at, 'log.csv')])).rejects.toMatchObject({
      code: 'report-invalid',
    });
  });
  test('a log in JSON that begins like one is none', async () => {
    const history = `{"schemaVersion": 1, "loss": [${Array.from({ length: 30 }, (_, k) => 3 - k / 20).join(', ')}]}`;
    const at = filesAt({ 'history.json': history, 'log.csv': LOG });
    const { report: found } = await read([join(at, 'log.csv'), join(at, 'history.json')]);
    expect(found.toolVersion).toBe('9');
    expect(found.runs.length).toBeGreaterThan(0);
  });
});

test('what cannot be read at all throws what reading it says', async () => {
  const at = folder();
  expect(existsSync(join(at, 'none.csv'))).toBe(false);
  await expect(read([join(at, 'none.csv')])).rejects.toMatchObject({ code: 'file-missing' });
});

test('a log that was written to just now is waited for, and one that grows is told', async () => {
  const at = filesAt({ 'log.csv': LOG });
  const path = join(at, 'log.csv');
  const waits: number[] = [];
  const at1000 = new Date(1e12);
  utimesSync(path, at1000, at1000);
  const now = () => new Date(1e12 + 2000);
  const quiet = await read([path], { now, sleep: async (ms) => void waits.push(ms) });
  expect([waits, quiet.report.warnings]).toEqual([[3000], []]);
  const grown = await read([path], { now, sleep: async () => writeFileSync(path, `${LOG}61,1\n`) });
  expect(grown.report.warnings.map(({ id }) => id)).toEqual(['input-still-written']);
});

test('a log that had grown before anyone looked at it again is told, whatever its time says', async () => {
  const path = join(filesAt({ 'log.csv': LOG }), 'log.csv');
  let asked = 0;
  const now = (): Date => {
    // The second time is after the reading, and before the look.
    if (++asked === 2) {
      writeFileSync(path, `${LOG}61,1\n`);
      utimesSync(path, 1e9, 1e9);
    }
    return new Date('2026-01-02T03:04:05Z');
  };
  const { report: found } = await read([path], { now });
  expect(found.warnings.map(({ id }) => id)).toEqual(['input-still-written']);
});

test('the thresholds of the config are those that the log is judged by', async () => {
  const at = filesAt({ 'log.csv': LOG });
  const config = gateConfigFrom({ version: 1, rules: { drift: ['error', { driftRatio: 2 }] } });
  const { report: found } = await read([join(at, 'log.csv')], { config });
  expect(found.runs[0]!.thresholds).toMatchObject({ drift: { driftRatio: 2 } });
});
