/** Lines of real logs that no known layout reads: fixtures/by-words, each read by its words, and once more with a NaN. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Expected {
  readonly series: Record<string, { readonly steps: number[]; readonly values: number[] }>;
  readonly nan: { readonly replace: string; readonly with: string; readonly index: number };
}

const folder = join(projectRoot, 'fixtures/by-words');

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

describe('logs read by their words', () => {
  it.each(readdirSync(folder))('%s: the loss of training, a NaN in its place', async (name) => {
    const text = readFileSync(join(folder, name, 'input.log'), 'utf8');
    const { series, nan } = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
    const [[key, { steps, values }]] = Object.entries(series) as [
      [string, { steps: number[]; values: number[] }],
    ];
    expect(text.split(nan.replace)).toHaveLength(2);
    for (const [lines, wanted] of [
      [text, values],
      [text.replace(nan.replace, nan.with), values.toSpliced(nan.index, 1, Number.NaN)],
    ] as const) {
      const log = await finishLog(await readRawStream(once(lines), 'input.log'), { sidecars: false });
      expect(log).toMatchObject({ errors: [], lost: 0, readBy: { how: 'words' } });
      const loss = log.runs[0]!.series.find(({ role }) => role === 'loss')!;
      expect(loss.name).toBe(key);
      expect({ steps: Array.from(loss.step), values: Array.from(loss.value) }).toEqual({
        steps,
        values: wanted,
      });
    }
  });
});

/** Spellings of what is not a number, and what each of them is. */
const SAID: readonly [string, 'missing' | 'refused'][] = [
  ['', 'missing'], ['-', 'missing'], ['--', 'missing'], ['null', 'missing'], ['None', 'missing'], ['N/A', 'missing'],
  ['overflow', 'refused'], ['***', 'refused'], ['???', 'refused'], ['$0.4', 'refused'], ['<unk>', 'refused'],
  ['812/s', 'refused'], ['0.5abc', 'refused'], ['0.5.5', 'refused'], ['0x12', 'refused'],
]; // biome-ignore format: a table

/** A line that has no counter and ends where its loss should follow may be a heading. */
const WITHOUT_COUNTER = ['fuxictr-bars'];
const saidIn = (name: string): typeof SAID =>
  SAID.filter(([said]) => said !== '' || !WITHOUT_COUNTER.includes(name));

describe('a loss that is not a number', () => {
  it.each(
    readdirSync(folder).flatMap((name) => saidIn(name).map(([said, what]) => [name, said, what] as const)),
  )('in %s: %j is %s, and its line is accounted for', async (name, said, what) => {
    const text = readFileSync(join(folder, name, 'input.log'), 'utf8');
    const { series, nan } = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
    const [key, { values }] = Object.entries(series)[0]!;
    const cell = nan.with.replace(/nan/i, said);
    const log = await finishLog(await readRawStream(once(text.replace(nan.replace, cell)), 'input.log'), {
      sidecars: false,
    });
    const loss = log.runs[0]!.series.find((one) => one.name === key)!;
    expect({ points: loss.value.length, [what]: loss[what] }).toEqual({
      points: values.length - 1,
      [what]: 1,
    });
    const refused = log.account.lost.filter(({ reason }) => reason === 'refused-value');
    expect({ refused: refused.length, lost: log.lost }).toEqual(
      what === 'refused' ? { refused: 1, lost: 1 } : { refused: 0, lost: 0 },
    );
    expect(log.errors.map(({ id }) => id)).toEqual(what === 'refused' ? ['log-cells-bad'] : []);
  });
});

it.each(readdirSync(folder))('in %s a remark behind a loss leaves it a number', async (name) => {
  const text = readFileSync(join(folder, name, 'input.log'), 'utf8');
  const { series, nan } = JSON.parse(readFileSync(join(folder, name, 'expected.json'), 'utf8')) as Expected;
  const [key, { values }] = Object.entries(series)[0]!;
  const cell = `${nan.with.replace(/nan/i, '0.25')} *`;
  const log = await finishLog(await readRawStream(once(text.replace(nan.replace, cell)), 'input.log'), {
    sidecars: false,
  });
  const loss = log.runs[0]!.series.find((one) => one.name === key)!;
  expect([...loss.value]).toEqual(values.toSpliced(nan.index, 1, 0.25));
  expect(log).toMatchObject({ errors: [], lost: 0 });
});

it('a heading that names the counter of a line with a loss is no empty cell', async () => {
  const lines = Array.from(
    { length: 12 },
    (_, k) => `Train loss @epoch ${k}:\nsome words\nTrain loss @epoch ${k}: ${(2 / (k + 1)).toFixed(4)}\n`,
  );
  const log = await finishLog(await readRawStream(once(lines.join('')), 'input.log'), { sidecars: false });
  const loss = log.runs[0]!.series.find(({ role }) => role === 'loss')!;
  expect({ points: loss.value.length, missing: loss.missing }).toEqual({ points: 12, missing: 0 });
});

describe('a time of day with AM or PM behind it', () => {
  it.each(['10:27 PM', '10:27pm', '10:27:05 PM'])(
    '%s is one time, and PM no name of a number',
    async (noon) => {
      const values = Array.from({ length: 24 }, (_, i) => 0.2 + 2 * Math.exp(-i / 5) + (i % 3) / 100);
      const lines = values.map((value, i) => {
        const time = i % 12 < 6 ? noon : noon.replace(/p/i, (letter) => (letter === 'P' ? 'A' : 'a'));
        return `Epoch ${i} @ ${time} : ${value.toFixed(4)} C.E. Loss, ${(70 + i + (i % 4) / 10).toFixed(2)}% Accuracy\n`;
      });
      const log = await finishLog(await readRawStream(once(lines.join('')), 'input.log'), {
        sidecars: false,
      });
      const loss = log.runs[0]!.series.find(({ role }) => role === 'loss')!;
      expect(log.lost).toBe(0);
      expect(Array.from(loss.step)).toEqual(values.map((_, i) => i));
      expect(Array.from(loss.value)).toEqual(values.map((value) => Number(value.toFixed(4))));
    },
  );
});
