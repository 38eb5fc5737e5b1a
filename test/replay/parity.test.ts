import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import { projectRoot } from '../support/shared-data.ts';
import { net, oracleRules, readCases, readResults, relativeDifference, replayCase } from './parity.ts';

const LIMITS = { float32: 1e-5, float64: 1e-12 } as const;
const elements = net.parameters.reduce(
  (sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1),
  0,
);

describe.each(['torch', 'keras'])('50 steps of every rule × optimizer against %s', (library) => {
  describe.each(oracleRules(library))('%s', (rule) => {
    const cases = readCases(library, rule);
    for (const precision of ['float64', 'float32'] as const) {
      const results = readResults(library, rule, precision);
      it(`${precision}: a result for each case`, () => {
        expect(results).toHaveLength(cases.length * elements);
      });
      it.each(cases.map((entry, index) => ({ ...entry, index })))(
        `${precision} $name $rule`,
        ({ index, ...entry }) => {
          const expected = results.subarray(index * elements, (index + 1) * elements);
          const found = replayCase(entry, precision);
          expect(relativeDifference(found, expected)).toBeLessThanOrEqual(LIMITS[precision]);
        },
      );
    }
  });
});

it('covers every rule and every optimizer', () => {
  const rules = oracleRules('torch');
  for (const id of Object.keys(RULES))
    expect(rules, `no oracle: run \`python fixtures/parity/make_oracle.py ${id}\``).toContain(id);
  expect(rules).toEqual(Object.keys(RULES).sort());
  const cases = rules.flatMap((rule) => {
    const own = readCases('torch', rule);
    expect(new Set(own.map((entry) => entry.rule.split(':')[0]))).toEqual(new Set([rule]));
    return own;
  });
  const optimizers = new Set(cases.map((entry) => entry.optimizer));
  expect(optimizers).toEqual(new Set(Object.keys(OPTIMIZERS)));
  const forms = new Set(cases.map((entry) => entry.name));
  expect(readFileSync(join(projectRoot, 'docs/numerics.md'), 'utf8')).toContain(
    `| ${cases.length}: all ${rules.length} rules, all ${optimizers.size} optimizers in ${forms.size} forms |`,
  );
});
