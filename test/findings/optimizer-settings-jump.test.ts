/** What of an optimizer's settings is a jump, and what follows a schedule or is no setting. */
import { describe, expect, it } from 'vitest';
import { optimizerSettingsJump } from '../../src/judge/findings/optimizer-settings-jump.ts';
import { OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { HEALTHY } from './cases.ts';

type Settings = Readonly<Record<string, number | boolean | string | null>>;

const found = (...settings: readonly Settings[]) =>
  optimizerSettingsJump.find(
    settings.map((one, i) => ({
      ...HEALTHY[0]!,
      step: 100 * (i + 1),
      metadata: new Map(Object.entries(one)),
    })),
    () => 5,
  );
const group = (k: number, options: Settings, before = 'optimizer.'): Settings =>
  Object.fromEntries(Object.entries(options).map(([name, v]) => [`${before}param_groups.${k}.${name}`, v]));

describe('a jump', () => {
  it.each<[string, Settings, Settings, string]>([
    ['weight decay', { weight_decay: 0.01 }, { weight_decay: 0.1 }, 'weight_decay went from 0.01 to 0.1'],
    ['begun', { weight_decay: 0 }, { weight_decay: 0.1 }, 'weight_decay went from 0 to 0.1'],
    ['a sign', { weight_decay: 0.01 }, { weight_decay: -0.01 }, 'weight_decay went from 0.01 to -0.01'],
    ['ε', { eps: 1e-8 }, { eps: 1e-3 }, 'eps went from 1e-8 to 0.001'],
    ['β2', { 'betas.1': 0.999 }, { 'betas.1': 0.99 }, 'betas.1 went from 0.999 to 0.99'],
    ['α of RMSprop', { alpha: 0.99 }, { alpha: 0.9 }, 'alpha went from 0.99 to 0.9'],
    ['a flag', { nesterov: false }, { nesterov: true }, 'nesterov went from 0 to 1'],
  ])('%s', (_, before, now, words) => {
    const [finding, ...more] = found(group(0, before), group(0, before), group(0, now), group(0, now));
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ message: `${words} between step 200 and step 300`, steps: [200, 300] });
  });

  it('of several is told with its group, the largest first', () => {
    const both = (decay: number, eps: number) => ({
      ...group(0, { weight_decay: 0, eps }),
      ...group(1, { weight_decay: decay, eps: 1e-8 }),
    });
    expect(found(both(0.01, 1e-8), both(0.1, 1e-3)).map(({ message }) => message)).toEqual([
      'eps of group 0 went from 1e-8 to 0.001, weight_decay of group 1 went from 0.01 to 0.1 between step 100 and step 200',
    ]);
  });

  it('in a config of Keras', () => {
    const config = (clipnorm: number) => ({
      'optimizer_config.clipnorm': clipnorm,
      'optimizer_config.beta_1': 0.9,
    });
    expect(found(config(1), config(100))[0]!.message).toContain('clipnorm went from 1 to 100');
  });
});

describe('no jump', () => {
  it.each<[string, Settings, Settings]>([
    ['a learning rate', { lr: 0.1 }, { lr: 1e-5 }],
    ['momentum of one cycle', { momentum: 0.95 }, { momentum: 0.85 }],
    ['a schedule of weight decay', { weight_decay: 0.04 }, { weight_decay: 0.1 }],
    ['what an optimizer counts', { k: 1, weight_sum: 0.1, d: 1e-6 }, { k: 500, weight_sum: 40, d: 1e-3 }],
    ['parameters of a group', { 'params.0': 0, 'params.1': 1 }, { 'params.0': 40, 'params.1': 1000 }],
    ['how it is computed', { foreach: null, fused: null }, { foreach: true, fused: true }],
    ['one that the checkpoint before lacks', { eps: 1e-8 }, { weight_decay: 0.1 }],
    ['a text', { weight_decay: '0.01' }, { weight_decay: '100' }],
  ])('%s', (_, before, now) => {
    expect(found(group(0, before), group(0, now))).toEqual([]);
  });
});

it('every option of our optimizers is a setting, by PyTorch’s name and by Keras’s', () => {
  const names = (form: object): string[] => Object.keys(form);
  const keys = Object.values(OPTIMIZERS).flatMap(({ torch, keras }) => [
    ...names(torch.options).map((name) => `param_groups.0.${name}`),
    ...names(('config' in keras ? keras.config?.names : undefined) ?? {}).map(
      (name) => `optimizer_config.${name}`,
    ),
  ]);
  expect(keys).toContain('optimizer_config.rho');
  for (const key of keys) expect(found({ [key]: 0 }, { [key]: 0.99 }), key).toHaveLength(1);
});
