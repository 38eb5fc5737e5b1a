/** What each rule takes and says of itself: what users write, and what reports and comparisons rely on. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { rangeOf } from '../../src/model/options.ts';
import { pasteLine } from '../../src/model/paste-lines.ts';
import { chooseRules, NO_CLIPPING, optionsOf, ruleOf } from '../../src/step/rules/choice.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';

describe('options, defaults and ranges', () => {
  const positive = 'a number above 0';
  const least = 'a number from 0';
  it.each([
    ['none', {}],
    // torch.nn.utils.clip_grad_value_ and clip_grad_norm_ name no default; tutorials have 1.
    ['value', { clipValue: [1, positive] }],
    [
      'global-norm',
      { maxNorm: [1, positive], semantics: ['torch', 'torch, optax, tensorflow'], norm: ['2', '2, inf'] },
    ],
    ['layer-norm', { maxNorm: [1, positive] }],
    // timm.optim.agc: clip_factor=0.01, eps=1e-3.
    ['agc', { clipping: [0.01, positive], epsilon: [1e-3, least] }],
    ['lars', { trustCoefficient: [1e-3, positive] }],
    ['lamb', { learningRate: [null, positive] }],
    // arXiv 2302.09178: λ_rel = 0.5, λ_abs = 0.01.
    [
      'clippy',
      {
        variableRelativeThreshold: [0.5, least],
        absoluteThreshold: [0.01, least],
        accumulatorRelativeThreshold: [0, least],
        accumulator: [null, 'standard, delayed, clipped'],
        epsilon: [null, least],
        learningRate: [null, positive],
      },
    ],
    // Adafactor: d = 1.
    ['rms', { threshold: [1, positive], form: ['adafactor', 'adafactor, stable-adamw'] }],
    // AutoClip: the tenth percentile.
    [
      'autoclip',
      {
        percentile: [10, 'a number from 0 to 100'],
        historyLength: [10_000, 'a whole number from 1 to 1000000'],
      },
    ],
    // zclip.py: alpha=0.97, z_thresh=2.5, warmup_steps=25, max_grad_norm=1.
    [
      'zclip',
      {
        zThreshold: [2.5, positive],
        alpha: [0.97, 'a number from 0 to 1'],
        warmupSteps: [25, 'a whole number from 1 to 1000000'],
        maxNorm: [1, positive],
        clipTo: ['adaptive', 'adaptive, mean'],
      },
    ],
    // AdaGC: λ_rel = 1.05, λ_abs = 1, β = 0.98, 100 steps of warm-up.
    [
      'adagc',
      {
        relativeThreshold: [1.05, positive],
        absoluteThreshold: [1, positive],
        beta: [0.98, 'a number from 0 to 1'],
        warmupSteps: [100, 'a whole number from 1 to 1000000'],
      },
    ],
    // SPAM: θ = 5000; its code clips after the first 20 steps, counted from 1.
    // OLMo-core: sigma_factor=6, rolling_interval_length=128.
    ['skip-step', { sigmas: [6, positive], window: [128, 'a whole number from 2 to 1000000'] }],
    [
      'spam',
      {
        threshold: [5000, positive],
        warmupSteps: [19, 'a whole number from 0 to 1000000'],
        resetEvery: [0, 'a whole number from 0 to 1000000000'],
        rampSteps: [150, 'a whole number from 0 to 1000000'],
      },
    ],
  ] as [string, object][])('of %s', (id, options) => {
    const rule = ruleOf(id);
    const common = id === 'none' ? {} : { embeddings: [true, 'true or false'] };
    expect(
      Object.fromEntries(optionsOf(rule).map((spec) => [spec.name, [spec.default, rangeOf(spec)]])),
    ).toEqual({
      ...options,
      ...common,
    });
  });
  it('none takes no option at all', () => {
    expect(() => parseRule('none:embeddings=false')).toThrow('no option');
  });
});

it.each([
  ['none', ['gradient', 'tensor', 'keeps directions']],
  ['value', ['gradient', 'entry']],
  ['global-norm', ['gradient', 'tensor', 'keeps directions']],
  ['layer-norm', ['gradient', 'tensor', 'keeps directions']],
  ['agc', ['gradient', 'unit']],
  ['lars', ['gradient', 'tensor', 'keeps directions', 'may amplify']],
  ['lamb', ['direction', 'tensor', 'keeps directions', 'may amplify']],
  ['clippy', ['update', 'entry', 'keeps directions']],
  ['rms', ['direction', 'tensor', 'keeps directions']],
  ['autoclip', ['gradient', 'tensor', 'keeps directions']],
  ['zclip', ['gradient', 'tensor', 'keeps directions']],
  ['adagc', ['gradient', 'tensor', 'keeps directions']],
  ['spam', ['gradient', 'entry']],
  ['skip-step', ['gradient', 'tensor', 'keeps directions']],
] as const)('%s: where it acts, what its index counts, what it may do: %j', (id, traits) => {
  const { stage, place, keepsDirection, mayAmplify } = RULES[id];
  expect([
    stage,
    place,
    ...(keepsDirection ? ['keeps directions'] : []),
    ...(mayAmplify ? ['may amplify'] : []),
  ]).toEqual(traits);
});

it('the Python package knows the same rules, their options and ranges, and what a bare number is', () => {
  const known: unknown = JSON.parse(
    readFileSync('python/src/clippy_diag/rule_options.json', 'utf8'),
    (_, value) => (value === 'Infinity' ? Number.POSITIVE_INFINITY : value),
  );
  const ours = Object.values(RULES).map(({ id, mainOption, options }) => [
    id,
    {
      main: mainOption ?? null,
      options: Object.fromEntries(options.map(({ name, meaning: _, ...range }) => [name, range])),
    },
  ]);
  expect(known).toEqual(Object.fromEntries(ours));
});

describe('rules as a configuration or a capture names them', () => {
  const choose = (rule: string, options = {}) => chooseRules([{ rule, options }]);
  it('none at all is no clipping', () => {
    expect(chooseRules([])).toEqual(NO_CLIPPING);
    expect(chooseRules([]).label).toBe('none');
  });
  it('are those of the text with the same values', () => {
    expect(choose('agc', { clipping: 0.1 })).toEqual(parseRule('agc:0.1')[0]);
    expect(choose('clippy', { preset: 'tfrs', epsilon: 0.5 })).toEqual(
      parseRule('clippy:tfrs,epsilon=0.5')[0],
    );
    expect(choose('clippy')).toEqual(parseRule('clippy')[0]);
  });
  it('have no preset that the rule has not, and say which it has', () => {
    expect(() => choose('clippy', { preset: 'papr' })).toThrow('paper, tfrs');
    expect(() => choose('agc', { preset: 'paper' })).toThrow('the rule has no presets');
  });
});

describe('labels are the shortest text', () => {
  it.each([
    ['agc', 'agc'],
    ['agc:clipping=0.5', 'agc:0.5'],
    ['agc:epsilon=0.5,clipping=0.25', 'agc:epsilon=0.5,clipping=0.25'],
    ['agc:clipping=0.25,epsilon=0.5', 'agc:0.25,epsilon=0.5'],
    ['clippy', 'clippy:paper'],
    ['clippy:tfrs', 'clippy:tfrs'],
    ['clippy:tfrs,absoluteThreshold=1e-7', 'clippy:tfrs'],
    ['clippy:tfrs,absoluteThreshold=1e-6,accumulator=delayed', 'clippy:tfrs,absoluteThreshold=0.000001'],
    ['global-norm:1 + rms', 'global-norm:1+rms'],
  ])('%s is %s', (text, label) => {
    expect(parseRule(text)[0]!.label).toBe(label);
    expect(parseRule(label)).toEqual(parseRule(text));
  });
});

describe('the line that sets a rule in a framework', () => {
  it.each([
    ['value:0.5', 'torch', 'torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)'],
    ['value:0.5', 'keras', 'clipvalue=0.5,  # in the optimizer'],
    ['value:0.5', 'tfjs', undefined],
    ['value:0.5', 'transformers', undefined],
    ['value:0.5', 'lightning', 'gradient_clip_val=0.5, gradient_clip_algorithm="value",  # in Trainer(...)'],
    ['global-norm:2', 'torch', 'torch.nn.utils.clip_grad_norm_(model.parameters(), 2)'],
    // python/tests/test_lightning.py pastes these into a module that steps by itself.
    [
      'value:0.5',
      'lightning-manual',
      'def on_before_optimizer_step(self, optimizer):  # of the LightningModule\n    self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="value")',
    ],
    [
      'global-norm:2',
      'lightning-manual',
      'def on_before_optimizer_step(self, optimizer):  # of the LightningModule\n    self.clip_gradients(optimizer, gradient_clip_val=2, gradient_clip_algorithm="norm")',
    ],
    ['global-norm:2', 'transformers', 'max_grad_norm=2,  # in TrainingArguments(...)'],
    ['global-norm:2', 'lightning', 'gradient_clip_val=2,  # in Trainer(...)'],
    [
      'global-norm:2',
      'accelerate',
      'if accelerator.sync_gradients: accelerator.clip_grad_norm_(model.parameters(), 2)',
    ],
    ['global-norm:2', 'keras-fit', 'global_clipnorm=2,  # in the optimizer'],
    ['global-norm:2', 'jax', 'optimizer = optax.chain(optax.clip_by_global_norm(2), optimizer)'],
    ['global-norm:2', 'tfjs', undefined],
    ['layer-norm:2', 'keras', 'clipnorm=2,  # in the optimizer'],
    ['agc:0.5', 'jax', 'optimizer = optax.chain(optax.adaptive_grad_clip(0.5, 0.001), optimizer)'],
  ] as const)('%s in %s', (text, framework, line) => {
    const { rule, options } = parseRule(text)[0]!.parts[0]!;
    expect(pasteLine(framework, rule.paste!(options as never), options) ?? undefined).toBe(line);
  });
});
