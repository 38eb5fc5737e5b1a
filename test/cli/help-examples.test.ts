/** The examples of --help; those that train for a while: help-examples.long.test.ts. */
import { describe, expect, it } from 'vitest';
import { commands, testExamples } from './help-examples.ts';

describe('examples in --help', () => {
  it('are there for every command', () =>
    expect(commands.filter(({ examples }) => examples.length === 0).map(({ id }) => id)).toEqual([]));

  testExamples((line) => !/ matrix /.test(line));
});
