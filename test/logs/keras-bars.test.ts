/** Bars that Keras draws: the last one of an epoch that counts, and one whose mean is no number before the epoch is over. */
import { describe, expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const lossOf = async (lines: readonly string[], called = 'loss'): Promise<[number[], number[]]> => {
  const log = await finishLog(await readRawStream(once(`${lines.join('\n')}\n`), 'fit.log'), {
    sidecars: false,
  });
  const loss = log.runs[0]!.series.find(({ name }) => name === called)!;
  expect(log.runs[0]!.series.map(({ name }) => name)).not.toContain('ETA');
  return [Array.from(loss.step), Array.from(loss.value)];
};
const full = (loss: string): string =>
  `120/120 [==============================] - 4s 33ms/step - loss: ${loss}`;
const part = (at: number, loss: string): string =>
  ` ${at}/120 [=========>....................] - ETA: 2:39:53 - loss: ${loss}     Batch ${at}`;

describe("Keras's bars", () => {
  it('that are not full count where their mean is no number: it stays none', async () => {
    expect(
      await lossOf([
        'Epoch 1/30',
        part(40, '412.5'),
        full('356.8'),
        'Epoch 2/30',
        part(40, '310.1'),
        part(63, 'nan'),
      ]),
    ).toEqual([
      [1, 2],
      [356.8, Number.NaN],
    ]);
  });
  it('that are full count after them', async () => {
    expect(await lossOf(['Epoch 1/30', part(63, 'nan'), full('nan'), 'Epoch 2/30', full('0.5')])).toEqual([
      [1, 2],
      [Number.NaN, 0.5],
    ]);
  });
  it.each([
    ['drawn', full('0.4').replaceAll('120', '30')],
    ['in a line', '30/30 - 0s - loss: 0.4'],
  ])('of an evaluation, %s, leave the loss of the epoch before them', async (_, evaluated) => {
    const lines = ['Epoch 1/2', full('0.5'), 'Epoch 2/2', full('0.3'), evaluated];
    expect(await lossOf(lines)).toEqual([
      [1, 2],
      [0.5, 0.3],
    ]);
    expect(await lossOf(lines, 'test loss')).toEqual([[2], [0.4]]);
  });
  it('of a training whose first heading is not in the file are of its first epoch', async () => {
    const terse = (loss: number): string => `144/144 - 45s - loss: ${loss} - val_loss: 9.5`;
    const fit = [terse(3), 'Epoch 2/3', terse(2), 'Epoch 3/3', terse(1)];
    expect(await lossOf([...fit, ...fit])).toEqual([
      [1, 2, 3, 1, 2, 3],
      [3, 2, 1, 3, 2, 1],
    ]);
  });
});
