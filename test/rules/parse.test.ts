import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { traitsOf } from '../../src/experiment/replay/bench.ts';
import { DiagError, ERROR_TEXTS } from '../../src/model/errors.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { ruleForOptimizer } from '../../src/step/rules/choice.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { DEFAULT_RULES } from '../../src/step/rules/registry.ts';

const read = (text: string) => parseRule(text).map(({ id, parts, label }) => [id, parts[0]!.options, label]);

describe('rule texts', () => {
  it('clippy alone is the preset paper', () => {
    const paper = {
      variableRelativeThreshold: 0.5,
      absoluteThreshold: 0.01,
      accumulatorRelativeThreshold: 0,
      accumulator: 'standard',
      embeddings: true,
    };
    expect(read('clippy')).toEqual([['clippy', paper, 'clippy:paper']]);
    expect(read('clippy:paper')).toEqual(read('clippy'));
  });
  it('a preset with changes', () => {
    const [choice] = parseRule('clippy:tfrs,absoluteThreshold=1e-3,embeddings=false');
    expect(choice!.parts[0]!.options).toMatchObject({
      variableRelativeThreshold: 0.1,
      absoluteThreshold: 1e-3,
      accumulator: 'delayed',
      epsilon: 1e-7,
      embeddings: false,
    });
  });
  it('the main option may go unnamed', () => {
    expect(parseRule('global-norm:2.5')).toEqual(parseRule('global-norm:maxNorm=2.5'));
    expect(parseRule('agc:0.1')[0]!.parts[0]!.options.clipping).toBe(0.1);
  });
  it('a grid gives one rule for each value, in order; two grids give all pairs', () => {
    expect(parseRule('agc:{0.1, 0.01,0.001}').map(({ parts }) => parts[0]!.options.clipping)).toEqual([
      0.1, 0.01, 0.001,
    ]);
    expect(parseRule('clippy:absoluteThreshold={1,2},accumulator={standard,delayed}')).toHaveLength(4);
  });
  it('labels read back to the same rule', () => {
    for (const text of [
      ...DEFAULT_RULES,
      'clippy:tfrs,absoluteThreshold=1',
      'agc:epsilon=0.1',
      'lamb:0.01',
      'spam',
    ])
      for (const choice of parseRule(text)) expect(parseRule(choice.label)).toEqual([choice]);
  });
});

const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof DiagError) {
      expect(error.message).not.toMatch(/\{\w+\}/);
      return error.code;
    }
    throw error;
  }
  return 'no error';
};

describe('what bad texts get', () => {
  it.each([
    ['clipy', 'rule-unknown'],
    ['', 'rule-unknown'],
    ['__proto__', 'rule-unknown'],
    ['qk-clip:100', 'rule-not-replayed'],
    ['global-norm:1+MuonClip', 'rule-not-replayed'],
    ['agc:0', 'option-range'],
    ['agc:-1', 'option-range'],
    ['agc:abc', 'option-range'],
    ['agc:NaN', 'option-range'],
    ['agc:', 'rule-syntax'],
    ['agc:{}', 'rule-grid-empty'],
    ['agc:{ , }', 'rule-grid-empty'],
    ['agc:{0.1', 'rule-syntax'],
    ['agc:0.1,0.2', 'rule-syntax'],
    ['agc:clipping=1,clipping=2', 'rule-syntax'],
    ['agc:cliping=1', 'option-unknown'],
    ['agc:__proto__=1', 'option-unknown'],
    ['agc:=1', 'option-unknown'],
    ['agc:epsilon=0.5,0.25', 'rule-syntax'],
    ['clippy:papr', 'rule-syntax'],
    ['clippy:accumulator=late', 'option-range'],
    ['none:1', 'rule-syntax'],
  ])('%s: %s', (text, code) => {
    expect(codeOf(() => parseRule(text))).toBe(code);
    expect(Object.hasOwn(ERROR_TEXTS, code)).toBe(true);
  });
  it('did you mean', () => {
    expect(() => parseRule('clipy')).toThrow(/no clipping rule "clipy"/);
    try {
      parseRule('clipy');
    } catch (error) {
      expect((error as DiagError).hint).toContain('did you mean clippy?');
    }
  });
});

it('any text is a rule or a coded error', () => {
  const piece = fc.constantFrom(
    'clippy',
    'agc',
    ':',
    ',',
    '=',
    '{',
    '}',
    '0.1',
    'paper',
    'clipping',
    ' ',
    '-1',
    '__proto__',
    'e',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      try {
        for (const { parts } of parseRule(pieces.join('')))
          for (const { options } of parts) expect(Object.values(options)).not.toContain(Number.NaN);
      } catch (error) {
        expect(error).toBeInstanceOf(DiagError);
      }
    }),
    { numRuns: Number(process.env.CLIPPY_DIAG_FUZZ ?? 500) },
  );
});

describe('rule × optimizer', () => {
  const check = (rule: string, optimizer: keyof typeof OPTIMIZERS) =>
    codeOf(() => ruleForOptimizer(parseRule(rule)[0]!, traitsOf(chooseOptimizer(optimizer))));
  it.each([
    ['lamb', 'lamb', 'rule-undefined'],
    ['spam', 'adagrad', 'rule-undefined'],
    ['spam', 'rmsprop', 'no error'],
    ['rms:form=stable-adamw', 'sgd', 'rule-undefined'],
    ['rms', 'sgd', 'no error'],
    ['rms', 'lamb', 'rule-undefined'],
    ['clippy:tfrs', 'adam', 'no error'],
    ['clippy:accumulator=delayed', 'adam', 'rule-undefined'],
    ['clippy:accumulatorRelativeThreshold=1', 'sgd', 'rule-undefined'],
  ] as const)('%s with %s: %s', (rule, optimizer, code) => {
    expect(check(rule, optimizer)).toBe(code);
  });
  it('every default rule is defined for every optimizer', () => {
    for (const rule of DEFAULT_RULES)
      for (const optimizer of Object.keys(OPTIMIZERS))
        expect([rule, optimizer, check(rule, optimizer as keyof typeof OPTIMIZERS)]).toEqual([
          rule,
          optimizer,
          'no error',
        ]);
  });
});
