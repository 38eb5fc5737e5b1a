/** The scorer of the incident bench against a count by hand on 20 cases, and against tools that run. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { falls, onsetError, score } from '../../bench/incidents/lib/score.js';
import { projectRoot } from '../support/shared-data.ts';

const BENCH = join(projectRoot, 'bench', 'incidents');
const ALL = ['link', 'trigger', 'tensor', 'factor'];
const remedies = (...holding: string[]) =>
  ['clip', 'skip-batches', 'lower-learning-rate', 'restore-schedule', 'reload-weights', 'fix-code'].map(
    (action) => ({ action, holds: holding.includes(action), lost: [] }),
  );

interface Part {
  readonly [name: string]: unknown;
}
const truth = (id: string, part: Part): Part => ({
  id,
  kind: 'injected',
  family: { model: 'mlp', optimizer: 'adam', fault: id.replace(/\d+$/, '') },
  alarm: true,
  visibleIn: ['log', 'capture'],
  classes: ['diverged', 'drift'],
  onset: { first: 100, last: 103 },
  links: ['none'],
  triggers: ['data'],
  tensors: [],
  factor: null,
  remedies: remedies(),
  cannotBeKnownFrom: { log: ALL },
  ...part,
});
const healthy = { alarm: false, visibleIn: [], classes: ['healthy'], onset: null, cannotBeKnownFrom: {} };
const surge = { remedies: remedies('skip-batches', 'clip') };
const rate = {
  triggers: ['learning-rate'],
  factor: 10,
  remedies: remedies('restore-schedule', 'lower-learning-rate'),
  cannotBeKnownFrom: { log: ['link', 'tensor'] },
};
const silent = { visibleIn: ['capture'], classes: ['silent'], links: ['clip'], triggers: ['code'] };
const nothing = { classes: ['non-finite'], onset: { first: 50, last: 50 } };

const HAND: readonly (readonly [string, Part, Part | null])[] = [
  ['calm1', healthy, { alarm: false }],
  ['calm2', healthy, { alarm: true }],
  ['calm3', healthy, { alarm: null }],
  ['calm4', healthy, null],
  ['calm5', { ...healthy, kind: 'twin' }, { alarm: false }],
  ['surge1', surge, { alarm: true, class: 'diverged', onset: 102, remedies: ['skip-batches'] }],
  [
    'surge2',
    surge,
    { alarm: true, class: 'recovered', onset: 113, trigger: 'data', remedies: ['lower-learning-rate'] },
  ],
  ['surge3', surge, { alarm: true, class: 'diverged', onset: 114, trigger: null, remedies: [] }],
  ['surge4', surge, { alarm: false, class: 'healthy' }],
  ['surge5', surge, null],
  [
    'rate1',
    rate,
    {
      alarm: true,
      class: 'diverged',
      onset: 96,
      trigger: 'learning-rate',
      factor: 10.05,
      remedies: ['restore-schedule'],
    },
  ],
  [
    'rate2',
    rate,
    {
      alarm: true,
      class: 'drift',
      onset: null,
      trigger: 'data',
      factor: 11,
      link: 'clip',
      remedies: ['rewind'],
    },
  ],
  [
    'rate3',
    rate,
    { alarm: true, class: 'diverged', onset: 103, trigger: null, remedies: ['lower-learning-rate'] },
  ],
  ['silent1', silent, { alarm: false }],
  ['silent2', silent, { alarm: true, link: 'clip' }],
  ['overflow1', nothing, { alarm: true, class: 'non-finite', onset: 50 }],
  ['overflow2', nothing, { alarm: null }],
  [
    'back1',
    { classes: ['recovered'], onset: { first: 200, last: 200 }, remedies: remedies('reload-weights') },
    { alarm: true, class: 'recovered', onset: 200, remedies: ['rewind'] },
  ],
  ['calm6', healthy, { alarm: false }],
  [
    'clip1',
    {
      classes: ['silent'],
      onset: null,
      links: ['clip'],
      triggers: ['code'],
      tensors: ['head.weight'],
      factor: 0.5,
      remedies: remedies('fix-code'),
      cannotBeKnownFrom: {},
    },
    {
      alarm: true,
      class: 'silent',
      link: 'clip',
      trigger: 'code',
      tensor: 'body.weight',
      factor: 0.5,
      remedies: ['fix-code'],
    },
  ],
];

const folders: string[] = [];
const scratch = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'bench-test-'));
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

describe('the scorer and a count by hand', () => {
  const scored = score(
    HAND.map(([id, part, answer]) => ({ truth: truth(id, part), answer, seconds: 1 })),
    'log',
  );
  // Each was counted from the list above with pencil and paper.
  it.each([
    ['detection', 9, 12],
    ['falseAlarm', 1, 6],
    ['abstained', 2, 18],
    ['class', 8, 12],
    ['onsetNear', 6, 11],
    ['link', 1, 1],
    ['trigger', 2, 4],
    ['tensor', 0, 1],
    ['factor', 2, 4],
    ['remedy', 5, 10],
    ['honoured', 39, 42],
    ['failed', 2, 20],
  ] as const)('%s: %i of %i', (name, hits, n) => {
    expect(scored.measures[name]).toMatchObject({ hits, n, share: hits / n });
  });

  it('gives the median of the onset errors 0 0 0 0 4 10 11', () => {
    expect(scored.measures.onsetError).toMatchObject({ n: 7, median: 0 });
  });

  it('lists the worst families first', () => {
    expect(scored.worst.map(({ fault, missed, falseAlarms }) => [fault, missed, falseAlarms])).toEqual([
      ['surge', 2, 0],
      ['calm', 0, 1],
      ['overflow', 1, 0],
    ]);
  });

  it('counts no abstention of a tool that never answers a question', () => {
    const mute = score([{ truth: truth('silent1', silent), answer: { alarm: false }, seconds: 1 }], 'log');
    expect(mute.measures.honoured.n).toBe(0);
  });

  it('has the interval of Wilson: 9 of 12 is 46.8 % to 91.1 %', () => {
    expect(scored.measures.detection.low).toBeCloseTo(0.4677, 4);
    expect(scored.measures.detection.high).toBeCloseTo(0.9111, 4);
  });

  it('names a measure that fell, one that rose, and one that nothing measures', () => {
    const floor = { detection: { least: 0.76 }, falseAlarm: { most: 0.1 }, class: { least: 0.6 } };
    expect(falls(scored.measures, floor)).toEqual([
      'detection is 0.750, below 0.76',
      'falseAlarm is 0.167, above 0.1',
    ]);
    expect(falls(score([], 'log').measures, { link: { least: 0 } })).toEqual(['link: no case measures it']);
  });

  it.each([
    [99, 1],
    [100, 0],
    [103, 0],
    [113, 10],
  ])('an onset at %i is %i steps away from 100 to 103', (onset, error) => {
    expect(onsetError(onset, { first: 100, last: 103 })).toBe(error);
  });
});

const page = readFileSync(join(BENCH, 'PROTOCOL.md'), 'utf8');
const example = (language: string): string =>
  new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(page)![1]!;

function twoCases(): string {
  const folder = scratch();
  const losses: Record<string, (step: number) => number | string> = {
    'a-lost': (step) => (step < 30 ? 1 + 1 / (step + 1) : 'NaN'),
    'b-calm': (step) => 1 + 1 / (step + 1),
  };
  for (const [id, lossAt] of Object.entries(losses)) {
    const evidence = join(folder, id, 'evidence');
    mkdirSync(evidence, { recursive: true });
    const lines = Array.from(
      { length: 60 },
      (_, step) => `{"step": ${step}, "loss": ${JSON.stringify(lossAt(step))}}\n`,
    );
    writeFileSync(join(evidence, 'metrics.jsonl'), lines.join(''));
    const part = id === 'a-lost' ? { ...nothing, onset: { first: 30, last: 30 } } : healthy;
    writeFileSync(join(folder, id, 'truth.json'), JSON.stringify({ ...truth(id, part), half: 'open' }));
  }
  return folder;
}

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(BENCH, 'clippy-bench.js'), ...args], { encoding: 'utf8' });
const scoreOf = (tool: string, cases: string, ...more: string[]) =>
  bench('score', '--tool', tool, '--cases', cases, '--evidence', 'log', '--json', ...more);

describe('tools that run', () => {
  const cases = twoCases();

  it.each([
    ['sh', 'sh'],
    ['python', 'python3'],
  ])('the example of the protocol in %s answers', (language, program) => {
    const file = join(scratch(), 'tool');
    writeFileSync(file, example(language));
    const { stdout, status } = scoreOf(`${program} ${file} {case}`, cases);
    expect(status).toBe(0);
    const { measures } = JSON.parse(stdout);
    expect(measures).toMatchObject({
      detection: { hits: 1, n: 1 },
      falseAlarm: { hits: 0, n: 1 },
      failed: { hits: 0 },
    });
    expect(measures.onsetError.median).toBe(0);
  });

  it('shows a tool the evidence alone, in a folder whose name tells nothing', () => {
    const file = join(scratch(), 'tool.sh');
    writeFileSync(file, '#!/bin/sh\nfind "$1" >&2\necho "{}"\nexit 3\n');
    chmodSync(file, 0o755);
    const { stdout } = scoreOf(`sh ${file} {case}`, cases);
    expect(JSON.parse(stdout).measures.failed).toMatchObject({ hits: 0, n: 2 });
    const seen = join(scratch(), 'seen');
    writeFileSync(file, `#!/bin/sh\nfind "$1" -type f >> ${seen}\necho '{"alarm": false}'\n`);
    scoreOf(`sh ${file} {case}`, cases);
    expect(readFileSync(seen, 'utf8')).not.toMatch(/truth|twin|lost|calm/);
  });

  it('counts a tool that hangs, one that prints nothing and one that is absent as failed', () => {
    for (const tool of ['sleep 30 {case}', 'true {case}', 'no-such-tool {case}']) {
      const { stdout, status } = scoreOf(tool, cases, '--timeout', '0.2');
      expect(status).toBe(0);
      expect(JSON.parse(stdout).measures).toMatchObject({
        failed: { hits: 2, n: 2 },
        detection: { hits: 0, n: 1 },
      });
    }
  });

  it('ends with 1 below a floor and with 2 where the command line is wrong', () => {
    const floor = join(scratch(), 'floor.json');
    writeFileSync(floor, JSON.stringify({ measures: { detection: { least: 0.5 } } }));
    const calm = join(scratch(), 'calm.sh');
    writeFileSync(calm, `echo '{"alarm": false}'\n`);
    const { status, stderr } = scoreOf(`sh ${calm} {case}`, cases, '--floor', floor);
    expect([status, stderr]).toEqual([1, 'fell: detection is 0.000, below 0.5\n']);
    expect(bench('score', '--tool', 'echo', '--cases', cases).status).toBe(2);
    expect(bench('list', '--cases', join(cases, 'none')).status).toBe(2);
  });

  it('keeps the counts of each tool once, the newest', () => {
    const kept = join(scratch(), 'results.json');
    const calm = join(scratch(), 'calm.sh');
    for (const alarm of [false, true]) {
      writeFileSync(calm, `echo '{"alarm": ${alarm}}'\n`);
      expect(scoreOf(`sh ${calm} {case}`, cases, '--keep', kept, '--name', 'calm').status).toBe(0);
    }
    expect(JSON.parse(readFileSync(kept, 'utf8')).rows).toEqual([
      expect.objectContaining({
        tool: 'calm',
        half: 'open',
        cases: 2,
        detection: [1, 1],
        falseAlarm: [1, 1],
      }),
    ]);
    expect(scoreOf(`sh ${calm} {case}`, cases, '--keep', kept).status).toBe(2);
  });

  it('lists the cases and draws one', () => {
    expect(bench('list', '--cases', cases).stdout).toMatch(/^a-lost +injected +open +non-finite\nb-calm/);
    expect(bench('list', '--cases', cases, '--half', 'hidden')).toMatchObject({
      status: 2,
      stderr: 'clippy-bench: no case is selected\n',
    });
    const drawn = bench('show', 'a-lost', '--cases', cases).stdout;
    expect(drawn).toContain('onset     step 30 to 30');
    expect(drawn).toContain('! not finite');
  });
});
