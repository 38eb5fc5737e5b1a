/** The examples of --help that train for a while. */
import { describe } from 'vitest';
import { testExamples } from './help-examples.ts';

describe('examples in --help', () => testExamples((line) => / matrix /.test(line)));
