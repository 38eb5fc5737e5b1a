import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { numberOfText, scanNumber, scanned } from '../../src/read/logs/number-text.ts';

const scan = (text: string, mark?: number): [value: number, end: number] => {
  const bytes = Buffer.from(text);
  const end = scanNumber(bytes, 0, bytes.length, mark);
  return [end < 0 ? Number.NaN : scanned[0]!, end];
};
const RUNS = Number(process.env.CLIPPY_DIAG_FUZZ ?? 20_000);

describe('scanNumber', () => {
  it('gives what Number gives, bit for bit', () => {
    const check = (text: string): void => {
      const [value, end] = scan(text);
      if (!Object.is(value, Number(text)) || end !== text.length)
        throw new Error(`${text}: ${value}, not ${Number(text)}`);
    };
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: 1, max: 21 }),
        (x, digits) => {
          check(String(x));
          check(x.toPrecision(digits));
          check(x.toExponential(Math.min(20, digits)));
        },
      ),
      { numRuns: RUNS },
    );
    // Long mantissas as Python prints them, and decimals that lie next to the middle of two doubles.
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 10n ** 19n }),
        fc.integer({ min: 1, max: 24 }),
        (digits, fraction) => {
          const text = digits.toString().padStart(fraction + 1, '0');
          check(`${text.slice(0, -fraction)}.${text.slice(-fraction)}`);
        },
      ),
      { numRuns: RUNS },
    );
    for (const text of [
      '0',
      '-0',
      '0.0',
      '5.',
      '.5',
      '1e400',
      '-1e400',
      '1e-400',
      '4.9e-324',
      '1.7976931348623157e308',
      '9007199254740993',
      '0.1e1',
    ])
      check(text);
  });
  it('is right beside the middle between two doubles', () => {
    // 2^53 + 1 and its neighbours over powers of ten: the quotient must not round twice.
    for (let k = -40; k <= 40; k++)
      for (let fraction = 1; fraction <= 22; fraction++) {
        const digits = (9007199254740993n * 1000n + BigInt(k)).toString().padStart(fraction + 1, '0');
        const text = `${digits.slice(0, -fraction)}.${digits.slice(-fraction)}`;
        expect(scan(text)[0], text).toBe(Number(text));
      }
  });
  it('is right at every decimal that is nearer to such a middle than its arithmetic is exact', () => {
    // digits · 2^shift = middle · 5^22 ± 1 or ± 3, with a middle of 54 bits, which is odd.
    const check = (digits: bigint, fraction: number): void => {
      const text = digits.toString().padStart(fraction + 1, '0');
      const whole = `${text.slice(0, -fraction)}.${text.slice(-fraction)}`;
      if (scan(whole)[0] !== Number(whole)) throw new Error(`${whole}: ${scan(whole)[0]}`);
    };
    const power = 5n ** 22n;
    let tried = 0;
    for (let shift = 40n; shift <= 55n; shift++) {
      const modulus = 1n << shift;
      let inverse = 1n;
      for (let k = 0; k < 7; k++) inverse = (inverse * (2n - power * inverse)) % modulus;
      for (const off of [-3n, -1n, 1n, 3n]) {
        const rest = (((-off * inverse) % modulus) + modulus) % modulus;
        const first = (1n << 53n) - ((1n << 53n) % modulus) + rest;
        for (let middle = first; middle < 1n << 54n; middle += modulus) {
          const digits = (middle * power + off) / modulus;
          if (middle < 1n << 53n || digits < 10n ** 15n || digits >= 10n ** 19n) continue;
          expect(digits * modulus).toBe(middle * power + off);
          check(digits, 22);
          tried++;
        }
      }
    }
    expect(tried).toBeGreaterThan(16_000);
    // The middles themselves, which go to the even double.
    for (let fraction = 1; fraction <= 4; fraction++)
      for (let middle = (1n << 53n) + 1n; middle < 1n << 54n; middle += 2n ** 41n + 2n) {
        const digits = middle * 5n ** BigInt(fraction);
        if (digits < 10n ** 19n) check(digits, fraction);
      }
  });
  it('knows the words for what is not finite', () => {
    expect(scan('NaN,')).toEqual([Number.NaN, 3]);
    expect(scan('-nan(ind)')[1]).toBe(9);
    for (const word of ['inf', 'Inf', 'Infinity', '+Infinity', 'INF'])
      expect(scan(word)).toEqual([Infinity, word.length]);
    expect(scan('-inf')).toEqual([-Infinity, 4]);
    for (const word of ['NaN32', 'NaN16']) expect(scan(word)).toEqual([Number.NaN, 5]);
    for (const word of ['Inf32', 'Inf16']) expect(scan(`-${word},`)).toEqual([-Infinity, 6]);
    for (const [word, value] of [
      ['1.#INF', Infinity],
      ['-1.#INF00', -Infinity],
      ['1.#INF00e+000', Infinity],
      ['1.#QNAN', Number.NaN],
      ['-1.#IND', Number.NaN],
    ] as const)
      for (const end of ['', ' ', ',', '\n']) expect(scan(word + end), word).toEqual([value, word.length]);
    // What is glued to it makes it something else.
    for (const text of ['1.#INFO', '1.#', '1.#5', '2.#INF', '1.5#INF'])
      expect(scan(text)[1], text).toBe(text.indexOf('#'));
    for (const word of ['nano', 'info', 'infinite', 'none', '', '-', '+', '.', 'e5', 'abc'])
      expect(scan(word)[1]).toBe(-1);
  });
  it('reads a decimal comma where it is asked to', () => {
    expect(scan('0,69;', 44)).toEqual([0.69, 4]);
    expect(scan('1234567890,1234567890', 44)).toEqual([Number('1234567890.1234567890'), 21]);
  });
  it('reads the Float32 of Julia, with digits on both sides of the point', () => {
    expect(scan('2.3f0,')).toEqual([2.3, 5]);
    expect(scan('-1.25f-5')).toEqual([-1.25e-5, 8]);
    expect(scan('0.1234567890123456789f2')[0]).toBe(Number('12.34567890123456789'));
    for (const [text, taken] of [
      ['2f0', 1],
      ['2.f0', 2],
      ['.5f0', 2],
      ['2.5f', 3],
      ['2.5f+', 3],
      ['2.5F0', 3],
    ] as const)
      expect(scan(text)[1], text).toBe(taken);
    expect(scan('2,5f0', 44)[1]).toBe(3);
  });
  it('numberOfText takes the whole text or nothing', () => {
    expect(numberOfText(' 0.5 ')).toBe(0.5);
    expect(numberOfText('-Infinity')).toBe(-Infinity);
    for (const text of ['', ' ', '0x1f', '1_000', '5 s', '1,5', 'nan ms', '--1'])
      expect(numberOfText(text), text).toBeUndefined();
  });
});
