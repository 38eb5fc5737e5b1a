/** Lines that differ from one before in their numbers alone are not looked at again: what they say is the same as if they were. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { logIn } from '../../src/read/logs/text/table.ts';
import { Templates } from '../../src/read/logs/text/templates.ts';
import { LineTokens, SLOT } from '../../src/read/logs/text/tokens.ts';
import { random } from '../support/random.ts';
import { projectRoot } from '../support/shared-data.ts';

const texts = ['printed', 'no-logs'].flatMap((folder) =>
  readdirSync(join(projectRoot, 'fixtures', folder)).map((name) => ({
    name: `${folder}/${name}`,
    text: readFileSync(
      join(projectRoot, 'fixtures', folder, name, folder === 'printed' ? 'input.log' : ''),
      'utf8',
    ),
  })),
);

/** The lines of a text ten times, with other digits from the second time on. */
function repeated(text: string, next: () => number): Buffer[] {
  const lines = text.split(/[\r\n]+/).slice(0, 200);
  return Array.from({ length: 10 }, (_, k) =>
    lines.map((line) =>
      Buffer.from(
        k === 0
          ? line
          : line
              .replace(/\d/g, (digit) => (next() < 0.3 ? `${Math.floor(10 * next())}` : digit))
              .replace(/\d+/g, (digits) =>
                next() < 0.1
                  ? `${digits}${Math.floor(10 * next())}`
                  : next() < 0.1
                    ? digits.slice(1) || digits
                    : digits,
              ),
      ),
    ),
  ).flat();
}

describe('lines that repeat', () => {
  let seen = 0;
  // Most lines of a log differ in their numbers alone.
  afterAll(() => expect(seen).toBeGreaterThan(0.9 * texts.length));
  it.each(texts)('$name', ({ text }) => {
    const lines = repeated(text, random(1));
    const slow = new Templates();
    const fast = new Templates();
    let known = 0;
    for (const [k, bytes] of lines.entries()) {
      const wanted = slow.add(bytes, 0, bytes.length, k);
      const again = fast.again(bytes, 0, bytes.length, k);
      if (again !== undefined) known++;
      const got = again ?? fast.add(bytes, 0, bytes.length, k);
      if (again === undefined) fast.remember(bytes, 0, bytes.length);
      expect(got?.shown, bytes.toString()).toBe(wanted?.shown);
    }
    expect(logIn(fast.all(), lines.length)?.series).toEqual(logIn(slow.all(), lines.length)?.series);
    if (known > 0) seen++;
  });
});

describe('rows of one shape', () => {
  it.each(texts)('$name', ({ text }) => {
    const tokens = new LineTokens();
    const templates = new Templates();
    /** By what the tokens of a line are: the lines that have the same, and the numbers of each. */
    const wanted = new Map<number, { readonly lines: number[]; readonly rows: number[][] }>();
    for (const [k, bytes] of repeated(text, random(2)).entries()) {
      if (templates.again(bytes, 0, bytes.length, k) === undefined) {
        templates.add(bytes, 0, bytes.length, k);
        templates.remember(bytes, 0, bytes.length);
      }
      tokens.scan(bytes, 0, bytes.length);
      if (tokens.over) continue;
      const found = wanted.get(tokens.key) ?? { lines: [], rows: [] };
      wanted.set(tokens.key, found);
      found.lines.push(k);
      const slots = Array.from({ length: tokens.count }, (_, slot) => slot);
      found.rows.push(
        slots.filter((slot) => tokens.kind[slot] !== SLOT.clock).map((slot) => tokens.value[slot]!),
      );
    }
    const byLine = new Map([...wanted.values()].map((one) => [one.lines[0]!, one]));
    for (const { line, values } of templates.all()) {
      const { lines, rows } = byLine.get(line.finish().at(0)!)!;
      expect([...line.finish()]).toEqual(lines);
      const columns = values.flatMap((column) => (column === undefined ? [] : [[...column.finish()]]));
      expect(columns).toEqual(columns.map((_, k) => rows.map((row) => row[k])));
    }
  });
});
