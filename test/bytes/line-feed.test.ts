import { describe, expect, it } from 'vitest';
import { lineFeedFrom } from '../../src/read/bytes/line-feed.ts';

describe('line feeds', () => {
  it.each([0, 1, 159, 160, 161, 5000])('%i bytes further on', (length) => {
    const bytes = Buffer.from(`ab${'x'.repeat(length)}\nyz\n`);
    expect(lineFeedFrom(bytes, 2)).toBe(2 + length);
    expect(lineFeedFrom(bytes, 3 + length)).toBe(5 + length);
    expect(lineFeedFrom(bytes, bytes.length)).toBe(-1);
    expect(lineFeedFrom(bytes.subarray(0, 2 + length), 0)).toBe(-1);
  });
});
