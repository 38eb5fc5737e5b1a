/**
 * Every spelling of a value that is no plain number, in every reader of text: it is the value that it says, missing or
 * refused, and never another number. The oracle for plain numbers is Python's `float`.
 */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { isMissingText, numberOfText } from '../../src/logs/number-text.ts';
import { readRawStream } from '../../src/logs/read-log.ts';
import { pythonWith } from '../support/python.ts';

/** Wanted: a value, `missing` or `refused`. */
type Said = number | 'missing' | 'refused';

const WORDS: readonly [string, number][] = [
  // C since C99, Python, NumPy, Java, JavaScript, Julia, Go, .NET.
  ['nan', Number.NaN],
  ['inf', Number.POSITIVE_INFINITY],
  ['infinity', Number.POSITIVE_INFINITY],
  // glibc with a payload, Microsoft since 2015.
  ['nan(0x8000000000000)', Number.NaN],
  ['nan.0', Number.NaN],
  ['nan.', Number.NaN],
  ['inf.0', Number.POSITIVE_INFINITY],
  ['inf.', Number.POSITIVE_INFINITY],
  ['nan(ind)', Number.NaN],
  ['nan(snan)', Number.NaN],
  // Microsoft before: %g, %f, %.2f, %.1f, %e.
  ['1.#qnan', Number.NaN],
  ['1.#QNAN0', Number.NaN],
  ['1.#snan', Number.NaN],
  ['1.#ind', Number.NaN],
  ['1.#IND00', Number.NaN],
  ['1.#QO', Number.NaN],
  ['1.#R', Number.NaN],
  ['1.#QNANe+000', Number.NaN],
  ['1.#inf', Number.POSITIVE_INFINITY],
  ['1.#INF00', Number.POSITIVE_INFINITY],
  ['1.#INF00e+000', Number.POSITIVE_INFINITY],
  ['1.#J', Number.POSITIVE_INFINITY],
];
const SIGNS = ['', '-', '+'];
const CASES = [
  (word: string) => word,
  (word: string) => word.toLowerCase(),
  (word: string) => word.toUpperCase(),
  (word: string) => word.charAt(0).toUpperCase() + word.slice(1),
];
const WRAPPERS = [
  (word: string) => word,
  (word: string) => ` ${word} `,
  (word: string) => `tensor(${word})`,
  (word: string) => `tensor(${word}, device='cuda:0')`,
  (word: string) => `tensor([${word}], grad_fn=<MeanBackward0>)`,
  (word: string) => `np.float32(${word})`,
  (word: string) => `Array(${word}, dtype=float32)`,
];

const spellings = new Map<string, Said>();
for (const [word, value] of WORDS)
  for (const sign of SIGNS)
    for (const spell of CASES)
      for (const wrap of WRAPPERS) {
        // The 0x of a payload is spelled as it is.
        const text = sign + (word.includes('0x') ? word : spell(word));
        spellings.set(wrap(text), sign === '-' ? -value : value);
      }
const REFUSED = [
  '***', '*****', 'overflow', 'error', 'Error!', '#DIV/0!', '#NUM!', '1,234.5', '1,234', "1'234.5", '1_000', '1 234',
  '1d5', '1.0D+05', '1.5f', '0.5f0', '812/s', '2841M', '3.2k', '5%', '50 %', '5 ms', '12GB', '$5', '~0.5', '<0.001', '>100',
  '0x1p3', '0x1f', '0b1', '1e', '1e+', 'e5', '.', '+', '1.2.3', '--5', '+-5', '1-2', '1/2', '1:30', '0.5±0.1', '0.5(1)',
  '1.#', '1.#X', '1.5#INF', 'nans', 'nanometer', 'infin', 'info', 'infinite', 'nan nan', 'nan(', 'tensor()',
  'tensor([0.1, 0.2])', 'tensor(0.1, 0.2)', 'tensor(1,234.5)', 'tensor(812/s)', 'tensor(overflow)', '[0.5, 0.6]', '{0.5}',
  'True', 'mse', '0.5 0.6', '2024-01-02', 'tensor(tensor(1))',
]; // biome-ignore format: a table
for (const text of REFUSED) spellings.set(text, 'refused');
for (const text of ['NA', 'N/A', '#N/A', '<NA>', 'null', 'None', 'nil', '-', '--', 'na', 'NULL'])
  spellings.set(text, 'missing');

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

const python = pythonWith();
describe.skipIf(python === undefined)('numbers are those of Python', () => {
  it('plain spellings give the same double, and what Python refuses is refused', () => {
    const texts = [...spellings.keys()];
    // Decimals of all shapes, whole and damaged.
    let state = 7;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const ALPHABET = '0123456789..--++eEnaif_ ';
    for (let k = 0; k < 4_000; k++) {
      const digits = (n: number): string => Array.from({ length: n }, () => random(10)).join('');
      texts.push(
        `${['', '-', '+'][random(3)]}${digits(random(20))}.${digits(random(20))}e${random(700) - 350}`,
      );
      texts.push(Array.from({ length: 1 + random(8) }, () => ALPHABET[random(ALPHABET.length)]).join(''));
    }
    const program = [
      'import json, struct, sys',
      'def read(text):',
      '    try: return struct.pack(">d", float(text)).hex()',
      '    except ValueError: return None',
      'json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)',
    ].join('\n');
    const { stdout, status } = spawnSync(python!, ['-c', program], {
      input: JSON.stringify(texts),
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    });
    expect(status).toBe(0);
    const theirs = JSON.parse(stdout) as (string | null)[];
    let both = 0;
    texts.forEach((text, k) => {
      const bits = theirs[k];
      const ours = numberOfText(text);
      if (bits === null || bits === undefined) {
        // Beyond Python: words of other runtimes, and what a tensor prints.
        if (ours !== undefined) expect(text).toMatch(/#|\(|∞|f\.0*|n\.0*/i);
        return;
      }
      if (ours === undefined) {
        expect(text).toMatch(/_/);
        return;
      }
      const value = Buffer.from(bits, 'hex').readDoubleBE();
      expect([text, ours]).toEqual([text, value]);
      both++;
    });
    expect(both).toBeGreaterThan(4_000);
  });
});
