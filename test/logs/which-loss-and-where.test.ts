/** Where a line says where training is, and which of two losses is that of the training: both as real logs have it. */
import { expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
async function read(lines: readonly string[]) {
  const text = `${lines.join('\n')}\n`;
  const log = await finishLog(await readRawStream(once(text), 'train.log'), { sidecars: false });
  const [run] = log.runs;
  const loss = run!.series.find(({ role }) => role === 'loss');
  return {
    run: run!,
    name: loss?.name,
    step: Array.from(loss?.step ?? []),
    value: Array.from(loss?.value ?? []),
  };
}
const rows = <T>(count: number, of: (k: number) => T): T[] => Array.from({ length: count }, (_, k) => of(k));

it('a total of steps that goes up says where the loss below it is', async () => {
  const attempt = (count: number): string[] =>
    rows(count, (k) => [
      `Display progress at (epoch ${10 * k + 10}, total_steps ${2560 * (k + 1)})`,
      `loss: ${1 / (k + 2)}`,
      'end of display',
    ]).flat();
  const { run, step } = await read([...attempt(8), ...attempt(12)]);
  expect(run.stepUnit).toBe('step');
  expect(run.attempts).toHaveLength(2);
  expect(step).toEqual([...rows(8, (k) => 2560 * (k + 1)), ...rows(12, (k) => 2560 * (k + 1))]);
});

it('attempts that break at the same announced step keep their records', async () => {
  const lines = (to: number): string[] =>
    rows(to, (k) => [
      `Display progress at (epoch ${k + 1}, total_steps ${100 * (k + 1)})`,
      `loss: ${1 / (k + 2)}`,
      'end',
    ]).flat();
  const { value } = await read([
    ...lines(6),
    ...lines(6).slice(-3),
    ...lines(6).slice(-3),
    ...lines(9).slice(-9),
  ]);
  expect(value).toHaveLength(11);
});

it('a total that stays as it is counts nothing', async () => {
  const { run } = await read(rows(12, (k) => `total_steps 10000 loss: ${1 / (k + 2)}`));
  expect(run.stepUnit).toBe('row');
});

it('a number of steps that goes up and down is the length of something', async () => {
  const { run } = await read(
    rows(40, (k) => `num_steps ${50 + [0, 9, 3, 12, 20][k % 5]!} loss: ${1 / (k + 2)}`),
  );
  expect(run.stepUnit).toBe('row');
});

it('a bar that goes on evenly says the steps of rows whose own epoch is rounded', async () => {
  const dict = (k: number): string =>
    `{'loss': ${(3 / (k + 2)).toFixed(4)}, 'learning_rate': 0.0001, 'epoch': 0.0${Math.floor(k / 10)}}`;
  const { run, step } = await read(
    rows(40, (k) => [`  ${k}%|▏         | ${k + 1}/1200 [00:21<2:26:55,  7.36s/it]`, dict(k)]).flat(),
  );
  expect(run.stepUnit).toBe('step');
  expect(step).toEqual(rows(40, (k) => k + 1));
  // One that lags is drawn at any step.
  const late = await read(
    rows(40, (k) => [
      `  ${k}%|▏         | ${10 * k + ((k * 7) % 9)}/1200 [00:21<2:26:55,  7.36s/it]`,
      dict(k),
    ]).flat(),
  );
  expect(late.run.stepUnit).toBe('row');
});

it('the training loss of each epoch comes before that of the last batch in a full bar', async () => {
  const lines = rows(12, (k) => [
    `Epoch ${k + 1}/50 [Train]: 100%|██████| 5469/5469 [06:03<00:00, 15.04it/s, Loss=${(0.5 + ((k * 7) % 5) / 10).toFixed(4)}]`,
    `Epoch ${k + 1}/50 [Val]: 100%|█████████| 1563/1563 [00:21<00:00, 71.14it/s]`,
    `  Train Loss: ${(1 / (k + 1)).toFixed(4)} | Val Loss: ${(1.1 / (k + 1)).toFixed(4)}`,
  ]).flat();
  const { run, name, step, value } = await read(lines);
  expect({ name, unit: run.stepUnit, step }).toEqual({
    name: 'Train Loss',
    unit: 'epoch',
    step: rows(12, (k) => k + 1),
  });
  expect(value).toEqual(rows(12, (k) => Number((1 / (k + 1)).toFixed(4))));
  expect(run.series.find((one) => one.name === 'Val Loss')?.role).toBe('eval_loss');
});

it('source code that a traceback quotes is no loss without a number', async () => {
  const lines = rows(20, (k) => `step ${k} loss: ${(2 / (k + 1)).toFixed(4)}`);
  const trace = [
    '  File "train.py", line 20, in step',
    '    loss = self.criterion(output, target)',
    '    ap, loss = self.test(data)',
  ];
  const { run } = await read([
    ...lines.slice(0, 10),
    ...trace,
    ...lines.slice(10),
    '    loss = self.criterion(output, target)',
  ]);
  expect(run.lossRecords?.reduce((sum, { line }) => sum + line.length, 0)).toBe(20);
});
