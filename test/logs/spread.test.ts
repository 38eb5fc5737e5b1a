/** The mean of several folds and its spread, printed as one cell. */
import { describe, expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

describe('a mean with its spread', () => {
  it.each(['0.5+0.01', '0.5±0.01', 'nan+nan', '0.5', '-0.5+0.25'])('%s is the mean', async (cell) => {
    const text = [...Array(6).keys()]
      .map((k) => `[${k}]\tcv-train-logloss:${k === 3 ? cell : '0.625+0.02'}\n`)
      .join('');
    const log = await finishLog(await readRawStream(once(text), 'a.log'), { sidecars: false });
    const loss = log.runs[0]!.series.find(({ role }) => role === 'loss')!;
    expect(Array.from(loss.step)).toEqual([0, 1, 2, 3, 4, 5]);
    const mean = Number.parseFloat(cell);
    expect(Array.from(loss.value)).toEqual([0.625, 0.625, 0.625, mean, 0.625, 0.625]);
  });

  it.each(['0.5+cu118', '12+3', '0.5+0.1x', '0.5+'])('%s is no number', async (cell) => {
    const text = [...Array(6).keys()]
      .map((k) => `[${k}]\ttrain-logloss:${k === 3 ? cell : '0.625'}\n`)
      .join('');
    const log = await finishLog(await readRawStream(once(text), 'a.log'), { sidecars: false });
    const loss = log.runs[0]!.series.find(({ role }) => role === 'loss')!;
    expect(loss.value).toHaveLength(5);
    expect(loss.refused).toBe(1);
  });
});
