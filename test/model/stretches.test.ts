import { expect, test } from 'vitest';
import { stretchWords } from '../../src/model/stretches.ts';

test.each<[number[], string, boolean]>([
  [[7], '7', true],
  [[7, 8], '7 to 8', true],
  [[138, 139, 140, 159], '138 to 140 and 159', true],
  [[1, 3, 4, 1000], '1, 3 to 4 and 1,000', true],
  [[1, 3, 5, 7], 'between 1 and 7', false],
])('%j: %s', (steps, text, all) => {
  expect(stretchWords(steps)).toEqual({ text, all });
});
