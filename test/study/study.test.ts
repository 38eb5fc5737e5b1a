/** `matrix STUDY.yaml`: data, cells, shards, interruptions, and what is refused. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DOCUMENTS } from '../../schema/documents.ts';
import { openStudy } from '../../src/experiment/study/open-study.ts';
import { areaUnderCurve, testTask } from '../../src/experiment/study/quality.ts';
import { concludeStudy } from '../../src/experiment/study/summary.ts';
import { createTrainer, judge } from '../../src/experiment/study/train-cell.ts';
import type { CellVerdict, StudyResult, StudySummary } from '../../src/model/study.ts';
import { holdFile } from '../../src/read/bytes/hold-file.ts';
import { renderStudyHtml } from '../../src/report/study-html.ts';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-study-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let files = 0;
function study(text: string): string {
  const path = join(scratch, `study-${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}

/** Rows of a label that a dense column decides, with a categorical column of three values. */
const csv = join(scratch, 'data.csv');
const ROWS = Array.from({ length: 1200 }, (_, i) => {
  const x = Math.sin(12.9898 * i) * 3;
  return `${i},${x.toFixed(4)},${['b', 'a', 'c'][i % 3]},${x + 0.5 * Math.cos(7 * i) > 2.2 ? 1 : 0},${(2 * x + 1).toFixed(3)}`;
});
writeFileSync(csv, `t,x,kind,y,z\n${ROWS.join('\n')}\n`);

const BASE = `version: 1
data: { file: data.csv, order: column t, train: 960, test: 240 }
columns: { x: dense, kind: { categorical: true, dim: 2 }, y: { label: click, loss: sigmoid-cross-entropy } }
models: { tiny: { shared: { type: shared-bottom, units: [6], activation: relu } } }
rules: [none, { global-norm: [0.01, 1] }, { clippy: [{ variableRelativeThreshold: 0, absoluteThreshold: 1.0e-9 }] }]
learningRates: [0.05, 0.5]
seeds: 2
batch: 32
`;
const json = async (...args: string[]): Promise<StudyResult> => {
  const { code, out, err } = await cli(['matrix', ...args, '--json']);
  expect([code, err]).toEqual([0, '']);
  return DOCUMENTS.study.parse(JSON.parse(out)) as unknown as StudyResult;
};

it('a study says of every cell what became of it, and names the best', async () => {
  const path = study(BASE);
  const result = await json(path, '--workers', '1');
  expect(result.cells).toHaveLength(4 * 2 * 2);
  expect(result.study).toMatchObject({ steps: 30, batch: 32, metric: { task: 'click', name: 'auc' } });
  const none = result.summary.find(({ rule }) => rule === 'none')!;
  expect(none.best!.quality.mean).toBeGreaterThan(0.95);
  // What learns nothing is not stable.
  const frozen = result.summary.find(({ rule }) => rule.startsWith('clippy'))!;
  expect(frozen.points.map(({ verdict }) => verdict)).toEqual(['frozen', 'frozen']);
  expect(frozen.best).toBeNull();
  expect(frozen.largestStable).toBeNull();
  // Of a grid the best counts, and is named.
  const grid = result.summary.find(({ rule }) => rule === 'global-norm')!;
  expect(['global-norm:0.01', 'global-norm:1']).toContain(grid.best!.label);
  const { out } = await cli(['matrix', path, '--workers', '1']);
  expect(out).toMatch(/^ +0\.05 +2\/2 frozen, 0\.\d+ ±/m);
  expect(out).toContain(result.conclusion.slice(0, 20));
});

it('merging the shards of a study gives what one run gives, byte for byte', async () => {
  const path = study(BASE);
  const whole = await cli(['matrix', path, '--json', '--workers', '1']);
  const shards = [];
  for (const i of [1, 2, 3]) {
    const file = join(scratch, `shard-${i}.json`);
    writeFileSync(file, (await cli(['matrix', path, '--shard', `${i}/3`, '--workers', '1'])).out);
    shards.push(file);
  }
  // In any order, and one of them twice.
  const merged = await cli(['matrix', 'merge', shards[2]!, shards[0]!, shards[1]!, shards[0]!, '--json']);
  expect([merged.code, merged.err]).toEqual([0, '']);
  expect(merged.out).toBe(whole.out);
  const missing = await cli(['matrix', 'merge', shards[0]!, shards[2]!]);
  expect([missing.code, missing.out]).toEqual([4, '']);
  expect(missing.err).toMatch(/error\[shard-missing\].*2\/3/);
  const other = join(scratch, 'other.json');
  writeFileSync(other, (await cli(['matrix', study(BASE.replace('0.05', '0.06')), '--shard', '1/3'])).out);
  expect((await cli(['matrix', 'merge', shards[0]!, other])).err).toContain('error[shard-other]');
  const changed = JSON.parse(readFileSync(shards[0]!, 'utf8'));
  changed.cells[0].finalLoss *= 2;
  writeFileSync(other, JSON.stringify(changed));
  expect((await cli(['matrix', 'merge', shards[0]!, other])).err).toContain('two results of');
});

it('goes on from the cells that were done, and leaves out a line that was being written', async () => {
  const path = study(BASE);
  const whole = await cli(['matrix', path, '--json', '--workers', '1']);
  const state = join(scratch, 'state.jsonl');
  // Ends after the fifth cell: the clock says so.
  let looks = 0;
  const early = await cli(['matrix', path, '--resume', state, '--workers', '1', '--max-time', '1'], {
    io: { now: () => 4_000 * looks++ },
  });
  expect(early.code).toBe(4);
  expect(early.out).toMatch(/\d+ cells are missing, so that nothing is concluded/);
  const lines = readFileSync(state, 'utf8').trimEnd().split('\n');
  expect(lines.length).toBeGreaterThan(1);
  expect(lines.length).toBeLessThan(17);
  appendFileSync(state, lines[1]!.slice(0, 40));
  const rest = await cli(['matrix', path, '--resume', state, '--workers', '1', '--json']);
  expect([rest.code, rest.out]).toEqual([0, whole.out]);
  // A study that is done can be told of in another form, without any training.
  const all = readFileSync(state, 'utf8');
  expect(all.trimEnd().split('\n')).toHaveLength(JSON.parse(whole.out).cells.length + 1);
  const again = await cli(['matrix', path, '--resume', state, '--max-time', '1', '--json'], {
    io: { now: () => 4_000_000 * looks++ },
  });
  expect([again.code, again.out]).toEqual([0, whole.out]);
  expect(readFileSync(state, 'utf8')).toBe(all);
  const release = await holdFile(state);
  const held = await cli(['matrix', path, '--resume', state, '--json']);
  expect([held.code, JSON.parse(held.out).error.id]).toEqual([3, 'file-held']);
  await release();
  const other = await cli(['matrix', study(BASE.replace('seeds: 2', 'seeds: 1')), '--resume', state]);
  expect([other.code, other.err.split('\n')[0]]).toEqual([3, expect.stringContaining('error[study-state]')]);
});

it('a search finds the largest rate that holds, at few cells', async () => {
  const searched = BASE.replace('[0.05, 0.5]', '{ from: 0.05, to: 6.4, search: bisect, resolution: 2 }')
    .replace(/rules:.*/, 'rules: [none]')
    .replace('seeds: 2', 'seeds: 1');
  const found = await json(study(searched), '--workers', '1');
  const grid = await json(
    study(searched.replace(/\{ from.*\}/, `[${found.study.learningRates.join(', ')}]`)),
    '--workers',
    '1',
  );
  expect(found.study.learningRates).toHaveLength(8);
  expect(found.cells.length).toBeLessThan(grid.cells.length);
  for (const cell of found.cells) expect(grid.cells).toContainEqual(cell);
  expect(found.summary[0]!.largestStable).not.toBeNull();
});

it('windows are trained on in turn, each tested by the rows that follow', async () => {
  const path = study(BASE.replace('train: 960, test: 240', 'windows: { size: 480, step: 240 }'));
  const { setup, info } = await openStudy(path);
  expect(setup.phases).toEqual([
    { train: [0, 480], test: [480, 720] },
    { train: [240, 720], test: [720, 960] },
    { train: [480, 960], test: [960, 1200] },
  ]);
  expect(info.steps).toBe(45);
  const key = { model: 'tiny', rule: 'none', label: 'none', learningRate: 0.5, seed: 0 };
  expect(createTrainer(setup).train(key).tests).toHaveLength(3);
});

it('data: the order is by the column, dense columns are standardised on the training part, categories sorted', async () => {
  const { setup } = await openStudy(study(BASE));
  const [x, kind] = setup.rows.features;
  const trained = Array.from(x!).slice(0, 960);
  const mean = trained.reduce((sum, v) => sum + v, 0) / 960;
  expect(mean).toBeCloseTo(0, 5);
  expect(trained.reduce((sum, v) => sum + (v - mean) ** 2, 0) / 960).toBeCloseTo(1, 4);
  expect([...kind!.slice(0, 3)]).toEqual([1, 0, 2]);
});

it('a net that a constant would beat does not hold, although its loss falls with the labels', () => {
  const tasks = [{ name: 'click', loss: 'sigmoid-cross-entropy', weight: 1 }] as const;
  const losses = Array.from({ length: 60 }, (_, i) => 1.5 - 0.01 * i + 0.01 * Math.sin(7 * i));
  const tested = (loss: number) => [
    [{ loss, constantLoss: 0.3, atChance: false, quality: { auc: 0.79, logloss: loss, rmse: null } }],
  ];
  const verdictAt = (loss: number) =>
    judge({ tasks }, { losses, taskLosses: [losses], tests: tested(loss) }).verdict;
  expect([verdictAt(0.7), verdictAt(0.2)]).toEqual(['hurt', 'holds']);
});

it('an order that is worse than chance is no better than chance', () => {
  const labels = Float32Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  const task = { name: 'click', loss: 'sigmoid-cross-entropy', weight: 1 } as const;
  const chanceAt = (slope: number) =>
    testTask(
      task,
      Float32Array.from(labels, (y, i) => slope * y + Math.sin(i)),
      labels,
      labels,
    ).atChance;
  expect([-1, 0, 1].map(chanceAt)).toEqual([true, true, false]);
});

it('AUC is the share of pairs in order, ties counting half', () => {
  expect(areaUnderCurve([1, 2, 3, 4], [0, 0, 1, 1])).toBe(1);
  expect(areaUnderCurve([1, 1, 1, 1], [0, 1, 0, 1])).toBe(0.5);
  expect(areaUnderCurve([3, 1, 2, 2], [1, 0, 1, 0])).toBe(0.875);
  expect(areaUnderCurve([1, 2], [1, 1])).toBeNull();
  expect(areaUnderCurve([1, Number.NaN], [0, 1])).toBeNaN();
});

describe('reports', () => {
  it('markdown, csv, latex and html hold hostile names as text', async () => {
    const name = '<b>|&_{x}';
    const path = study(BASE.replace('tiny:', `'${name}':`));
    const at = (format: string) => join(scratch, `report.${format}`);
    const formats = ['html', 'markdown', 'csv', 'latex', 'json'];
    const { code } = await cli([
      'matrix',
      path,
      '--workers',
      '1',
      ...formats.flatMap((format) => ['--report', `${format}:${at(format)}`]),
    ]);
    expect(code).toBe(0);
    const [html, markdown, table, latex] = formats.map((format) => readFileSync(at(format), 'utf8'));
    expect(html).not.toContain('<b>|');
    expect(html).toContain('&lt;b&gt;|&amp;_{x}');
    expect(html!.match(/<path /g)!.length).toBe(12);
    expect(markdown).toContain(String.raw`## &lt;b\>\|&amp;\_\{x\}`);
    expect(table!.trimEnd().split('\n')).toHaveLength(17);
    expect(latex).toContain('\\&\\_\\{x\\}');
  });
});

it('a cell that crashes is told with why, the others go on, and --resume tries it again', async () => {
  // Weights of 14 GB, which no typed array takes.
  const huge = 'huge: { shared: { type: shared-bottom, units: [60000, 60000], activation: relu } }';
  const path = study(
    BASE.replace('models: {', `models: { ${huge},`)
      .replace(/rules:.*/, 'rules: [none]')
      .replace('seeds: 2', 'seeds: 1'),
  );
  const state = join(scratch, 'crashed.jsonl');
  const [html, markdown] = ['html', 'markdown'].map((format) => join(scratch, `crashed.${format}`));
  const flags = ['--workers', '1', '--resume', state];
  const reports = ['--report', `html:${html}`, '--report', `markdown:${markdown}`];
  const { code, out } = await cli(['matrix', path, ...flags, ...reports]);
  expect(code).toBe(4);
  const told = /crashed: huge, none at 0\.5, seed 0: \S.*/;
  expect(out).toMatch(told);
  expect(out).toMatch(/none +crashed +crashed/);
  expect(out).toContain('huge: No rule holds in all seeds');
  for (const file of [html!, markdown!]) {
    const text = readFileSync(file, 'utf8');
    expect(text).toMatch(told);
    expect(text).not.toContain('NaN');
  }
  // The file stays, and has all four: two of them are trained again.
  expect(readFileSync(state, 'utf8').trimEnd().split('\n')).toHaveLength(5);
  expect((await cli(['matrix', path, ...flags])).code).toBe(4);
  expect(readFileSync(state, 'utf8').trimEnd().split('\n')).toHaveLength(7);
});

it('100,000 cells are one page of HTML, which draws some of them', async () => {
  const result = await json(study(BASE), '--workers', '1');
  const seeds = 12_500;
  const many: StudyResult = {
    ...result,
    study: { ...result.study, seeds },
    cells: result.cells
      .filter(({ seed }) => seed === 0)
      .flatMap((cell) => Array.from({ length: seeds }, (_, seed) => ({ ...cell, seed }))),
  };
  expect(many.cells).toHaveLength(100_000);
  const html = renderStudyHtml(many);
  expect(html).toContain('The first 100 seeds of each are drawn.');
  expect(html.match(/<path /g)).toHaveLength(3 * 200);
  expect(html.length).toBeLessThan(1e6);
});

describe('refused before the long work', () => {
  it.each([
    ['an unknown key', BASE.replace('seeds:', 'seed:'), 2, 'study-unknown-key', 'did you mean seeds?'],
    ['an unknown column', BASE.replace('x: dense', 'xx: dense'), 3, 'study-columns', 'did you mean x?'],
    ['a label out of range', BASE.replace('y: {', 'z: {'), 3, 'study-values', 'in row 1'],
    [
      'a category as a number',
      BASE.replace('x: dense', 'kind: dense').replace('kind: {', 't: {'),
      3,
      'study-values',
      '"b"',
    ],
    ['more rows than there are', BASE.replace('960', '9600'), 3, 'study-rows', '1,200'],
    [
      'a window without rows',
      BASE.replace('train: 960, test: 240', 'windows: { size: 1200 }'),
      3,
      'study-rows',
      'windows',
    ],
    ['an empty grid', BASE.replace('[0.01, 1]', '[]'), 2, 'study-invalid', 'the list is empty'],
    ['a rule that is none', BASE.replace('[none,', '[clipy,'), 2, 'rule-unknown', 'clippy'],
    ['too many cells', BASE.replace('seeds: 2', 'seeds: 100000'), 2, 'study-too-large', '--yes'],
    ['too few steps', BASE.replace('batch: 32', 'batch: 512'), 2, 'study-invalid', 'cannot be judged'],
    ['steps and epochs', `${BASE}steps: 5\nepochs: 2\n`, 2, 'study-invalid', 'epochs'],
    ['a model with a wrong field', BASE.replace('units', 'unit'), 2, 'study-invalid', 'models.tiny'],
    ['YAML that is none', `${BASE}  x: [`, 2, 'study-invalid', 'line'],
  ])('%s', async (_, text, code, id, words) => {
    const { err, out, ...result } = await cli(['matrix', study(text), '--workers', '1']);
    expect([result.code, out]).toEqual([code, '']);
    expect(err).toContain(`error[${id}]`);
    expect(err).toContain(words);
  });

  it('flags of captures with a study, and of studies with a capture', async () => {
    expect((await cli(['matrix', study(BASE), '--rule', 'none'])).err).toContain('--rule has no use here');
    expect((await cli(['matrix', scratch, '--shard', '1/2'])).err).toContain('--shard has no use here');
    expect((await cli(['matrix', study(BASE), '--shard', '3/2'])).code).toBe(2);
  });
});

it('a narrow terminal has the largest stable rate too', async () => {
  const path = join(projectRoot, 'fixtures/studies/stream/study.yaml');
  const { out } = await cli(['matrix', path], { env: { COLUMNS: '40' } });
  expect(out.replace(/\s+/g, ' ')).toContain(
    'global-norm: global-norm:1 at 0.5: AUC 0.821; largest stable rate 0.5 (global-norm:1)',
  );
  for (const line of out.split('\n')) expect(line.length, line).toBeLessThanOrEqual(40);
});

describe('the conclusion of a study', () => {
  const point = (label: string, learningRate: number, verdict: CellVerdict, mean: number, seeds: number) => ({
    ...{ label, learningRate, verdict, seeds, counts: { [verdict]: seeds }, lostAt: null },
    ...{ quality: { mean, sd: 0.01 }, finalLoss: { mean: 1, sd: 0 } },
  });
  const concluded = (hurt: number, seeds: number): string => {
    const held = point('none', 0.5, 'holds', 0.686, seeds);
    const rows = [
      { rule: 'none', points: [held], best: { ...held, options: {} } },
      { rule: 'clippy', points: [point('clippy:paper', 0.5, 'hurt', hurt, seeds)], best: null },
    ].map((row) => ({ model: 'small', largestStable: null, ...row }));
    return concludeStudy(rows as unknown as StudySummary[], { task: 'click', name: 'auc' });
  };
  it('names what is better on the first task and behind on another', () => {
    expect(concluded(0.821, 3)).toBe(
      'none at 0.5 gives the best quality that holds in all seeds, AUC of click 0.686 ± 0.01. Better there, but behind in another task or seed: clippy:paper at 0.5, 0.821.',
    );
    expect(concluded(0.6, 3)).not.toContain('hurt');
  });
  it('of one seed has no spread: ± 0 would read as certainty', () => {
    expect(concluded(0.6, 1)).toBe(
      'none at 0.5 gives the best quality that holds in all seeds, AUC of click 0.686.',
    );
  });
});
