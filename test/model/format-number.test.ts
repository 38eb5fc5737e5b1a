/** How numbers are shown: digits, width, and that what is shown is the number. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  counted,
  countedPlain,
  DIGITS,
  formatCount,
  formatNumber,
  formatQuality,
  formatStep,
} from '../../src/model/format-number.ts';

const precisions = Object.keys(DIGITS) as (keyof typeof DIGITS)[];

describe('formatNumber', () => {
  it.each([
    [0, '0'],
    [-0, '0'],
    [0.44661, '0.4466'],
    [1234.5678, '1235'],
    [21_520.4, '21520'],
    [999_949.9, '999900'],
    [999_950, '1e6'],
    [999_949_999, '1e9'],
    [1.15643e18, '1.16e18'],
    [1e16, '1e16'],
    [0.00012, '1.2e-4'],
    [0.001, '0.001'],
    [-0.5, '-0.5'],
    [Number.NaN, 'NaN'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
    [Number.NEGATIVE_INFINITY, '-Infinity'],
  ])('%d at a glance is %s', (value, text) => expect(formatNumber(value)).toBe(text));

  it('keeps every digit of a step that is looked up, and rounds what is measured', () => {
    expect(formatNumber(1_234_567, 'lookup')).toBe('1234567');
    expect(formatNumber(1_234_567, 'exact')).toBe('1234567');
    expect(formatNumber(1_234_567)).toBe('1.23e6');
    expect(formatNumber(0.123456789, 'lookup')).toBe('0.123457');
    expect(formatNumber(0.123456789, 'exact')).toBe('0.123456789');
    expect(formatNumber(123.4, 'rough')).toBe('120');
  });

  it('is read back as the number, to the digits that are promised', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -1e308, max: 1e308, noNaN: true }),
        fc.constantFrom(...precisions),
        (value, precision) => {
          const text = formatNumber(value, precision);
          // Half a unit of the last digit, of which the exponent takes one.
          const error = 0.5 * 10 ** -Math.max(1, DIGITS[precision] - 2);
          const found = Number(text);
          if (!Number.isFinite(value)) expect(found).toBe(value);
          else expect(Math.abs(found - value)).toBeLessThanOrEqual(error * Math.abs(value) * 1.0001);
          const [digits = ''] = text.split('e');
          if (!Number.isInteger(value))
            expect(digits.replace(/[-.]/g, '').replace(/^0+|0+$/g, '').length).toBeLessThanOrEqual(
              DIGITS[precision],
            );
        },
      ),
    );
  });

  it('takes nine columns at a glance', () => {
    fc.assert(
      fc.property(fc.double({ min: -1e99, max: 1e99, noNaN: true }), (value) => {
        fc.pre(value === 0 || Math.abs(value) >= 1e-99);
        expect(formatNumber(value).length).toBeLessThanOrEqual(9);
      }),
    );
  });
});

it('counts have every digit, in groups of three', () => {
  expect([0, -0, 999, 1000, 1_234_567].map(formatCount)).toEqual(['0', '0', '999', '1,000', '1,234,567']);
});

it('steps have the same groups, two digits of a fraction, and an exponent where they are no count any more', () => {
  expect([0, -0, -0.001, 2.345, 12_345, -40, 1e9].map(formatStep)).toEqual([
    '0',
    '0',
    '0',
    '2.35',
    '12,345',
    '-40',
    '1e9',
  ]);
});

it('whole numbers are grouped as the locale of the United States groups them', () => {
  fc.assert(
    fc.property(fc.double({ noNaN: true }), fc.maxSafeInteger(), (any, whole) => {
      for (const value of [any, whole, whole % 1e7])
        expect(formatCount(value)).toBe((value + 0).toLocaleString('en-US'));
      const step = whole % 1e9;
      expect(formatStep(step)).toBe((step + 0).toLocaleString('en-US'));
    }),
  );
});

it('a quality has its third digit, zero or not, and is empty where it was not measured', () => {
  expect([0.8, 0.76549, -0.5, 12.3456, Number.NaN].map(formatQuality)).toEqual([
    '0.800',
    '0.765',
    '-0.500',
    '12.35',
    '',
  ]);
});

it('says so many things: one has no s', () => {
  expect([0, 1, 2, 1200].map((count) => counted(count, 'record'))).toEqual([
    '0 records',
    '1 record',
    '2 records',
    '1,200 records',
  ]);
  expect([1, 2].map((count) => counted(count, 'byte is', 'bytes are'))).toEqual(['1 byte is', '2 bytes are']);
  expect([1, 1200].map((count) => countedPlain(count, 'record'))).toEqual(['1 record', '1200 records']);
});
