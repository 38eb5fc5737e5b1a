/**
 * Every spelling of a value that is no plain number, in every reader of text: it is the value that it says, missing or
 * refused, and never another number. number-spellings.long.test.ts holds plain numbers against Python.
 */
import { describe, expect, it } from 'vitest';
import { isMissingText, numberOfText } from '../../src/read/logs/number-text.ts';
import { readRawStream } from '../../src/read/logs/read-log.ts';
import { spellings } from './spellings.ts';

const all = [...spellings];
/** Rows that are read together, and healthy ones before and after, so that the column is one of numbers. */
const TOGETHER = 20;
const AROUND = 12;

async function* once(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

/** What a reader made of the loss in each of many rows that are read together: a value, or nothing. */
interface Reader {
  readonly name: string;
  /** The text of a log of such losses, at steps 0, 1, 2 … */
  readonly write: (losses: readonly string[]) => string;
  /** Spellings that a text of this form cannot hold. */
  readonly cannot?: (text: string) => boolean;
  readonly path?: string;
  readonly series?: string;
}
const json = JSON.stringify;
const cell = (text: string): string => `"${text.replaceAll('"', '""')}"`;
const READERS: readonly Reader[] = [
  { name: 'CSV', write: (all) => `step,loss\n${all.map((one, k) => `${k},${cell(one)}\n`).join('')}` },
  {
    name: 'CSV without quotes',
    write: (all) => `step,loss\n${all.map((one, k) => `${k},${one}\n`).join('')}`,
    cannot: (text) => text.includes(','),
  },
  {
    name: 'CSV with tabs',
    write: (all) => `step\tloss\n${all.map((one, k) => `${k}\t${one}\n`).join('')}`,
    // There the comma is that of a decimal.
    cannot: (text) => /^\d+,\d+$/.test(text),
  },
  { name: 'JSON lines', write: (all) => all.map((one, k) => `{"step":${k},"loss":${json(one)}}\n`).join('') },
  {
    name: 'JSON lists',
    write: (all) => `{"step":[${all.map((_, k) => k)}],"loss":[${all.map((one) => json(one))}]}`,
  },
  { name: 'JSON records', write: (all) => `[${all.map((one, k) => `{"step":${k},"loss":${json(one)}}`)}]` },
  {
    name: 'trainer state',
    write: (all) => `{"log_history":[${all.map((one, k) => `{"step":${k},"loss":${json(one)}}`)}]}`,
  },
  {
    name: 'MLflow',
    path: 'metrics/loss',
    write: (all) => all.map((one, k) => `1700000000000 ${one} ${k}\n`).join(''),
    cannot: (text) => /\s/.test(text),
  },
];

describe('what a value says', () => {
  it(`${all.length} spellings are read, missing or refused by the one function`, () => {
    for (const [text, said] of all) {
      const value = numberOfText(text);
      const found = value ?? (isMissingText(text) ? 'missing' : 'refused');
      expect([text, found]).toEqual([text, said]);
    }
    expect(all.length * READERS.length).toBeGreaterThan(2_860);
  });

  it.each(READERS)('$name: never another number', async ({ write, cannot, path, series = 'loss' }) => {
    const held = all.filter(([text]) => cannot?.(text) !== true);
    const plain = new Array<string>(AROUND).fill('0.5');
    const healthy = plain.map(Number);
    const groups = { value: 0, missing: 0, refused: 0 };
    // In groups, so that numbers are the majority in each and none is a column of text.
    for (let from = 0; from < held.length; from += TOGETHER) {
      const group = held.slice(from, from + TOGETHER);
      const losses = [...plain, ...group.map(([text]) => text), ...plain];
      const { runs, kept, lost } = await readRawStream(once(write(losses)), path ?? 'log');
      const loss = runs[0]!.series.find(({ name }) => name === series)!;
      const wanted = group.flatMap(([, said]) => (typeof said === 'number' ? [said] : []));
      expect([group, [...loss.value]]).toEqual([group, [...healthy, ...wanted, ...healthy]]);
      const missing = group.filter(([, said]) => said === 'missing').length;
      const refused = group.filter(([, said]) => said === 'refused').length;
      // MLflow has one value a line: none of its lines says that it is missing.
      const isLine = path !== undefined;
      expect([group, loss.missing, loss.refused]).toEqual([
        group,
        isLine ? 0 : missing,
        isLine ? refused + missing : refused,
      ]);
      expect(kept + lost).toBe(losses.length);
      groups.value += wanted.length;
      groups.missing += missing;
      groups.refused += refused;
    }
    expect(groups.value).toBeGreaterThan(300);
    expect(groups.refused).toBeGreaterThan(30);
  });

  it('bare words in JSON, which no standard allows and writers write', async () => {
    for (const [text, said] of all) {
      if (!/^[-+]?[\w.#()]+$/.test(text) || text === 'null' || said === 'missing') continue;
      const lines = [0, 1, 2].map((k) => `{"step":${k},"loss":${k === 1 ? text : '0.5'}}\n`).join('');
      const { runs, lost, errors } = await readRawStream(once(lines), 'log.jsonl', { format: 'jsonl' });
      const values = [...runs[0]!.series.find(({ name }) => name === 'loss')!.value];
      if (typeof said === 'number') expect([text, values, lost]).toEqual([text, [0.5, said, 0.5], 0]);
      // The line is lost, and says so.
      else expect([text, values, lost, errors.length]).toEqual([text, [0.5, 0.5], 1, 1]);
    }
  });

  it('a decimal comma is read where it does not separate, and is no separator of thousands', () => {
    for (const [text, value] of [
      ['0,5', 0.5],
      ['-1,25e-3', -0.00125],
      ['tensor(0,5)', undefined],
      ['1,234.5', undefined],
      ['1.234,5', undefined],
      ['1,2,3', undefined],
    ] as const)
      expect([text, numberOfText(text, true)]).toEqual([text, value]);
    expect(numberOfText('0,5')).toBeUndefined();
  });
  it('no spelling takes long', () => {
    // Counted by length: a longer text is no number, whatever it is.
    for (const text of [
      '['.repeat(5_000),
      `tensor(${'['.repeat(190)}`,
      `nan(${'a'.repeat(190)}`,
      '1'.repeat(300),
    ])
      expect(numberOfText(text)).toBeUndefined();
  });
});
