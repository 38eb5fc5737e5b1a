import { describe, expect, it } from 'vitest';
import { repeatedOrder } from '../../src/experiment/audit/links/batch.ts';

const stepAt = (k: number): number => 100 + k;
const order = (text: string): (string | null)[] => [...text].map((one) => (one === '.' ? null : one));

describe('the same few batches in the same order', () => {
  it('are found with the first step that repeats', () => {
    expect(repeatedOrder(order('xyzabcdabcdabcdab'), stepAt)).toMatchObject({
      link: 'batch',
      cause: 'order-repeated',
      step: 107,
      broken: 10,
      confidence: 'likely',
    });
  });

  it.each([
    ['a loader with a fixed order', 'abcdabcdabcdabcd'],
    ['two epochs alike', 'xyzabcdabcd'],
    ['other batches to the end', 'xabcabcabcabcdefg'],
    ['one batch again and again', 'xyzaaaaaaaaa'],
    ['epochs that are shuffled', 'xabcdbadccabddcba'],
    ['steps without a hash', 'xyz............'],
    ['no steps', ''],
  ])('%s: nothing', (_name, text) => {
    expect(repeatedOrder(order(text), stepAt)).toBeNull();
  });
});
