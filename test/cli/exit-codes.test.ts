/** The table of docs/exit-codes.md, cell by cell: a command line that ends with the code, in memory. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/run.ts';
import { cli } from '../support/cli.ts';
import { hasRedis, Redis } from '../support/redis.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('exit-codes');
let folder: string;
let redis: Redis | undefined;
afterAll(() => redis?.kill());

/** What of a capture.json is changed here. */
interface Manifest {
  readonly steps: { learningRate: number; readonly file: string }[];
}

const STUDY = `version: 1
data: { file: table.csv, order: column t, train: 320, test: 80 }
columns: { x: dense, y: { label: y, loss: sigmoid-cross-entropy } }
models: { m: { shared: { type: shared-bottom, units: [2], activation: relu } } }
rules: [none]
learningRates: [0.05, 0.1]
seeds: 1
batch: 16
`;

beforeAll(async () => {
  if (hasRedis) redis = await Redis.start();
  folder = scratch();
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  copyFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), join(folder, 'lost.jsonl'));
  const row = (step: number): string => `{"step":${step},"loss":${1 + 0.01 * Math.sin(1.7 * step)}}\n`;
  put('good.jsonl', Array.from({ length: 200 }, (_, step) => row(step)).join(''));
  put('torn.jsonl', `${Array.from({ length: 200 }, (_, step) => row(step)).join('')}{"st`);
  put('bad.jsonl', `${row(1)}garbage\n${row(2)}`);
  mkdirSync(join(folder, 'runs'));
  for (const name of ['good', 'bad'])
    copyFileSync(join(folder, `${name}.jsonl`), join(folder, `runs/${name}.jsonl`));
  put('head.csv', 'step,loss\n');
  put('bad.yaml', 'version: 1\nrules: { nonsense: error }\n');
  put(
    'table.csv',
    `t,x,y\n${Array.from({ length: 400 }, (_, i) => `${i},${Math.sin(i)},${i % 2}`).join('\n')}\n`,
  );
  put('study.yaml', STUDY);
  put('good.yaml', 'version: 1\nextends: recommended\n');
  put('wrong.yaml', STUDY.replace('seeds', 'seed'));
  put('missing.yaml', STUDY.replace('x: dense', 'z: dense'));
  cpSync(join(projectRoot, 'fixtures/captures/seed-2'), join(folder, 'capture'), { recursive: true });
  cpSync(join(folder, 'capture'), join(folder, 'cut'), { recursive: true });
  rmSync(join(folder, 'cut', 'step-00000435.safetensors'));
  put('taught.log', Array.from({ length: 30 }, (_, k) => `${k} ${1 / (k + 1)}\n`).join(''));
  put('nothing.log', 'nothing to see\n');
  cpSync(join(folder, 'capture'), join(folder, 'strip'), { recursive: true });
  const withManifest = (name: string, change: (manifest: Manifest) => void): void => {
    cpSync(join(folder, 'capture'), join(folder, name), { recursive: true });
    const path = join(folder, name, 'capture.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
    change(manifest);
    writeFileSync(path, JSON.stringify(manifest));
  };
  // A rate that was another than it is said, and a capture that ends before its first snapshot.
  withManifest('changed', ({ steps }) => {
    for (const step of steps) step.learningRate *= 2;
  });
  withManifest('short', ({ steps }) => {
    for (const { file } of steps.splice(5)) rmSync(join(folder, 'short', file));
  });
  cpSync(join(projectRoot, 'fixtures/incident/capture'), join(folder, 'incident'), { recursive: true });
  cpSync(join(projectRoot, 'fixtures/captures/nan'), join(folder, 'nan'), { recursive: true });
  cpSync(join(projectRoot, 'fixtures/ledgers/base/ledger'), join(folder, 'ledger'), { recursive: true });
  for (const [name, from] of [
    ['resumable.pt', 'pytorch2/adamw.pt'],
    ['scheduler.pt', 'pytorch/scheduler.pt'],
    ['weights.safetensors', 'safetensors/model-step-1200.safetensors'],
  ] as const)
    cpSync(join(projectRoot, 'fixtures/checkpoints', from), join(folder, name));
  const run = (...args: string[]) => cli(args, { cwd: folder });
  put('shard-1.json', (await run('matrix', 'study.yaml', '--workers', '1', '--shard', '1/2')).out);
  put('shard-2.json', (await run('matrix', 'study.yaml', '--workers', '1', '--shard', '2/2')).out);
  await run('analyze', 'good.jsonl', '--report', 'json:report.json');
  await run('baseline', 'update', 'good.jsonl', '--settle', '0', '--file', 'baseline.json');
});

/** Command lines by row and code; `FULL` before one: standard output is a device that is full; `LATE`: a minute passes with each look at the clock; `REDIS`: it needs one, at URL. */
const CASES: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  analyze: {
    0: 'analyze lost.jsonl',
    1: 'analyze lost.jsonl --fail-on error',
    2: 'analyze good.jsonl --config bad.yaml',
    3: 'analyze bad.jsonl',
    4: 'analyze good.jsonl --map loss=none',
    5: 'analyze good.jsonl --report json:good.jsonl',
  },
  gate: {
    0: 'gate good.jsonl --settle 0',
    1: 'gate lost.jsonl --settle 0',
    2: 'gate good.jsonl --config bad.yaml',
    3: 'gate bad.jsonl --settle 0',
    4: 'gate torn.jsonl --settle 0',
    5: 'gate good.jsonl --settle 0 --report junit:nowhere/a.xml',
  },
  watch: {
    0: 'watch lost.jsonl --idle-exit 1 --state state-0',
    1: 'watch lost.jsonl --exit-on full-divergence --state state-1',
    2: 'watch good.jsonl --interval 0',
    3: 'watch runs --idle-exit 1 --state state-3',
    4: 'watch head.csv --idle-exit 1 --state state-4',
    5: 'watch good.jsonl --idle-exit 1 --state good.jsonl',
  },
  compare: {
    0: 'compare good.jsonl good.jsonl',
    1: 'compare good.jsonl lost.jsonl',
    2: 'compare good.jsonl',
    3: 'compare bad.jsonl good.jsonl',
    4: 'compare head.csv head.csv',
    5: 'FULL compare good.jsonl good.jsonl',
  },
  bisect: {
    0: 'bisect --good good.jsonl --vary x=good.jsonl,lost.jsonl --steps 500 --folder bisect-0 -- cat {x}',
    2: 'bisect --good good.jsonl --vary x=good.jsonl --folder bisect-2 -- cat {x}',
    3: 'bisect --good good.jsonl --vary x=good.jsonl,lost.jsonl --folder bisect-3 -- no-such-program {x}',
    4: 'bisect --good good.jsonl --vary x=good.jsonl,./good.jsonl --folder bisect-4 -- cat {x}',
    5: 'FULL bisect --good good.jsonl --vary x=good.jsonl,./good.jsonl --folder bisect-5 -- cat {x}',
  },
  inspect: {
    0: 'inspect torn.jsonl',
    1: 'inspect cut --check',
    2: 'inspect good.jsonl --diff',
    3: 'inspect bad.jsonl',
    4: 'inspect head.csv',
    5: 'FULL inspect good.jsonl',
  },
  chart: {
    0: 'chart good.jsonl',
    2: 'chart good.jsonl --log --linear',
    3: 'chart bad.jsonl',
    4: 'chart good.jsonl --metric auc',
    5: 'FULL chart good.jsonl',
  },
  audit: {
    0: 'audit capture',
    1: 'audit changed',
    2: 'audit',
    3: 'audit nowhere',
    4: 'audit short',
    5: 'FULL audit capture',
  },
  resume: {
    0: 'resume resumable.pt',
    1: 'resume weights.safetensors',
    2: 'resume',
    3: 'resume nowhere',
    4: 'resume scheduler.pt',
    5: 'FULL resume resumable.pt',
  },
  who: {
    0: 'who 3 ledger',
    2: 'who x ledger',
    3: 'who 3 nowhere',
    4: 'who 99 ledger',
    5: 'FULL who 3 ledger',
  },
  preflight: {
    0: 'preflight incident --rate 0.02 --rule none',
    1: 'preflight incident --rate 5 --rule none',
    2: 'preflight incident --rate nothing',
    3: 'preflight nowhere',
    4: 'preflight capture',
    5: 'FULL preflight capture',
  },
  replay: {
    0: 'replay capture --rule none',
    2: 'replay capture --rule clipy',
    3: 'replay cut --rule none',
    4: 'replay nan --rule clippy',
    5: 'FULL replay capture --rule none',
  },
  curvature: {
    0: 'curvature capture --operator hessian',
    2: 'curvature',
    3: 'curvature nowhere',
    4: 'curvature capture --max-products 2',
    5: 'FULL curvature capture --operator hessian',
  },
  'matrix STUDY': {
    0: 'matrix study.yaml --workers 1',
    2: 'matrix wrong.yaml',
    3: 'matrix missing.yaml',
    4: 'LATE matrix study.yaml --workers 1 --max-time 1',
    5: 'matrix study.yaml --report json:study.yaml',
  },
  'matrix merge': {
    0: 'matrix merge shard-1.json shard-2.json',
    2: 'matrix merge',
    3: 'matrix merge good.jsonl',
    4: 'matrix merge shard-1.json',
    5: 'matrix merge shard-1.json shard-2.json --report csv:shard-1.json',
  },
  'matrix worker': {
    0: 'REDIS matrix worker --queue URL --idle-exit 1',
    2: 'matrix worker',
    3: 'REDIS matrix worker --queue redis://127.0.0.1:1',
    5: 'REDIS FULL matrix worker --queue URL --idle-exit 1',
  },
  report: {
    0: 'report report.json',
    2: 'report report.json --to nonsense',
    3: 'report good.jsonl',
    5: 'report report.json --report html:report.json',
  },
  'baseline update': {
    0: 'baseline update good.jsonl --settle 0 --file baseline-0.json',
    2: 'baseline update good.jsonl --config bad.yaml',
    3: 'baseline update bad.jsonl --settle 0 --file baseline-3.json',
    4: 'baseline update torn.jsonl --settle 0 --file baseline-4.json',
    5: 'baseline update good.jsonl --settle 0 --file ../baseline.json',
  },
  'baseline show': {
    0: 'baseline show --file baseline.json',
    2: 'baseline show --config bad.yaml',
    3: 'baseline show --file nowhere.json',
    5: 'FULL baseline show --file baseline.json',
  },
  teach: {
    0: 'teach taught.log --column 1=step --column 2=loss --print',
    2: 'teach taught.log --column 9=loss',
    3: 'teach nowhere',
    4: 'teach nothing.log',
    5: 'FULL teach taught.log',
  },
  'strip-batches': {
    0: 'strip-batches strip',
    2: 'strip-batches',
    3: 'strip-batches nowhere',
    5: 'FULL strip-batches strip',
  },
  donate: {
    0: 'donate good.jsonl',
    2: 'donate',
    3: 'donate nowhere.jsonl',
    5: 'donate good.jsonl --out capture',
  },
  mcp: { 0: 'mcp', 2: 'mcp --allow nowhere' },
  init: { 0: 'init --dir new', 2: 'init --framework mxnet', 5: 'init --dir good.jsonl/x' },
  explain: { 0: 'explain clippy', 2: 'explain clipy', 5: 'FULL explain clippy' },
  completion: { 0: 'completion bash', 2: 'completion fish', 5: 'FULL completion bash' },
  '`--help`, `help`': { 0: '--help', 2: 'help nonsense', 5: 'FULL --help' },
};

/** The second table of the page: command, then what gives 0 to 5; `–` where nothing does. */
function documented(): Record<string, string[]> {
  const text = readFileSync(join(projectRoot, 'docs/exit-codes.md'), 'utf8');
  const [, table = ''] = text.split('## By command');
  const rows = table
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .slice(2);
  return Object.fromEntries(
    rows.map((row) => {
      const [command = '', ...cells] = row
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim());
      return [/^`[a-z]/.test(command) ? command.replaceAll('`', '') : command, cells];
    }),
  );
}

it('the table has a row for every command, and a cell where there is a case', () => {
  const table = documented();
  expect(Object.keys(table).sort()).toEqual(Object.keys(CASES).sort());
  for (const id of Object.keys(COMMANDS))
    expect(
      Object.keys(CASES).some((row) => row.split(' ')[0] === id.split(':')[0]),
      id,
    ).toBe(true);
  for (const [row, cells] of Object.entries(table)) {
    const told = cells.flatMap((cell, code) => (cell === '–' ? [] : [String(code)]));
    expect([row, told]).toEqual([row, Object.keys(CASES[row]!)]);
  }
});

const full = {
  write: (_: string, done?: (error?: Error) => void) =>
    done?.(Object.assign(new Error('full'), { code: 'ENOSPC' })),
};

function ended(line: string): ReturnType<typeof cli> {
  const words = line
    .replace('REDIS ', '')
    .replace('URL', redis?.url ?? '')
    .split(' ');
  const isFull = words[0] === 'FULL';
  const isLate = words[0] === 'LATE';
  let minutes = 0;
  return cli(isFull || isLate ? words.slice(1) : words, {
    cwd: folder,
    ...(isFull ? { io: { stdout: full } } : {}),
    ...(isLate ? { io: { now: () => 60_000 * minutes++ } } : {}),
  });
}

describe.each(Object.entries(CASES))('%s', (_, codes) => {
  it.each(Object.entries(codes))('%s: %s', async (code, line) => {
    if (line.startsWith('REDIS ') && !hasRedis) return;
    const result = await ended(line);
    expect(result.code, result.err).toBe(Number(code));
    expect(result.err).not.toContain('bug:');
  });
});

describe('where several apply: 2, then 3, 5, 1, 4', () => {
  it.each([
    [2, 'analyze bad.jsonl --report json:nowhere/a.json --report junk:a'],
    [2, 'gate bad.jsonl --config bad.yaml --report json:nowhere/a.json'],
    [3, 'analyze bad.jsonl --report json:nowhere/a.json'],
    [3, 'analyze bad.jsonl --report json:bad.jsonl'],
    [3, 'FULL analyze bad.jsonl'],
    [3, 'gate bad.jsonl --settle 0 --report junit:nowhere/a.xml'],
    [3, 'gate good.jsonl none.jsonl --settle 0 --report junit:nowhere/a.xml'],
    [3, 'FULL gate bad.jsonl lost.jsonl --settle 0 --json'],
    [3, 'FULL inspect bad.jsonl'],
    [3, 'FULL replay cut --rule none'],
    [3, 'report good.jsonl --report html:nowhere/a.html'],
    [3, 'matrix missing.yaml --report json:nowhere/a.json'],
    [3, 'matrix merge good.jsonl --report csv:nowhere/a.csv'],
    [3, 'baseline update bad.jsonl --settle 0 --file ../baseline.json'],
    [3, 'watch /dev/null --idle-exit 1 --state good.yaml --config good.yaml'],
    [5, 'analyze lost.jsonl --fail-on error --report json:nowhere/a.json'],
    [5, 'FULL analyze head.csv'],
    [5, 'gate lost.jsonl --settle 0 --report junit:nowhere/a.xml'],
    [5, 'gate torn.jsonl --settle 0 --report junit:nowhere/a.xml'],
    [5, 'gate lost.jsonl --settle 0 --exit-zero --report junit:nowhere/a.xml'],
    [5, 'FULL gate lost.jsonl --settle 0'],
    [5, 'FULL curvature capture --max-products 2'],
    [5, 'matrix merge shard-1.json --report csv:nowhere/a.csv'],
    [5, 'baseline update torn.jsonl --settle 0 --file ../baseline.json'],
    [1, 'gate lost.jsonl torn.jsonl --settle 0'],
  ])('%i: %s', async (code, line) => {
    const result = await ended(line);
    expect(result.code, result.err).toBe(code);
  });

  it('what cannot be written is told once, before the verdict, which is out all the same', async () => {
    const { code, out, err } = await ended(
      'gate bad.jsonl --settle 0 --json --report junit:nowhere/a.xml --report json:told.json',
    );
    expect(code).toBe(3);
    expect(err.match(/output-unwritable/g)).toEqual(['output-unwritable']);
    expect(JSON.parse(out).gate.exitCode).toBe(3);
    expect(JSON.parse(readFileSync(join(folder, 'told.json'), 'utf8')).gate.exitCode).toBe(3);
  });

  it('--json is one document also where the output is what is wrong', async () => {
    for (const line of [
      'init --dir good.jsonl/x --json',
      'matrix study.yaml --report json:nowhere/a.json --json',
      'baseline update good.jsonl --settle 0 --file ../baseline.json --json',
    ]) {
      const { code, out } = await ended(line);
      expect([line, code, JSON.parse(out).error.id]).toEqual([line, 5, expect.stringMatching(/^output-/)]);
    }
  });
});
