/** The examples of --help that train or differentiate for a while. */
import { describe } from 'vitest';
import { TAKES_LONG } from '../support/example-lines.ts';
import { testExamples } from './help-examples.ts';

describe('examples in --help', () => testExamples((line) => TAKES_LONG.test(line)));
