import { describe, expect, it } from 'vitest';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { withPoints } from '../../src/read/logs/decimal-commas.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

describe('decimal commas', () => {
  it.each([
    ['step: 10; loss: 0,6931; acc: 0,51', 'step: 10; loss: 0.6931; acc: 0.51'],
    ['2024-05-13 09:12:11,123 loss=12,5, lr=0,001', '2024-05-13 09:12:11,123 loss=12.5, lr=0.001'],
    ['époque 3/60 - perte : 1,959 - val_loss : 0,693', 'époque 3/60 - perte : 1.959 - val_loss : 0.693'],
    ["{'loss': -0,25, 'epoch': 3}", "{'loss': -0.25, 'epoch': 3}"],
  ])('%s', (line, read) => {
    expect(withPoints(line)).toBe(read);
  });
  it.each([
    ['a group of thousands', 'step 10, loss: 1,234'],
    ['beside a point', 'loss: 0,6931 lr: 0.001'],
    ['of devices', 'gpus: 0,1 step: 10'],
    ['three numbers', 'loss 0,1,2'],
    ['thousands with a point', 'loss: 1,234.5'],
    ['a list behind a loss', 'loss: 3,4,5'],
    ['a time', 'loss at 09:12:11,123'],
  ])('%s is none', (_, line) => {
    expect(withPoints(line)).toBe(line);
  });
  it('of a run that is lost', async () => {
    const text = Array.from(
      { length: 80 },
      (_, k) =>
        `iter ${k}: loss ${(k < 60 ? 0.4 + 2 / (k + 1) : 7 + (k % 3) / 9).toFixed(4).replace('.', ',')}, time 245,26ms\n`,
    ).join('');
    const chunks = (async function* () {
      yield Buffer.from(text);
    })();
    const { runs, errors } = await finishLog(await readRawStream(chunks, 'train.log'), { sidecars: false });
    expect(errors).toEqual([]);
    expect(runs[0]!.series.find(({ name }) => name === 'loss')!.value.at(0)).toBe(2.4);
    expect(judgeRun(runs[0]!).verdict).toMatchObject({ class: 'full-divergence', onsetStep: 60 });
  });
});
