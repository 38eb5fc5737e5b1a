/** The first letter of a sentence: a word has a capital, a name keeps the letter that it has. */
import { expect, test } from 'vitest';
import { capital, sentences } from '../../src/report/page-words.ts';

test.each([
  ['the loss rose', 'The loss rose'],
  ['no, nothing', 'No, nothing'],
  ['weight decay is on', 'Weight decay is on'],
  ['runs/step-100.pt is older', 'runs/step-100.pt is older'],
  ['layer1.weight is NaN', 'layer1.weight is NaN'],
  ['max_grad_norm=1 holds', 'max_grad_norm=1 holds'],
  ['', ''],
])('%s', (text, said) => {
  expect(capital(text)).toBe(said);
});

test('a clause that begins with a name is a sentence that does', () => {
  expect(sentences('the update is large; layer1.weight grows')).toBe(
    'The update is large. layer1.weight grows.',
  );
});
