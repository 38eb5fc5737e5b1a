/** Breaking the prose of a page changes no word of it, no code and no table. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { wrapMarkdown } from '../../src/model/wrap-markdown.ts';

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

describe('wrapMarkdown', () => {
  test('breaks paragraphs and items, each at its own indent', () => {
    expect(wrapMarkdown('one two three four\n\n- five six seven\n  eight\n1. six ten', 10)).toBe(
      'one two\nthree four\n\n- five six\n  seven\n  eight\n1. six ten',
    );
  });

  test.each([
    ['a table', '| one | two | three |\n| --- | --- | --- |'],
    ['a heading', '## one two three four five'],
    ['code in a fence', '```\none two three four five\n```'],
    ['code by indentation', 'one\n\n    two three four five'],
    ['hard breaks', 'one two three  \nfour five six'],
    ['what is narrow enough', 'one two\nthree'],
  ])('leaves %s as it is', (_, page) => expect(wrapMarkdown(page, 12)).toBe(page));

  test('keeps a span of code in one piece', () => {
    expect(wrapMarkdown('one `two three four` five', 10)).toBe('one\n`two three four`\nfive');
  });

  test('lets no line begin with what would be an item or a heading', () => {
    expect(wrapMarkdown('one two - three 1. four', 8)).toBe('one\ntwo -\nthree 1.\nfour');
  });

  test('loses no word, and breaks what it broke no further', () => {
    const word = fc.constantFrom('a', 'bb', 'ccc', '`d e`', '[f](g)', '-', '#', '1.', '*h*', 'iiiiiiiiii');
    const paragraph = fc
      .tuple(fc.constantFrom('', '- ', '  1. '), fc.array(word, { minLength: 1, maxLength: 30 }))
      .map(([lead, all]) => `${lead}x ${all.join(' ')}`);
    fc.assert(
      fc.property(fc.array(paragraph, { maxLength: 5 }), fc.integer({ min: 5, max: 40 }), (parts, width) => {
        const page = parts.join('\n\n');
        const wrapped = wrapMarkdown(page, width);
        expect(words(wrapped)).toEqual(words(page));
        expect(wrapMarkdown(wrapped, width)).toBe(wrapped);
        expect(wrapped.split('\n\n')).toHaveLength(page.split('\n\n').length);
      }),
    );
  });
});
