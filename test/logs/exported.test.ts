/** Tables as trackers export them: rows that name what their value is of, and charts that have their name from their file. */
import { describe, expect, it } from 'vitest';
import type { LogInput } from '../../src/model/log.ts';
import { unaccounted } from '../../src/model/log.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const read = async (text: string, name: string): Promise<LogInput> =>
  finishLog(await readRawStream(once(text), name), { sidecars: false });

const losses = [0.9, 0.7, 0.6, 0.55, 0.5, 0.48];
const seriesOf = (log: LogInput, run = 0): Record<string, number[]> =>
  Object.fromEntries(log.runs[run]!.series.map(({ name, value }) => [name, Array.from(value)]));

describe('rows that name what their value is of', () => {
  it('MLflow: a run, a key, a value, a step; one run for each that is named', async () => {
    const rows = ['run_id,key,value,step,timestamp'];
    for (const run of ['f3a', '9bc'])
      for (const key of ['train_loss', 'lr'])
        for (const [i, loss] of losses.entries())
          rows.push(`${run},${key},${key === 'lr' ? 0.1 : loss},${i},${1.7e12 + i}`);
    const log = await read(`${rows.join('\n')}\n`, 'metrics.csv');
    expect(log).toMatchObject({ format: 'csv', errors: [], lost: 0, kept: 24 });
    expect(log.runs.map(({ id }) => id)).toEqual(['metrics.csv#f3a', 'metrics.csv#9bc']);
    for (const run of [0, 1]) {
      expect(seriesOf(log, run)).toMatchObject({ train_loss: losses, lr: losses.map(() => 0.1) });
      expect(log.runs[run]!.series.find(({ name }) => name === 'train_loss')).toMatchObject({ role: 'loss' });
      expect(log.runs[run]!.attempts).toHaveLength(1);
    }
  });

  const other = losses.map((loss) => loss + 1);
  const pairs: [string, number[]][] = [
    ['small', losses],
    ['large', other],
  ];
  const rows = (make: (run: string, loss: number, step: number) => unknown): unknown[] =>
    pairs.flatMap(([run, all]) => all.map((loss, step) => make(run, loss, step)));
  const byRun = (make: (all: number[]) => unknown): string =>
    JSON.stringify(Object.fromEntries(pairs.map(([run, all]) => [run, make(all)])));
  const steps = losses.map((_, step) => step);
  it.each([
    [
      'records of a key',
      'x.json',
      JSON.stringify(rows((run_id, value, step) => ({ run_id, key: 'loss', value, step }))),
    ],
    [
      'records that name their run',
      'x.json',
      JSON.stringify(rows((run, loss, step) => ({ run, step, loss }))),
    ],
    ['lists by run', 'x.json', byRun((loss) => ({ step: steps, loss }))],
    ['records by run', 'x.json', byRun((all) => all.map((loss, step) => ({ step, loss })))],
    [
      'charts by run',
      'x.json',
      byRun((all) => ({ loss: all.map((loss, step) => [1.7e9 + step, step, loss]) })),
    ],
    [
      'lines of a key',
      'x.jsonl',
      rows((run, value, step) => JSON.stringify({ run, metric: 'loss', value, step })).join('\n'),
    ],
    [
      'lines that name their run',
      'x.jsonl',
      rows((run, loss, step) => JSON.stringify({ run, step, loss })).join('\n'),
    ],
    [
      'rows that name their run',
      'x.csv',
      `run,step,loss\n${rows((run, loss, step) => `${run},${step},${loss}`).join('\n')}\n`,
    ],
  ])('several runs in one file are several runs: %s', async (_, name, text) => {
    const log = await read(text, name);
    expect(log).toMatchObject({ errors: [], lost: 0 });
    expect(unaccounted(log.account)).toBe(0);
    expect(log.runs.map(({ id }) => id)).toEqual([`${name}#small`, `${name}#large`]);
    for (const [k, [, all]] of pairs.entries()) {
      const loss = log.runs[k]!.series.filter(({ role }) => role === 'loss');
      expect(loss.map((one) => [one.name, [...one.step], [...one.value]])).toEqual([['loss', steps, all]]);
      expect(log.runs[k]!.attempts).toHaveLength(1);
    }
  });

  it.each([
    ['splits', { train: { epoch: steps, loss: losses }, val: { epoch: steps, loss: other } }],
    [
      'tasks, which have no axis of their own',
      { ctr: { loss: losses, auc: losses }, cvr: { loss: other, auc: losses } },
    ],
  ])('is one run: %s', async (_, document) => {
    expect((await read(JSON.stringify(document), 'x.json')).runs).toHaveLength(1);
  });

  const history = (all: number[]): unknown => ({ loss: all, val_loss: all.map((loss) => loss + 0.1) });
  it.each([
    ['a list', pairs.map(([name, all]) => ({ name, lr: 0.1, history: history(all) }))],
    ['a list without names', pairs.map(([, all]) => history(all))],
    ['by name', Object.fromEntries(pairs.map(([name, all]) => [name, { lr: 0.1, history: history(all) }]))],
  ])('histories of several runs are several runs: %s', async (shape, document) => {
    const log = await read(JSON.stringify(document), 'x.json');
    expect(log).toMatchObject({ errors: [], lost: 0 });
    expect(unaccounted(log.account)).toBe(0);
    const named = shape === 'a list without names' ? ['0', '1'] : ['small', 'large'];
    expect(log.runs.map(({ id }) => id)).toEqual(named.map((name) => `x.json#${name}`));
    for (const [k, [, all]] of pairs.entries()) {
      const loss = log.runs[k]!.series.filter(({ role }) => role === 'loss');
      expect(loss.map(({ value }) => [...value])).toEqual([all]);
      expect(log.runs[k]!.series.map(({ role }) => role)).toContain('eval_loss');
    }
  });

  it('a history that is cut off gives what it has', async () => {
    const text = JSON.stringify(pairs.map(([name, all]) => ({ name, history: history(all) })));
    for (let end = 1; end < text.length; end++) {
      const log = await read(text.slice(0, end), 'x.json').catch(() => undefined);
      if (log !== undefined) expect(unaccounted(log.account)).toBe(0);
    }
  });

  it('a record of an epoch with the losses of its batches is no run', async () => {
    const text = JSON.stringify(steps.map((epoch) => ({ epoch, loss: [0.5, 0.4], val_loss: losses[epoch] })));
    const log = await read(text, 'x.json');
    expect(log.runs).toHaveLength(1);
    expect(seriesOf(log)).toMatchObject({ val_loss: losses });
  });

  const chart = (columns: Record<string, readonly number[]>): string =>
    [
      ['Step', ...Object.keys(columns)].join(','),
      ...steps.map((step) => [step, ...Object.values(columns).map((all) => all[step])].join(',')),
    ].join('\n');
  it.each([
    ['with ranges', (run: string) => ['', '__MIN', '__MAX'].map((of) => `${run} - train/loss${of}`)],
    ['alone', (run: string) => [`${run} - train/loss`, `${run} - val_loss`]],
  ])('a chart of runs: each is told by what its metric is, not by its name: %s', async (_, columns) => {
    const runs = ['lr-0.1', 'test 2 - final'];
    const of = Object.fromEntries(runs.flatMap((run) => columns(run).map((name) => [name, losses])));
    const log = await read(chart(of), 'x.csv');
    expect(log.runs.map(({ id }) => id)).toEqual(runs.map((run) => `x.csv#${run}`));
    for (const [k, run] of runs.entries())
      expect(log.runs[k]!.series.find(({ role }) => role === 'loss')?.name).toBe(`${run} - train/loss`);
  });

  it('a chart of one run, whose name is that of a rate', async () => {
    const columns = Object.fromEntries(
      ['', '__MIN', '__MAX'].map((of) => [`lr-0.1 - train/loss${of}`, losses]),
    );
    const log = await read(chart(columns), 'x.csv');
    expect(log.runs[0]!.series.map(({ role }) => role)).toEqual(['other', 'loss', 'other', 'other']);
  });

  it.each([
    ['splits', { 'train - loss': losses, 'val - loss': other }],
    ['quantities by split', { 'loss - train': losses, 'acc - train': other }],
    ['a loss beside another column', { 'a - loss': losses, 'b - loss': other, lr: losses }],
    ['no losses', { 'a - speed': losses, 'b - speed': other }],
  ])('columns with a dash are one run: %s', async (_, columns) => {
    expect((await read(chart(columns), 'x.csv')).runs).toHaveLength(1);
  });

  it('a value that is NaN, missing or no number is so of the run that its row names', async () => {
    const text = `run,step,loss\n${rows((run, loss, step) => `${run},${step},${loss}`).join('\n')}\nlarge,6,nan\nlarge,7,\nsmall,8,***\n`;
    const log = await read(text, 'x.csv');
    const [small, large] = log.runs.map(({ series }) => series.find(({ name }) => name === 'loss')!);
    expect(small).toMatchObject({ missing: 0, refused: 1, firstRefused: { text: '***' } });
    expect(large).toMatchObject({ missing: 1, refused: 0 });
    expect([...large!.value]).toEqual([...other, Number.NaN]);
  });

  it('Comet: records of a name and a value that is text', async () => {
    const records = losses.flatMap((loss, step) => [
      { metricName: 'loss', metricValue: String(loss), step, epoch: null },
      { metricName: 'lr', metricValue: '0.1', step, epoch: null },
    ]);
    const log = await read(JSON.stringify(records), 'comet.json');
    expect(log.runs).toHaveLength(1);
    expect(seriesOf(log)).toMatchObject({ loss: losses, lr: losses.map(() => 0.1) });
    expect(Array.from(log.runs[0]!.series.find(({ name }) => name === 'loss')!.step)).toEqual([
      0, 1, 2, 3, 4, 5,
    ]);
  });

  it('JSON lines, with a name that is longer than a word', async () => {
    const name = 'train/loss_of_the_whole_network';
    const text = losses.map((value, step) => JSON.stringify({ metric: name, value, step })).join('\n');
    expect(seriesOf(await read(`${text}\n`, 'log.jsonl'))).toMatchObject({ [name]: losses });
  });

  it('a value that is NaN, missing or no number is so of the series that its row names', async () => {
    const rows = ['metric,value,step', ...losses.map((loss, i) => `loss,${loss},${i}`)];
    const log = await read(
      `${[...rows, 'loss,nan,6', 'loss,,7', 'loss,***,8', 'loss,0.4,9'].join('\n')}\n`,
      'log.csv',
    );
    expect(log.runs[0]!.series.find(({ name }) => name === 'loss')).toMatchObject({
      missing: 1,
      refused: 1,
      firstRefused: { text: '***', line: 10 },
    });
    expect(seriesOf(log).loss).toEqual([...losses, Number.NaN, 0.4]);
    expect(unaccounted(log.account)).toBe(0);
  });

  it('of more names than a run logs no more become series, and no value is lost', async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => `metric_${i},${i},${i}`);
    const log = await read(`metric,value,step\n${rows.join('\n')}\n`, 'log.csv');
    const { value, ...others } = seriesOf(log);
    expect(Object.keys(others)).toHaveLength(1001);
    expect(value).toHaveLength(2000);
  });

  it('a table with a name beside its losses keeps its columns', async () => {
    const text = losses.map((loss, step) => JSON.stringify({ name: 'run-7', loss, step })).join('\n');
    expect(seriesOf(await read(`${text}\n`, 'log.jsonl'))).toMatchObject({ loss: losses });
  });
});

describe('a chart that was exported alone has the name of its file', () => {
  const csv = `Wall time,Step,Value\n${losses.map((loss, i) => `${1.7e9 + i}.25,${i},${loss}`).join('\n')}\n`;
  const json = JSON.stringify(losses.map((loss, i) => [1.7e9 + i, i, loss]));
  it.each([
    ['run-train-tag-epoch_loss.csv', csv, 'epoch_loss'],
    ['charts/run-train-tag-epoch_loss.json', json, 'epoch_loss'],
    [
      'val_loss.csv',
      `step,timestamp,value\n${losses.map((loss, i) => `${i},2026-01-0${i + 1},${loss}`).join('\n')}\n`,
      'val_loss',
    ],
  ])('%s', async (file, text, name) => {
    const log = await read(text, file);
    expect(seriesOf(log)).toMatchObject({ [name]: losses });
    expect(log.runs[0]!.stepUnit).toBe('step');
  });

  it('but a value that stands beside another series keeps its own', async () => {
    const text = `step,value,loss\n${losses.map((loss, i) => `${i},7,${loss}`).join('\n')}\n`;
    expect(seriesOf(await read(text, 'accuracy.csv'))).toMatchObject({
      value: losses.map(() => 7),
      loss: losses,
    });
  });
});

describe('a row that is drawn again with its bar', () => {
  const header = '      Epoch    GPU_mem   box_loss   cls_loss  Instances       Size';
  const row = (epoch: number, loss: string, percent: number): string =>
    `      ${epoch}/9      2.5G      ${loss}      0.5        44        640: ${percent}%|██   | ${percent / 25}/4`;

  it('counts when its bar is full', async () => {
    const text = [1, 2, 3, 4, 5].map((epoch) =>
      [
        header,
        [25, 50, 100, 100].map((percent) => row(epoch, String(epoch + percent / 1000), percent)).join('\r'),
      ].join('\n'),
    );
    const log = await read(`${text.join('\n')}\n`, 'train.log');
    expect(seriesOf(log)).toMatchObject({ box_loss: [1.1, 2.1, 3.1, 4.1, 5.1] });
    expect(unaccounted(log.account)).toBe(0);
  });

  it('counts when it is no number any more, though the run was killed before its bar was full', async () => {
    const text = [1, 2, 3, 4].map((epoch) => [header, row(epoch, '1.25', 100)].join('\n'));
    const killed = [header, `${row(5, '1.2', 25)}\r${row(5, 'nan', 50)}\r${row(5, 'nan', 75)}`].join('\n');
    const log = await read(`${[...text, killed].join('\n')}\n`, 'train.log');
    expect(seriesOf(log).box_loss).toEqual([1.25, 1.25, 1.25, 1.25, Number.NaN]);
  });
});
