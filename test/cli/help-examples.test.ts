/** The examples of --help; those that train or differentiate for a while: help-examples.long.test.ts. */
import { describe, expect, it } from 'vitest';
import { TAKES_LONG } from '../support/example-lines.ts';
import { commands, testExamples } from './help-examples.ts';

describe('examples in --help', () => {
  it('are there for every command', () =>
    expect(commands.filter(({ examples }) => examples.length === 0).map(({ id }) => id)).toEqual([]));

  testExamples((line) => !TAKES_LONG.test(line));
});
