/** The compiler holds a schema and its type together, both ways: what must not compile is marked, and `tsc` reads it. */
import { expect, it } from 'vitest';
import { finite, listOf, number, objectOf, oneOf, orNull, text } from '../../src/report/schema-of.ts';

interface Thing {
  readonly name: string;
  readonly kind: 'a' | 'b';
  readonly value: number | null;
  readonly line?: number;
  readonly parts: readonly string[];
}

const members = {
  name: text('Its name.'),
  kind: oneOf(['a', 'b'], 'Its kind.'),
  value: orNull(number('Its value.')),
  line: finite('Its line.').optional(),
  parts: listOf(text('A part.'), 'Its parts.'),
};
const { line: _, ...withoutLine } = members;
const thing = objectOf<Thing>('thing', 'A thing.');

it('a member more, fewer or of another type does not compile', () => {
  thing(members);
  // @ts-expect-error an optional member that the schema lacks
  thing(withoutLine);
  // @ts-expect-error a member that the type lacks
  thing({ ...members, more: text('More.') });
  // @ts-expect-error a required member that the schema makes optional
  thing({ ...members, name: text('Its name.').optional() });
  // @ts-expect-error an optional member that the schema requires
  thing({ ...members, line: finite('Its line.') });
  // @ts-expect-error a word fewer
  thing({ ...members, kind: oneOf(['a'], 'Its kind.') });
  // @ts-expect-error a word more
  thing({ ...members, kind: oneOf(['a', 'b', 'c'], 'Its kind.') });
  // @ts-expect-error null where the type has none
  thing({ ...members, name: orNull(text('Its name.')) });
  // @ts-expect-error no null where the type has one
  thing({ ...members, value: number('Its value.') });
  // @ts-expect-error entries of another type
  thing({ ...members, parts: listOf(finite('A part.'), 'Its parts.') });
});

it('numbers that JSON has no signs for are numbers again, where the schema says number', () => {
  const parse = (value: unknown): Thing =>
    thing(members).parse({ name: 'NaN', kind: 'a', value, parts: ['Infinity'] });
  expect(parse('NaN').value).toBeNaN();
  expect(parse('-Infinity').value).toBe(Number.NEGATIVE_INFINITY);
  expect(parse('Infinity')).toEqual({
    name: 'NaN',
    kind: 'a',
    value: Number.POSITIVE_INFINITY,
    parts: ['Infinity'],
  });
  expect(parse(null).value).toBeNull();
  expect(() => parse('inf')).toThrow();
});
