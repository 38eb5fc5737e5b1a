/** Layouts that nobody has seen are read exactly; a prefix that begins half way hides nothing. */
import { describe, expect, it } from 'vitest';
import type { LogInput } from '../../src/model/log.ts';
import { unaccounted } from '../../src/model/log.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { drawnLog, INVENTED, inventedLog, type MadeLog, PREFIXES } from './made-layouts.ts';

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}
const read = async (text: string): Promise<LogInput> =>
  finishLog(await readRawStream(once(text), 'x.log'), { sidecars: false });

async function expectExact({ name, text, losses, steps }: MadeLog): Promise<void> {
  const log = await read(text);
  expect(unaccounted(log.account)).toBe(0);
  const loss = log.runs[0]!.series.find(({ role }) => role === 'loss');
  expect({ name, values: [...(loss?.value ?? [])] }).toEqual({ name, values: [...losses] });
  if (steps !== undefined) expect({ name, steps: [...loss!.step] }).toEqual({ name, steps: [...steps] });
}

describe('made layouts', () => {
  it.each(Object.keys(INVENTED))('invented: %s', async (name) => {
    await expectExact(inventedLog(name));
  });
  it('a hundred drawn at random', async () => {
    for (let seed = 1; seed <= 100; seed++) await expectExact(drawnLog(seed));
  });
  it('a layout without a word for the loss says that it was guessed', async () => {
    const log = await read(inventedLog('tr and va').text);
    expect(log.readBy).toMatchObject({ how: 'guess' });
    // The line that is shown is the file's.
    expect(log.readBy!.statement).toContain('line 1: [0000] tr ');
  });
});

/** Ten layouts of trainers, by the record and its loss. */
const LAYOUTS: Readonly<Record<string, (k: number, loss: string) => string>> = {
  nanogpt: (k, loss) => `iter ${k}: loss ${loss}, time 12.34ms, mfu 30.12%`,
  'modded-nanogpt': (k, loss) => `step:${k}/600 train_loss:${loss} train_time:${k * 100}ms step_avg:100.12ms`,
  'llm.c': (k, loss) =>
    `step ${k + 1}/600 | train loss ${loss} | norm 1.2345 | lr 3.00e-04 | 123.45 ms | 12.3% A100 fp16 MFU`,
  'llm.c main': (k, loss) => `s:${k} trl:${loss}`,
  'hugging face': (k, loss) =>
    `{'loss': ${loss}, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': ${(k / 100).toFixed(2)}}`,
  plain: (k, loss) => `step ${k} loss ${loss}`,
  epochs: (k, loss) => `Epoch ${k}: train loss = ${loss}`,
  megatron: (k, loss) =>
    ` iteration ${String(k + 1).padStart(8)}/     600 | consumed samples: ${k * 8} | learning rate: 1.000E-04 | lm loss: ${loss} | loss scale: 1.0 | grad norm: 1.234 |`,
  equals: (k, loss) => `step=${k} loss=${loss} lr=0.001`,
  pipes: (k, loss) => `| epoch ${k} | loss ${loss} | acc 0.5 |`,
};

describe('a prefix from the start or from half way', () => {
  const rows = 120;
  it.each(Object.keys(LAYOUTS))('%s', async (name) => {
    for (const [kind, prefix] of Object.entries(PREFIXES))
      for (const from of [0, rows / 3])
        for (const lost of [false, true]) {
          const losses = Array.from({ length: rows }, (_, k) =>
            lost && k >= (3 * rows) / 4
              ? 'nan'
              : (0.4 + 2 * Math.exp(-k / 20) + 0.01 * Math.sin(7 * k)).toFixed(4),
          );
          const lines = losses.map((loss, k) => `${k >= from ? prefix(k) : ''}${LAYOUTS[name]!(k, loss)}\n`);
          const log = await read(lines.join(''));
          const loss = log.runs[0]!.series.find(({ role }) => role === 'loss');
          expect({ kind, from, lost, values: [...(loss?.value ?? [])] }).toEqual({
            kind,
            from,
            lost,
            values: losses.map(Number),
          });
        }
  });
});

describe('what stood between the reader and a loss', () => {
  const values = Array.from({ length: 30 }, (_, k) => (0.9 - 0.01 * k).toFixed(2));
  const lossOf = async (text: string): Promise<number[]> => {
    const found = (await read(text)).runs[0]!.series.find(({ role }) => role === 'loss');
    return [...(found?.value ?? [])];
  };
  it('a closing line (FuxiCTR)', async () => {
    const text = `Epoch=1 start\n${values.map((loss, k) => `Train loss: ${loss}\nEpoch=${k + 1} end\n`).join('')}`;
    expect(await lossOf(text)).toEqual(values.map(Number));
  });
  it('prose', async () => {
    const text = values.map((loss) => `Model training.\n\nTraining Loss: ${loss}\n\nModel evaluation.\n\n`);
    expect(await lossOf(text.join(''))).toEqual(values.map(Number));
  });
  it('a comma in the first line', async () => {
    const stamp = '2026-01-01 10:00:00,208 - ';
    const options = values.map((_, k) => `${stamp}main - INFO - opt${k}        :\t${k}\n`);
    const records = values.map(
      (loss, k) =>
        `${stamp}main.py - train - INFO - Iter: ${k * 100} | Train Loss: ${loss} | Time: 0:00:01 |\n`,
    );
    const text = `${stamp}main - INFO - train          :\tTrue\n${options.join('')}${records.join('')}`;
    expect(await lossOf(text)).toEqual(values.map(Number));
  });
  it('steps that are rounded: a spike keeps its height and its place', async () => {
    const rounded = (step: number): string => (step < 1000 ? `${step}` : step.toExponential(2));
    const rows = Array.from({ length: 1500 }, (_, k) => {
      const loss = k === 1200 ? '9' : (0.31 + 0.005 * Math.sin(k)).toFixed(4);
      return { loss, line: `step=${rounded(k * 100)} loss=${loss} lr=0.001\n` };
    });
    expect(await lossOf(rows.map(({ line }) => line).join(''))).toEqual(rows.map(({ loss }) => Number(loss)));
  });
});
