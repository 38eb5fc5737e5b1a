/** `gate`, `baseline` and `report`: exit codes, files, and what must not be overwritten. */
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const fixture = (name: string): string => join(projectRoot, `fixtures/logs/${name}`);
const healthy = fixture('healthy/input.jsonl');
const diverged = fixture('full-divergence/input.jsonl');

const folder = scratchFolders('gate');
const file = (name: string, text: string | Buffer): string => {
  const path = join(folder(), name);
  writeFileSync(path, text);
  return path;
};

const POLICY = 'version: 1\nextends: recommended\n';

const text = readFileSync(healthy, 'utf8');
const lines = text.trimEnd().split('\n');

test.each([
  ['a healthy run', () => [healthy], 0],
  ['a healthy run, as event files', () => [fixture('healthy-tb/input.tfevents')], 0],
  ['a run that diverged', () => [diverged], 1],
  ['a run that came back', () => [fixture('micro-divergence/input.jsonl')], 0],
  ['a run that went to NaN', () => [fixture('nan-overflow/input.jsonl')], 1],
  ['both', () => [healthy, diverged], 1],
  ['a threshold that holds', () => [healthy, '--rule', 'last(loss) <= 0.7'], 0],
  ['a threshold that fails', () => [healthy, '--rule', 'last(loss) <= 0.2'], 1],
  ['a failure with --exit-zero', () => [diverged, '--exit-zero'], 0],
  ['a threshold that holds, on a run that diverged', () => [diverged, '--rule', 'last(loss) <= 1e9'], 1],
  ['a window past the end', () => [healthy, '--config', windowed('full-divergence', 100_000)], 4],
  ['a window past the end, of a threshold', () => [healthy, '--config', windowed('max(loss) < 9', 1e5)], 4],
  ['a window past the end that may be missing', () => [healthy, '--config', skipping(100_000)], 4],
  ['a window in the run', () => [healthy, '--config', windowed('full-divergence', 300)], 0],
  ['a window on a saved report', () => [file('r.json', saved), '--config', windowed('drift', 300)], 4],
  [
    'a window that holds all of a saved report',
    () => [file('r.json', saved), '--config', windowed('drift', 0)],
    0,
  ],
  [
    'a report without detectorsRun',
    () => [file('r.json', without('detectorsRun')), '--rule', 'non-finite'],
    4,
  ],
  ['a missing metric', () => [healthy, '--rule', 'max(auk) > 0.5'], 4],
  ['a missing metric with --exit-zero', () => [healthy, '--rule', 'max(auk) > 0.5', '--exit-zero'], 0],
  ['a missing log', () => ['no-such.jsonl'], 3],
  ['a missing log with --exit-zero', () => ['no-such.jsonl', '--exit-zero'], 3],
  ['a missing log beside a healthy one', () => [healthy, 'no-such.jsonl'], 3],
  ['an empty log', () => [file('a.jsonl', '')], 3],
  ['an empty folder', () => [folder()], 3],
  ['a pattern that matches nothing', () => ['no/*.jsonl'], 3],
  ['a log with one point', () => [file('a.jsonl', `${lines[0]}\n`)], 4],
  ['a torn last record', () => [file('a.jsonl', text.slice(0, -30))], 4],
  ['bad lines', () => [file('a.jsonl', text.replace(`${lines[300]}\n`, '{"step": 300, "loss\n'))], 3],
  [
    'a resume that explodes, 30 points',
    () => [
      file(
        'a.jsonl',
        resumed(30, (k) => 150 + k),
      ),
    ],
    1,
  ],
  [
    'a resume that explodes, 8 points',
    () => [
      file(
        'a.jsonl',
        resumed(8, (k) => 150 + k),
      ),
    ],
    1,
  ],
  [
    'a resume at five times the level',
    () => [
      file(
        'a.jsonl',
        resumed(110, () => 2),
      ),
    ],
    1,
  ],
  [
    'a resume at its level',
    () => [
      file(
        'a.jsonl',
        resumed(110, (k) => 0.4 + 0.001 * (k % 3)),
      ),
    ],
    0,
  ],
  ['an unclosed quote, by rules alone', () => [file('a.csv', unclosed()), ...alone('max(loss) < 5')], 3],
  ['a hole of NULs, by rules alone', () => [file('a.jsonl', hole()), ...alone('max(loss) < 5')], 3],
  ['1.#INF, by rules alone', () => [file('a.log', printed('1.#INF')), ...alone('max(loss) < 5')], 1],
  [
    'a thousands separator, by rules alone',
    // Read as 1234.5, which breaks the rule.
    () => [file('a.log', printed('1,234.5')), ...alone('max(loss) < 5')],
    1,
  ],
  ['tensor(nan) in a printed log', () => [file('a.log', printed('tensor(nan)'))], 1],
  ['null for 60 losses', () => [file('a.jsonl', lossFrom(300, 360, 'null'))], 1],
  ['null for one loss', () => [file('a.jsonl', lossFrom(300, 301, 'null'))], 1],
  ['null for the last loss', () => [file('a.jsonl', lossFrom(599, 600, 'null'))], 1],
  ['null for every second loss, a rhythm', () => [file('a.jsonl', lossFrom(0, 600, 'null', 2))], 0],
  [
    'a limit of missing losses',
    () => [file('a.jsonl', lossFrom(0, 600, 'null', 2)), '--rule', 'missing(loss) <= 299'],
    1,
  ],
  ['a limit of missing losses that holds', () => [healthy, '--rule', 'missing(loss) == 0'], 0],
  ['text for 60 losses', () => [file('a.jsonl', lossFrom(300, 360, '"overflow"'))], 3],
  ['a tensor of NaN for 60 losses', () => [file('a.jsonl', lossFrom(300, 600, '"tensor(nan)"'))], 1],
  ['text in a norm that no rule reads', () => [file('a.jsonl', norms('"***"'))], 0],
  [
    'text in a norm that a rule reads',
    () => [file('a.jsonl', norms('"***"')), '--rule', 'max(grad_norm) < 1e9'],
    3,
  ],
  [
    'text in a norm that a rule allows',
    () => [file('a.jsonl', norms('"***"')), '--rule', 'refused(grad_norm) <= 9'],
    0,
  ],
  ['a report without an account', () => [file('r.json', saved.replace(/"account"/g, '"acount"'))], 4],
  [
    'a report whose account is open',
    () => [file('r.json', saved.replace(/"overhead": \d+/, '"overhead": 7'))],
    4,
  ],
  ['a loss that stops', () => [file('a.jsonl', stopped())], 4],
  ['an unknown rule', () => [healthy, '--rule', 'loss-spkie'], 2],
  ['a limit that is not finite', () => [healthy, '--rule', 'last(loss) < Infinity'], 2],
  ['no rules at all', () => [healthy, '--no-config'], 2],
  ['an unknown format', () => [healthy, '--report', 'jnuit:x.xml'], 2],
  ['two reports into one file', () => [healthy, '--report', 'junit:x', '--report', 'sarif:x'], 2],
  ['two spellings of one file', () => [healthy, '--report', 'junit:x.xml', '--report', 'sarif:./x.xml'], 2],
  ['a report over the config', () => overConfig(), 5],
  ['a report over the baseline', () => overBaseline(), 5],
  ['a report with a key twice', () => [file('r.json', saved.replace('"runs":', '"runs": [], "runs":'))], 3],
  ['a report into no folder', () => [healthy, '--report', 'junit:no/such/x.xml'], 5],
  ['a torn report', () => [file('r.json', saved.slice(0, 900))], 3],
  ['a report that is a log of its own', () => [file('r.json', saved)], 0],
] as const)('%s', async (_name, args, code) => {
  const words = args();
  const kept = words.filter((word) => /\.(yaml|json)$/.test(word) && existsSync(word));
  const before = kept.map((path) => readFileSync(path, 'utf8'));
  const result = await cli(['gate', ...words], { cwd: folder() });
  expect(kept.map((path) => readFileSync(path, 'utf8'))).toEqual(before);
  expect([result.code, result.err]).toEqual([code, code === 0 || code === 1 || code === 4 ? '' : result.err]);
  if (code === 2 || code === 3) expect(result.out + result.err).not.toContain('gate passed');
});

/** 600 points at 0.4, and a resume at step 590. */
function resumed(points: number, loss: (k: number) => number): string {
  const row = (step: number, value: number): string => `{"step": ${step}, "loss": ${value}}\n`;
  const before = Array.from({ length: 600 }, (_, k) => row(k, 0.4 + 0.001 * (k % 5)));
  return [...before, ...Array.from({ length: points }, (_, k) => row(590 + k, loss(k)))].join('');
}

/** A quote that nothing closes, and the rows behind it at 147.2. */
const unclosed = (): string =>
  `step,loss\n${Array.from({ length: 600 }, (_, k) => (k < 300 ? `${k},0.4` : k === 300 ? `${k},"0.4` : `${k},147.2`)).join('\n')}\n`;

/** 200 of 600 lines are zero bytes. */
const hole = (): Buffer => {
  const bytes = Buffer.from(text);
  const [from, to] = [lines.slice(0, 300).join('\n').length + 1, lines.slice(0, 500).join('\n').length];
  return bytes.fill(0, from, to);
};

const printed = (loss: string): string =>
  `${Array.from({ length: 400 }, (_, k) => `iter ${k}: loss ${k < 300 ? (1 + 1 / (k + 1)).toFixed(4) : loss}, time 245.26ms`).join('\n')}\n`;

const alone = (rule: string): string[] => ['--no-config', '--rule', rule];

/** The healthy log with other losses in some lines. */
const lossFrom = (from: number, to: number, value: string, every = 1): string =>
  `${lines.map((line, k) => (k >= from && k < to && k % every === every - 1 ? line.replace(/"loss": [^,}]*/, `"loss": ${value}`) : line)).join('\n')}\n`;

const norms = (value: string): string =>
  `${lines.map((line, k) => (k % 100 === 50 ? line.replace(/"grad_norm": [^,}]*/, `"grad_norm": ${value}`) : line)).join('\n')}\n`;

function windowed(rule: string, from: number): string {
  return file('w.yaml', `${POLICY}rules: { ${JSON.stringify(rule)}: [error, { from: ${from} }] }\n`);
}

function skipping(from: number): string {
  return file('w.yaml', `${POLICY}missing: skip\nrules: { "max(loss) < 9": [error, { from: ${from} }] }\n`);
}

function without(member: string): string {
  const report = JSON.parse(saved) as Report;
  return JSON.stringify({ ...report, runs: report.runs.map((run) => ({ ...run, [member]: undefined })) });
}

function overConfig(): string[] {
  const config = file('k.yaml', POLICY);
  return [healthy, '--config', config, '--report', `json:${config}`];
}

function overBaseline(): string[] {
  const baseline = file('b.json', '{"schemaVersion": "1.0", "runs": []}');
  const config = file('c.yaml', `${POLICY}baseline: { file: ${JSON.stringify(baseline)} }\n`);
  return [healthy, '--config', config, '--report', `json:${baseline}`];
}

/** The healthy log without losses in its second half. */
function stopped(): string {
  return `${lines.map((line, i) => (i < 300 ? line : line.replace(/"loss": [^,]*, /, ''))).join('\n')}\n`;
}

const saved = (await cli(['analyze', healthy, '--json'])).out;

test('one JSON document, with the contract of the gate', async () => {
  const result = await cli(['gate', diverged, '--json', '--rule', 'last(loss) <= 0.2']);
  const { gate, verdict } = JSON.parse(result.out) as Report;
  expect(result.code).toBe(1);
  expect(verdict.class).toBe('full-divergence');
  expect(gate!.passed).toBe(false);
  for (const rule of gate!.rules)
    expect(Object.keys(rule)).toEqual(
      expect.arrayContaining(['id', 'severity', 'passed', 'expected', 'found', 'series', 'step', 'message']),
    );
  expect(gate!.rules.at(-1)).toMatchObject({
    id: 'last(loss) <= 0.2',
    passed: false,
    series: 'loss',
    step: 599,
  });
});

describe('a log that is written to', () => {
  /** A log that was last written to so many seconds ago, by a clock that moves only while the gate sleeps. */
  const gateAt = async (
    age: number,
    args: readonly string[] = [],
    meanwhile: (path: string) => void = () => {},
  ) => {
    const path = file('a.jsonl', text);
    let now = 1_700_000_000_000;
    const modified = (now - 1000 * age) / 1000;
    utimesSync(path, modified, modified);
    const slept: number[] = [];
    const { code, out } = await cli(['gate', path, ...args], {
      io: {
        now: () => now,
        sleep: async (milliseconds) => {
          slept.push(milliseconds);
          now += milliseconds;
          meanwhile(path);
        },
      },
    });
    return { code, slept, out };
  };
  /** Adds a line, at a time of the clock's. */
  const append = (path: string): void => {
    appendFileSync(path, `${lines[10]}\n`);
    utimesSync(path, 1_700_000_001, 1_700_000_001);
  };

  test('waits until it has rested, and not longer', async () => {
    expect(await gateAt(2)).toMatchObject({ code: 0, slept: [3000] });
    expect(await gateAt(0)).toMatchObject({ code: 0, slept: [5000] });
    expect(await gateAt(2, ['--settle', '60'])).toMatchObject({ code: 0, slept: [58_000] });
    // An older one is judged at once, and so is one of a time to come: of another machine's clock.
    for (const age of [5, 5.1, 3600, -1, -3600])
      expect([age, await gateAt(age)]).toMatchObject([age, { code: 0, slept: [] }]);
    expect(await gateAt(0, ['--settle', '0'])).toMatchObject({ code: 0, slept: [] });
  });

  test('one that grows meanwhile is inconclusive, and a rule that failed for good outranks that', async () => {
    expect(await gateAt(2, [], append)).toMatchObject({
      code: 4,
      out: expect.stringMatching(/\?{4} {2}input-still-written {2}.* is still being written to/) as string,
    });
    expect(await gateAt(2, ['--rule', 'max(loss) < 0.1'], append)).toMatchObject({ code: 1 });
    // Of the same size, or another file under its name.
    expect(await gateAt(2, [], (path) => utimesSync(path, 1_700_000_001, 1_700_000_001))).toMatchObject({
      code: 4,
    });
    expect(
      await gateAt(2, [], (path) => {
        writeFileSync(`${path}.new`, text);
        utimesSync(`${path}.new`, 1_699_999_998, 1_699_999_998);
        renameSync(`${path}.new`, path);
      }),
    ).toMatchObject({ code: 4 });
    expect(await gateAt(2, [], (path) => rmSync(path))).toMatchObject({ code: 4 });
  });

  test('one that was written to after the reading began is inconclusive without a wait', async () => {
    const path = file('a.jsonl', text);
    let now = 1_700_000_000_000;
    // Every look at the clock takes a second: by the last, the time of the file is past, and later than the start.
    utimesSync(path, 1_700_000_001.5, 1_700_000_001.5);
    const clock = { now: () => (now += 1000) };
    expect((await cli(['gate', path, '--settle', '0'], { io: clock })).code).toBe(4);
    expect(
      (await cli(['baseline', 'update', path, '--settle', '0', '--file', 'no.json'], { cwd: folder() })).code,
    ).toBe(0);
  });

  test('a log that grows all the time never passes, by the real clock', async () => {
    const path = file('a.jsonl', text);
    const grows = setInterval(() => appendFileSync(path, `${lines[10]}\n`), 20);
    try {
      const io = { now: Date.now, sleep: (ms: number) => new Promise<void>((done) => setTimeout(done, ms)) };
      // `--settle 0` looks once, and may find no growth in the moment that reading takes.
      for (const args of [
        ['--settle', '1'],
        ['--rule', 'last(loss) < 9', '--settle', '1'],
      ])
        expect((await cli(['gate', path, ...args], { io })).code).not.toBe(0);
      const into = join(folder(), 'base.json');
      const update = await cli(
        ['baseline', 'update', path, '--allow-outside', '--settle', '1', '--file', into],
        { io },
      );
      expect([update.code, existsSync(into)]).toEqual([4, false]);
    } finally {
      clearInterval(grows);
    }
    // It has ended: the gate waits, and passes.
    writeFileSync(path, text);
    expect((await cli(['gate', path])).code).toBe(0);
  });
});

describe('config and baseline', () => {
  const config = (extra = ''): string =>
    `version: 1\nextends: recommended\nrules: { "last(loss) <= 0.7": error }\nbaseline: { file: base.json, tolerance: { relative: 0.05 } }\n${extra}`;

  test('baseline update writes inside of the working tree, unless it may go outside', async () => {
    const root = folder();
    const outside = join(folder(), 'b.json');
    mkdirSync(join(root, '.git'));
    mkdirSync(join(root, 'sub'));
    copyFileSync(healthy, join(root, 'sub', 'log.jsonl'));
    symlinkSync(dirname(outside), join(root, 'sub', 'link'));
    const update = (cwd: string, ...args: string[]) =>
      cli(['baseline', 'update', join(root, 'sub', 'log.jsonl'), ...args], { cwd });
    const sub = join(root, 'sub');
    const config = (file: string): void =>
      writeFileSync(join(sub, '.clippy-diag.yaml'), `${POLICY}baseline: { file: ${JSON.stringify(file)} }\n`);
    for (const file of [outside, '../../x.json', 'link/b.json', `${root}-beside.json`]) {
      config(file);
      for (const args of [[], ['--file', file]]) {
        const { code, err } = await update(sub, ...args);
        expect([file, code, err]).toEqual([file, 5, expect.stringContaining('error[output-outside]')]);
      }
    }
    expect(readdirSync(dirname(outside))).toEqual([]);
    config('../base.json');
    expect((await update(sub)).code).toBe(0);
    expect(existsSync(join(root, 'base.json'))).toBe(true);
    expect((await update(sub, '--file', outside, '--allow-outside')).code).toBe(0);
    expect(existsSync(outside)).toBe(true);
    // Without a repository: this folder, or that of the config above it.
    const plain = folder();
    mkdirSync(join(plain, 'a'));
    expect((await update(join(plain, 'a'), '--file', '../b.json')).code).toBe(5);
    writeFileSync(join(plain, '.clippy-diag.yaml'), `${POLICY}baseline: { file: b.json }\n`);
    expect((await update(join(plain, 'a'))).code).toBe(0);
    expect(readdirSync(plain)).toContain('b.json');
  });

  test('a baseline that is missing, written, held and regressed', async () => {
    const cwd = folder();
    writeFileSync(join(cwd, '.clippy-diag.yaml'), config());
    const log = join(cwd, 'log.jsonl');
    copyFileSync(healthy, log);
    expect((await cli(['gate', 'log.jsonl'], { cwd })).code).toBe(3);
    expect((await cli(['baseline', 'show'], { cwd })).code).toBe(3);
    expect(await cli(['baseline', 'update', 'log.jsonl'], { cwd })).toMatchObject({ code: 0, err: '' });
    expect((await cli(['gate', 'log.jsonl'], { cwd })).code).toBe(0);
    expect((await cli(['baseline', 'show'], { cwd })).out).toContain('last(loss) = 0.5250');
    const before = readFileSync(join(cwd, 'base.json'), 'utf8');
    const worse = text.replace(/"loss": ([\d.]+)/g, (_, x: string) => `"loss": ${Number(x) * 1.2}`);
    writeFileSync(log, worse);
    const result = await cli(['gate', 'log.jsonl'], { cwd });
    expect(result.code).toBe(1);
    expect(result.out).toMatch(
      /FAIL {2}baseline {2}last\(loss\) is 0\.63\d* at step 599, its baseline 0\.525\d* at step 599/,
    );
    // The ratchet does not let go, unless told to.
    expect((await cli(['baseline', 'update', 'log.jsonl'], { cwd })).code).toBe(0);
    expect(readFileSync(join(cwd, 'base.json'), 'utf8')).toBe(before);
    expect((await cli(['baseline', 'update', 'log.jsonl', '--no-ratchet'], { cwd })).code).toBe(0);
    expect((await cli(['gate', 'log.jsonl'], { cwd })).code).toBe(0);
    writeFileSync(join(cwd, 'base.json'), '{"schemaVersion":"1.0"}');
    expect((await cli(['gate', 'log.jsonl'], { cwd })).code).toBe(3);
    // Damaged logs are no baseline.
    writeFileSync(log, text.replace(`${lines[300]}\n`, '{oops\n'));
    expect((await cli(['baseline', 'update', 'log.jsonl', '--file', 'new.json'], { cwd })).code).toBe(3);
    expect(existsSync(join(cwd, 'new.json'))).toBe(false);
  });

  test('the config applies beside --rule, unless --no-config', async () => {
    const cwd = folder();
    writeFileSync(join(cwd, '.clippy-diag.yaml'), 'version: 1\nrules: { "last(loss) <= 0.1": error }\n');
    const code = async (...args: string[]): Promise<number | null> =>
      (await cli(['gate', healthy, ...args], { cwd })).code;
    expect(await code()).toBe(1);
    expect(await code('--rule', 'last(loss) <= 0.7')).toBe(1);
    expect(await code('--rule', 'last(loss) <= 0.7', '--no-config')).toBe(0);
    writeFileSync(
      join(cwd, '.clippy-diag.yaml'),
      'version: 1\nextends: recommended\nexpect: { steps: 601 }\n',
    );
    expect(await code()).toBe(4);
    writeFileSync(
      join(cwd, '.clippy-diag.yaml'),
      'version: 1\nextends: recommended\nexpect: { steps: 600 }\n',
    );
    expect(await code()).toBe(0);
  });
});

describe('reports', () => {
  test('every format at once, and `report` gives the same bytes from the saved one', async () => {
    const cwd = folder();
    const formats = Object.keys(REPORT_FORMATS);
    const result = await cli(['gate', diverged, ...formats.flatMap((f) => ['--report', `${f}:${f}.out`])], {
      cwd,
    });
    expect([result.code, result.err]).toEqual([1, '']);
    expect(readdirSync(cwd).sort()).toEqual(formats.map((f) => `${f}.out`).sort());
    copyFileSync(join(cwd, 'json.out'), join(cwd, 'saved.json'));
    const again = formats.flatMap((f) => ['--report', `${f}:${f}.again`]);
    expect((await cli(['report', 'saved.json', ...again], { cwd })).code).toBe(0);
    for (const format of formats)
      expect(readFileSync(join(cwd, `${format}.again`), 'utf8')).toBe(
        readFileSync(join(cwd, `${format}.out`), 'utf8'),
      );
    expect((await cli(['report', 'saved.json', '--to', 'html'], { cwd })).out).toBe(
      readFileSync(join(cwd, 'html.out'), 'utf8'),
    );
    expect((await cli(['gate', 'saved.json'], { cwd })).code).toBe(1);
    expect((await cli(['gate', 'saved.*'], { cwd })).code).toBe(1);
    expect((await cli(['gate', diverged, '--report', 'sarif:-'], { cwd })).out).toMatch(
      /^\{\n {2}"\$schema"/,
    );
    expect((await cli(['gate', diverged, '--report', 'github:-'], { cwd })).out).toMatch(
      /gate failed.*\n::error /s,
    );
  });

  test('an old report survives every failure, and no temporary file stays', async () => {
    const cwd = folder();
    writeFileSync(join(cwd, 'old.xml'), 'old');
    expect((await cli(['gate', 'no-such', '--report', 'junit:old.xml'], { cwd })).code).toBe(3);
    expect(readFileSync(join(cwd, 'old.xml'), 'utf8')).toBe('old');
    mkdirSync(join(cwd, 'dir'));
    expect((await cli(['gate', healthy, '--report', 'junit:dir'], { cwd })).code).toBe(5);
    expect(readdirSync(cwd).sort()).toEqual(['dir', 'old.xml']);
  });

  test('an input is never overwritten: by name, by link, or inside a folder', async () => {
    const cwd = folder();
    copyFileSync(healthy, join(cwd, 'log.jsonl'));
    symlinkSync('log.jsonl', join(cwd, 'link'));
    for (const [input, output] of [
      ['log.jsonl', 'log.jsonl'],
      ['log.jsonl', './link'],
      ['.', 'log.jsonl'],
    ] as const)
      expect((await cli(['gate', input, '--report', `json:${output}`], { cwd })).code).toBe(5);
    expect(readFileSync(join(cwd, 'log.jsonl'), 'utf8')).toBe(text);
  });

  test('a link to a report stays a link', async () => {
    const cwd = folder();
    writeFileSync(join(cwd, 'real.xml'), 'old');
    symlinkSync('real.xml', join(cwd, 'link.xml'));
    expect((await cli(['gate', healthy, '--report', 'junit:link.xml'], { cwd })).code).toBe(0);
    expect(readFileSync(join(cwd, 'real.xml'), 'utf8')).toContain('<testsuites');
  });

  test.skipIf(!existsSync('/dev/full'))(
    'a report to a full disk is 5, and the device stays what it is',
    async () => {
      expect((await cli(['gate', healthy, '--report', 'junit:/dev/full'])).code).toBe(5);
      expect(existsSync('/dev/full')).toBe(true);
    },
  );

  test.skipIf(process.getuid?.() === 0)(
    'a read-only folder is found out before the log is read',
    async () => {
      const cwd = folder();
      mkdirSync(join(cwd, 'ro'), { mode: 0o500 });
      const result = await cli(['gate', healthy, '--report', 'junit:ro/x.xml'], { cwd });
      expect([result.code, result.err]).toEqual([5, expect.stringContaining('permission denied')]);
    },
  );

  test('what cannot be written is told before the log is read, whose damage outranks it', async () => {
    const told: string[] = [];
    const stderr = {
      write(text: string, done?: () => void) {
        told.push(text);
        done?.();
      },
    };
    const result = await cli(['gate', '-', '--report', 'junit:/proc/x.xml'], {
      io: {
        stderr,
        stdin: (async function* () {
          told.push('the log');
          yield Buffer.from('{"step":1,"loss":1}\ngarbage\n{"step":2,"loss":1}\n');
        })(),
      },
    });
    expect([result.code, told.slice(0, 2)]).toEqual([
      3,
      [expect.stringContaining('error[output-unwritable]'), 'the log'],
    ]);
  });
});

test.each([
  [0.97, 1],
  [0.5, 0],
])("a guard's pulse whose largest risk is %f: exit code %i under max(risk) < 0.9", async (risk, code) => {
  const pulse = Array.from({ length: 60 }, (_, step) =>
    JSON.stringify({ step, loss: 1 / (step + 1), grad_norm: 2, risk: step === 40 ? risk : 0.01 }),
  );
  const path = file('pulse.jsonl', `${pulse.join('\n')}\n`);
  const gated = await cli(['gate', path, '--rule', 'max(risk) < 0.9']);
  expect(gated.code, gated.out + gated.err).toBe(code);
});
