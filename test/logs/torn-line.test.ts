/** A last line without an end: a record that was cut is told, other text is passed over. */
import { describe, expect, it } from 'vitest';
import { unreadBytes } from '../../src/model/log.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
async function read(lines: readonly string[]) {
  const log = await finishLog(await readRawStream(once(lines.join('\n')), 'train.log'), { sidecars: false });
  const values = (name: string) => log.runs[0]!.series.find((one) => one.name === name)?.value;
  return { unread: unreadBytes(log.account), values };
}
const steps = Array.from({ length: 10 }, (_, k) => `step ${k} | loss ${(2 / (k + 1)).toFixed(3)}`);
const bars = Array.from(
  { length: 10 },
  (_, k) =>
    `epoch${k}: 100%|██████████| 36/36 [11:16<00:00, 18.80s/it]\nEpoch ${k}/99, Train Loss: ${9 - k}.5, AUC: 0.8`,
).join('\n');

const level = (k: number): number => 2 / Math.sqrt(k + 2.1);
const fixed = Array.from({ length: 12 }, (_, k) => `step ${k} | loss ${level(k).toFixed(4)}`);
const whole = Array.from({ length: 12 }, (_, k) => `step ${k} | loss ${level(k)}`);
const withRate = fixed.map((line) => `${line} | lr 0.001`);

describe('a last line without an end', () => {
  it.each([
    [fixed, 'step 12 | loss 0.5', 'two decimals fewer than usual'],
    [fixed, 'step 12 | loss 0', 'no decimals'],
    [whole, 'step 12 | loss 0.5323971', 'half of the decimals'],
    [withRate, 'step 12 | loss 0.532', 'a whole number where others go on'],
    [withRate, 'step 12 | loss 0.5', 'and a cut one'],
  ])('%#: that ends in a part of a number, or where others go on, is torn', async (lines, last) => {
    const { unread, values } = await read([...lines, last]);
    expect(unread).toBe(Buffer.byteLength(last));
    expect(values('loss')).toHaveLength(12);
  });
  it.each([
    [fixed, 'step 12 | loss 0.5323'],
    [fixed, 'step 12 | loss 0.532'],
    [whole, `step 12 | loss ${String(level(12)).slice(0, -1)}`],
    [withRate, 'step 12 | loss 0.532 | lr 0.001'],
    [fixed.slice(0, 9), 'step 12 | loss 0.5'],
    [fixed.map((line, k) => (k % 4 === 0 ? `step ${k} | loss ${k / 2}` : line)), 'step 12 | loss 0.5'],
  ])('%#: that may be whole is kept', async (lines, last) => {
    const { unread, values } = await read([...lines, last]);
    expect(unread).toBe(0);
    expect(values('loss')).toHaveLength(lines.length + 1);
  });
  it('of a CSV whose number lacks most of its decimals is torn', async () => {
    const rows = Array.from({ length: 12 }, (_, k) => `${k},${level(k)}`);
    expect((await read(['step,loss', ...rows, '12,0.53'])).unread).toBe(7);
    expect((await read(['step,loss', ...rows, `12,${String(level(12)).slice(0, -1)}`])).unread).toBe(0);
  });

  it.each([
    [steps, 'step 10 | lo'],
    [steps, 'step 10 | loss 0.'],
    [steps, 'step 10'],
    [steps, 'st'],
    [[bars], 'Epoch 10/99, Train Lo'],
    [[bars], 'Epoch 10/99, Train Loss: 7.5, AUC: 0.'],
    [[`${'x y '.repeat(2000)}`, ...steps], 'step 10 | los'],
  ])('that a record begins with is torn: %#', async (lines, last) => {
    expect((await read([...lines, last])).unread).toBe(Buffer.byteLength(last));
  });

  it.each([
    [steps, 'saved the model to out/10'],
    [steps, 'current step: 11th step'],
    [steps, 'step 10, test score is 0.5'],
    [[bars], 'epoch10:  14%|█▍        | 5/36 [01:46<11:02, 21.37s/it]'],
    [[bars], 'STAGE:2025-04-07 13:17:04 22264:22264 Controller.cpp:324] Completed Stage: Post Processing'],
  ])('that no record begins with is other text: %#', async (lines, last) => {
    expect((await read([...lines, last])).unread).toBe(0);
  });

  it('whose number a point ends is whole', async () => {
    const lines = steps.flatMap((line) => [line, 'test mse is 0.25.']);
    const { unread, values } = await read([...lines, steps[0]!, 'test mse is 0.0068.']);
    expect(unread).toBe(0);
    expect(values('test mse')?.at(-1)).toBe(0.0068);
    expect((await read([...lines, 'test mse is 0.'])).unread).toBe(14);
  });
});
