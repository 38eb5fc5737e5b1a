/**
 * Weight decay that is too strong for the learning rate, and its controls: decay just below the limit, which is well; optimizers
 * that divide the decay too; and runs with strong decay that something else breaks.
 */
import { describe, expect, it } from 'vitest';
import type { Options } from '../../src/model/options.ts';
import { analyzed, CLEAN, calm, type Made, SURGE } from './made-run.ts';

const RATE = 0.01;
/** A net that has learnt nothing, under a decay of which the product with the rate is given. */
const under = (name: string, product: number, options: Options = {}): Pick<Made, 'optimizer' | 'scale'> => ({
  optimizer: { name, learningRate: RATE, options: { ...options, weightDecay: product / RATE } },
  scale: 0.1,
});
const MOMENTUM = { momentum: 0.9 };

describe('times the learning rate', () => {
  it.each<[string, number, Options]>([
    ['adamw', 1.9, {}],
    ['sgd', 1.9, {}],
    ['sgd', 3.6, MOMENTUM],
    // It divides the decay as it does the gradient.
    ['adam', 2.1, {}],
  ])('%s, %d, %o: nothing happens, and nothing is said', async (name, product, options) => {
    const run = await analyzed({ batches: calm, ...under(name, product, options) });
    expect(run.verdict.onsetStep).toBeNull();
    expect(run.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none' });
  });
  it.each<[string, number, Options]>([
    ['adamw', 2.1, {}],
    ['sgd', 2.1, {}],
  ])('%s, %d, %o: the weight decay, shown; with less of it the run holds', async (name, product, options) => {
    const run = await analyzed({ batches: calm, ...under(name, product, options) });
    expect(run.cause).toMatchObject({ trigger: 'weight-decay', confidence: 'shown' });
    expect(run.cause!.evidence.find(({ id }) => id === 'weight-decay')).toMatchObject({
      value: expect.closeTo(product, 6),
      at: { step: 0 },
    });
    expect(run.remedies![0]).toMatchObject({
      action: 'lower-weight-decay',
      weightDecayFactor: 0.01,
      holds: true,
      paste: 'for group in optimizer.param_groups: group["weight_decay"] *= 0.01',
    });
    expect(run.replay.find(({ arm }) => arm?.kind === 'weight-decay')).toMatchObject({
      verdict: 'prevented',
      arm: { factor: 0.01 },
    });
  });
  it('sgd with momentum, 4, where 3.8 is the limit: likely, for it is lost before a level is known', async () => {
    const run = await analyzed({ batches: calm, ...under('sgd', 4, MOMENTUM) });
    expect(run.cause).toMatchObject({ trigger: 'weight-decay', confidence: 'likely' });
    expect(run.cause!.statement).toMatch(/is 4 from step 0 on, and above 3\.8 the decay alone/);
  });
});

it('a trained net that goes on with too much of it: shown, for with less of it the run holds', async () => {
  const run = await analyzed({ batches: calm, ...under('adamw', 2.1), scale: 1 });
  expect(run.cause).toMatchObject({ trigger: 'weight-decay', confidence: 'shown' });
  expect(run.cause!.statement).toMatch(/with less weight decay the run stays well/);
  expect(run.remedies![0]).toMatchObject({ action: 'lower-weight-decay', tried: 'closed-loop' });
});

it('without a model: likely, and nothing is said to have been tried', async () => {
  const run = await analyzed({ batches: calm, ...under('adamw', 2.1), withoutModel: true });
  expect(run.cause).toMatchObject({ trigger: 'weight-decay', confidence: 'likely' });
  expect(run.remedies).toMatchObject([
    { action: 'lower-weight-decay', tried: null, holds: null, weightDecayFactor: 0.01 },
  ]);
});

describe('a run with strong decay that something else breaks', () => {
  it('bad batches: the data', async () => {
    const batches = [...CLEAN.slice(0, 24), ...SURGE, ...CLEAN.slice(24), ...CLEAN.slice(0, 14)];
    const run = await analyzed({ batches, ...under('adamw', 1.9) });
    expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown', alsoTriggers: [] });
  });
  it('a rate that rises to a product of 1.9: the learning rate, and no decay', async () => {
    const rate = (step: number): number => (step >= 24 ? 100 : 1);
    const run = await analyzed({ batches: calm, rate, ...under('adamw', 0.019) });
    expect(run.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown', alsoTriggers: [] });
  });
  it('a rate that rises to a product of 2.4: the learning rate, which is what changed, and the decay too', async () => {
    const rate = (step: number): number => (step >= 24 ? 4 : 1);
    const run = await analyzed({ batches: calm, rate, ...under('adamw', 0.6) });
    expect(run.cause).toMatchObject({
      trigger: 'learning-rate',
      confidence: 'shown',
      alsoTriggers: ['weight-decay'],
    });
  });
});
