import { describe, expect, it } from 'vitest';
import { OPTIMIZERS } from '../../src/optimizers/registry.ts';
import { RULES } from '../../src/rules/registry.ts';
import { readOracle, readResults, relativeDifference, replayCase } from './parity.ts';

const LIMITS = { float32: 1e-5, float64: 1e-12 } as const;

describe.each(['torch', 'keras'])('50 steps of every rule × optimizer against %s', (name) => {
  const oracle = readOracle(name);
  for (const precision of ['float64', 'float32'] as const) {
    const results = readResults(name, precision);
    const size = results.length / oracle.cases.length;
    it.each(oracle.cases.map((entry, index) => ({ ...entry, index })))(
      `${precision} $name $rule`,
      ({ index, ...entry }) => {
        const expected = results.subarray(index * size, (index + 1) * size);
        const found = replayCase(oracle, entry, precision);
        expect(relativeDifference(found, expected)).toBeLessThanOrEqual(LIMITS[precision]);
      },
    );
  }
});

it('covers every rule and every optimizer', () => {
  const { cases } = readOracle('torch');
  expect(new Set(cases.map((entry) => entry.rule.split(':')[0]))).toEqual(new Set(Object.keys(RULES)));
  expect(new Set(cases.map((entry) => entry.optimizer))).toEqual(new Set(Object.keys(OPTIMIZERS)));
});
