/** Lines of JSON against a naive second reader: `JSON.parse` line by line, every number by its path. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { readRawStream } from '../../src/read/logs/read-log.ts';

/** By the path of each member the lines with a number, and how many lines are no object. */
function naive(lines: readonly string[]) {
  const numbers = new Map<string, [line: number, value: number][]>();
  let bad = 0;
  const walk = (value: object, prefix: string, line: number): void => {
    for (const [key, one] of Object.entries(value)) {
      const number = typeof one === 'string' && /^-?\d+(\.\d+)?$/.test(one) ? Number(one) : one;
      const name = prefix + key;
      if (typeof number === 'number') {
        const found = numbers.get(name) ?? [];
        found.push([line, number]);
        numbers.set(name, found);
      } else if (one !== null && typeof one === 'object' && !Array.isArray(one)) walk(one, `${name}.`, line);
    }
  };
  for (const [k, text] of lines.entries()) {
    if (text.trim() === '') continue;
    try {
      walk(JSON.parse(text) as object, '', k + 1);
    } catch {
      bad++;
    }
  }
  return { numbers: Object.fromEntries(numbers), bad };
}

const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.integer().map(String),
  fc.constantFrom('0', '-0', '1e400', '-1E400', '1e-400', '0.1', '12345678901234567890', '1E+5', '2e0'),
  fc.double({ min: 0, max: 10, noNaN: true }).map((one) => one.toFixed(4)),
);
const value = fc.oneof(
  { weight: 10, arbitrary: number },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'null',
      'true',
      '"0.5"',
      '"word"',
      '"a\\"b: 1"',
      '[1, 2]',
      '{"in": 3}',
      '{}',
      '""',
    ),
  },
);
const key = fc.constantFrom('step', 'loss', 'lr', 'a.b', 'é', 'x\\"y', 'train/acc', '\\u0041', ' ');
const blank = fc.constantFrom('', ' ', '  ', '\t');
/** A kind of line: most files repeat few. */
const kind = fc.record({
  keys: fc.uniqueArray(key, { minLength: 1, maxLength: 5 }),
  between: blank,
  after: blank,
  broken: fc.oneof({ weight: 12, arbitrary: fc.constant('') }, fc.constantFrom(',', '}', 'x', '{')),
});
const file = fc.record({
  lines: fc.array(fc.tuple(fc.nat(2), fc.array(value, { minLength: 5, maxLength: 5 })), {
    minLength: 3,
    maxLength: 30,
  }),
  kinds: fc.array(kind, { minLength: 3, maxLength: 3 }),
  end: fc.constantFrom('\n', '\r\n'),
  mark: fc.constantFrom('', '\ufeff'),
});

async function* pieces(text: string): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += 57) yield bytes.subarray(at, at + 57);
}

it('2,000 random files are read as JSON.parse reads their lines', async () => {
  const seen = { numbers: 0, bad: 0 };
  await fc.assert(
    fc.asyncProperty(file, async ({ lines, kinds, end, mark }) => {
      const texts = lines.map(([which, cells]) => {
        const { keys, between, after, broken } = kinds[which]!;
        const members = keys.map((name, k) => `"${name}":${between}${cells[k]}`).join(`${after},${between}`);
        return `{${between}${members}${after}}${broken}`;
      });
      const log = await readRawStream(pieces(`${mark}${texts.join(end)}${end}`), 'a.jsonl', {
        format: 'jsonl',
      });
      const told = naive(texts);
      seen.numbers += Object.values(told.numbers).flat().length;
      seen.bad += told.bad;
      const found = (log.runs[0]?.series ?? []).flatMap(({ name, value, line }) =>
        value.length === 0 ? [] : [[name, [...value].map((one, k) => [line!.at(k)!, one])] as const],
      );
      expect(Object.fromEntries(found)).toEqual(told.numbers);
      expect(log.account.lost.reduce((sum, { records }) => sum + (records ?? 0), 0)).toBe(told.bad);
    }),
    { numRuns: 2000, seed: 1132 },
  );
  expect(seen.numbers).toBeGreaterThan(40_000);
  expect(seen.bad).toBeGreaterThan(1_000);
});
