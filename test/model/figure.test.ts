import { expect, it } from 'vitest';
import { figure } from '../../src/model/figure.ts';

it('figures have four digits, and an exponent from 1e9 on', () => {
  expect([0.44661, 21520.4, 999_949_999, 1.15643e18, 5.761e23, 1.5e-7, Number.NaN].map(figure)).toEqual([
    '0.4466',
    '21520',
    '999900000',
    '1.156e+18',
    '5.761e+23',
    '1.5e-7',
    'NaN',
  ]);
});
