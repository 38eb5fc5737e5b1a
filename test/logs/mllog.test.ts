/** Lines of MLPerf's logger, beyond the fixture that it wrote itself (fixtures/printed/mlperf). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { type LogInput, unaccounted } from '../../src/model/log.ts';
import type { TimeSeries } from '../../src/model/run.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
async function read(text: string): Promise<LogInput> {
  const log = await finishLog(await readRawStream(once(text), 'result_0.txt'), { sidecars: false });
  expect(unaccounted(log.account)).toBe(0);
  return log;
}
const named = ({ runs }: LogInput, name: string): TimeSeries =>
  runs[0]!.series.find((one) => one.name === name)!;
const line = (key: string, value: string, metadata: object): string =>
  `:::MLLOG {"namespace": "", "key": "${key}", "value": ${value}, "metadata": ${JSON.stringify(metadata)}}\n`;
const text = readFileSync(join(projectRoot, 'fixtures/printed/mlperf/input.log'), 'utf8');

it('five runs in one file are five attempts without an incident; a loss that is lost in one is one', async () => {
  const runs = text
    .slice(0, text.indexOf('"init_start"', 300))
    .slice(0, text.lastIndexOf(':::MLLOG', text.indexOf('"init_start"', 300)));
  const five = await read(runs.repeat(5));
  expect(five.runs[0]!.attempts.map(({ reason }) => reason)).toEqual([
    'start',
    ...Array(4).fill('restart-line'),
  ]);
  expect(judgeRun(five.runs[0]!).verdict).toMatchObject({ class: 'healthy' });
  const lost = await read(
    runs.repeat(4) + runs.replaceAll(/("train_loss", "value": )[\d.]+(?=.*"step": [3-9]\d\d)/g, '$1NaN'),
  );
  expect(judgeRun(lost.runs[0]!).verdict).toMatchObject({ class: 'non-finite', onsetStep: 300 });
});

it('settings before the first point are hyperparameters', async () => {
  const { hyperparameters } = (await read(text)).runs[0]!;
  expect(Object.fromEntries(hyperparameters)).toEqual({
    submission_benchmark: 'dlrm_dcnv2',
    global_batch_size: 65536,
    opt_name: 'adagrad',
    opt_base_learning_rate: 0.004,
  });
});

it('epochs are the axis where no step is told, and the lines of version 0.6 are read', async () => {
  const epochs = await read(
    [0, 1, 2].map((k) => line('eval_loss', `${1 / (k + 1)}`, { epoch_num: k })).join(''),
  );
  expect(epochs.runs[0]).toMatchObject({ stepUnit: 'epoch' });
  expect([...named(epochs, 'eval_loss').step]).toEqual([0, 1, 2]);
  const old = await read(
    [5, 4, 3]
      .map((value, k) => `:::MLL 1554848.${k} loss: {"value": ${value}, "metadata": {"step": ${k}}}\n`)
      .join(''),
  );
  expect([...named(old, 'loss').value]).toEqual([5, 4, 3]);
});

it('a measure without a place stands at the last one, and is no setting', async () => {
  const log = await read(
    `${line('train_loss', '0.5', { step: 10 })}${line('train_loss', '0.4', { step: 20 })}${line('eval_accuracy', '0.7', {})}`,
  );
  expect([...named(log, 'eval_accuracy').step]).toEqual([20]);
  expect(log.runs[0]!.hyperparameters.size).toBe(0);
});

it('a loss that is null is missing, and one that is text is refused and an error', async () => {
  const rows = [0, 1, 2, 3].map((k) => line('train_loss', '0.5', { step: k }));
  const missing = await read([...rows, line('train_loss', 'null', { step: 4 })].join(''));
  expect(named(missing, 'train_loss')).toMatchObject({ missing: 1, refused: 0 });
  expect(missing.errors).toEqual([]);
  const refused = await read([...rows, line('train_loss', '"1,234.5"', { step: 4 })].join(''));
  expect(named(refused, 'train_loss')).toMatchObject({ refused: 1 });
  expect(refused.errors).toMatchObject([{ id: 'log-cells-bad' }]);
});

it('a line that is cut or no JSON is lost and an error; the mark in other text is neither', async () => {
  const rows = Array.from({ length: 20 }, (_, k) => line('train_loss', '0.5', { step: k }));
  for (const broken of [
    `${rows[7]!.slice(0, 70)}\n`,
    rows[7]!.slice(0, 70),
    rows[7]!.replace('0.5', ',0.5'),
    `${rows[7]!.trimEnd()}${rows[8]!}`,
  ]) {
    const { errors, account, runs } = await read(rows.with(7, broken).join(''));
    expect(errors).toMatchObject([{ id: 'log-lines-bad', line: 8 }]);
    expect(account.lost).toMatchObject([{ reason: 'damaged' }]);
    expect(runs[0]!.series[0]!.value.length).toBe(broken.endsWith('\n') ? 19 : 18);
  }
  const torn = await read(rows.join('').slice(0, -40));
  expect([torn.errors, torn.account.lost.map(({ reason }) => reason)]).toEqual([[], ['torn-record']]);
  const other = await read(`grep ':::MLLOG {' result.txt\nprefix=":::MLLOG"\n${rows.join('')}`);
  expect([other.errors, other.account.lost]).toEqual([[], []]);
});
