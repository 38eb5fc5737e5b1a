import { describe, expect, it } from 'vitest';
import type { Role } from '../../src/model/run.ts';
import { assignRoles } from '../../src/read/logs/metric-roles.ts';

/** The roles of names, a task behind a colon. */
const rolesOf = (names: readonly string[], forced: [string, Role][] = []): Record<string, string> =>
  Object.fromEntries(
    assignRoles(
      names.map((name) => ({ name, value: Float64Array.of(1, 2, 3) })),
      new Map(forced),
    ).roles.map(({ role, task }, k) => [names[k], task === undefined ? role : `${role}:${task}`]),
  );

describe('roles', () => {
  it.each([
    ['loss', 'loss'],
    ['Loss', 'loss'],
    ['train/loss', 'loss'],
    ['train_loss', 'loss'],
    ['training_loss', 'loss'],
    ['train.loss', 'loss'],
    ['loss/train', 'loss'],
    ['total_loss', 'loss'],
    ['lm loss', 'loss'],
    ['reduced_train_loss', 'loss'],
    ['nll', 'loss'],
    ['cross_entropy', 'loss'],
    ['train/ce', 'loss'],
    ['logloss', 'loss'],
    ['trl', 'loss'],
    ['Perplexity', 'loss'],
    ['mlm_loss', 'loss'],
    ['closs', 'loss'],
    ['MultiClass', 'loss'],
    ['训练损失', 'loss'],
    ['验证损失', 'eval_loss'],
    ['学习率', 'learning_rate'],
    ['検証損失', 'eval_loss'],
    ['손실', 'loss'],
    ['mtp_loss_scaling_factor', 'other'],
    ['lr_warmup_steps', 'other'],
    ['min_lr_ratio', 'other'],
    ['lr', 'learning_rate'],
    ['val_loss', 'eval_loss'],
    ['eval/loss', 'eval_loss'],
    ['validation/loss', 'eval_loss'],
    ['loss/val', 'eval_loss'],
    ['valid loss', 'eval_loss'],
    ['tel', 'eval_loss'],
    ['epoch_val_loss', 'eval_loss'],
    ['test_acc', 'metric'],
    ['val_scores', 'metric'],
    ['eval_top1', 'metric'],
    ['validation/num_examples', 'other'],
    ['eval_runtime', 'other'],
    ['lr', 'learning_rate'],
    ['lr-SGD', 'learning_rate'],
    ['train/lr', 'learning_rate'],
    ['learning_rate', 'learning_rate'],
    ['learning rate', 'learning_rate'],
    ['train_lr', 'learning_rate'],
    ['grad_norm', 'grad_norm'],
    ['gradient norm', 'grad_norm'],
    ['train/grad_norm', 'grad_norm'],
    ['gnorm', 'grad_norm'],
    ['norm', 'grad_norm'],
    ['l2_norm/grad/global', 'grad_norm'],
    ['total_grad_norm', 'grad_norm'],
    ['grad_2.0_norm_total', 'grad_norm'],
    ['param_norm', 'param_norm'],
    ['update_norm', 'update_norm'],
    ['clip', 'clip'],
    ['grad_clip_fraction', 'clip'],
    ['auc', 'metric'],
    ['train_accuracy', 'metric'],
    ['l0_auROC', 'metric'],
    ['rmse', 'loss'],
    ['val_rmse', 'eval_loss'],
    ["valid_0's l2", 'eval_loss'],
    ["valid's binary_logloss", 'eval_loss'],
    ["training's l2", 'loss'],
    ['error', 'metric'],
    ['train-error', 'loss'],
    ['trainLoss', 'loss'],
    ['valLoss', 'eval_loss'],
    ['mIoU', 'metric'],
    ['loss_function', 'other'],
    ['value_function loss', 'loss'],
    ['loss_scale', 'other'],
    ['best_val_loss', 'other'],
    ['Loss/G/loss.num', 'other'],
    ['loss_std', 'other'],
    ['best loss', 'other'],
    ['prev_loss', 'other'],
    ['heat loss', 'other'],
    ['packet loss', 'other'],
    ['train CrossEntropyLoss', 'loss'],
    ['loss scale', 'other'],
    ['epoch', 'other'],
    ['slr', 'other'],
    ['__proto__', 'other'],
    ['constructor', 'other'],
  ])('%s alone is %s', (name, role) => {
    expect(rolesOf([name])[name]).toBe(role);
  });
  it('tasks stand beside a total, with their evaluation and their metrics', () => {
    expect(
      rolesOf(['loss', 'output_1_loss', 'output_2_loss', 'val_loss', 'val_output_1_loss', 'output_1_acc']),
    ).toEqual({
      loss: 'loss',
      output_1_loss: 'task_loss:output_1',
      output_2_loss: 'task_loss:output_2',
      val_loss: 'eval_loss',
      val_output_1_loss: 'eval_loss:output_1',
      output_1_acc: 'metric:output_1',
    });
    expect(rolesOf(['train/loss', 'train/ctr_loss', 'train/cvr_loss'])).toMatchObject({
      'train/ctr_loss': 'task_loss:ctr',
      'train/cvr_loss': 'task_loss:cvr',
    });
    expect(rolesOf(['loss', 'task/ctr/loss', 'task/ctr/auc'])).toMatchObject({
      'task/ctr/loss': 'task_loss:ctr',
      'task/ctr/auc': 'metric:ctr',
    });
    expect(rolesOf(['loss', 'loss_ctr', 'loss_cvr'])).toMatchObject({ loss_ctr: 'task_loss:ctr' });
    expect(rolesOf(['Loss/classification_loss', 'Loss/localization_loss', 'Loss/total_loss'])).toEqual({
      'Loss/classification_loss': 'task_loss:classification',
      'Loss/localization_loss': 'task_loss:localization',
      'Loss/total_loss': 'loss',
    });
  });
  it('tasks may be named in words, or as one word with the loss', () => {
    expect(rolesOf(['task ctr loss', 'task cvr loss'])).toEqual({
      'task ctr loss': 'task_loss:ctr',
      'task cvr loss': 'task_loss:cvr',
    });
    expect(rolesOf(['ObjLoss', 'BoxCenterLoss', 'LR'])).toMatchObject({
      ObjLoss: 'task_loss:Obj',
      BoxCenterLoss: 'task_loss:BoxCenter',
    });
    expect(rolesOf(['LOSS TOK2VEC', 'LOSS NER'])).toMatchObject({ 'LOSS NER': 'task_loss:NER' });
    expect(rolesOf(['Loss', 'Box Loss', 'Cls Loss'])).toMatchObject({
      Loss: 'loss',
      'Box Loss': 'task_loss:Box',
    });
    // How a loss was measured is no task, nor are players of a GAN and parts of a policy.
    for (const names of [
      ['current loss', 'average loss'],
      ['Train Loss', 'Smoothed Loss'],
      ['Generator Loss', 'Discriminator Loss', 'domain_classifier_loss'],
      ['LossV', 'LossQ'],
      ['Mean value_function loss', 'Mean entropy loss'],
    ])
      expect(Object.values(rolesOf(names)), `${names}`).toContain('loss');
  });
  it('beside tasks that are logged more often a cost is not their total', () => {
    const of = (points: number) =>
      assignRoles(
        [
          { name: 'ObjLoss', value: new Float64Array(64).fill(1) },
          { name: 'ClassLoss', value: new Float64Array(64).fill(1) },
          { name: 'Training cost', value: new Float64Array(points).fill(300) },
        ],
        new Map(),
      ).roles.map(({ role }) => role);
    expect(of(8)).toEqual(['task_loss', 'task_loss', 'other']);
    expect(of(64)).toEqual(['task_loss', 'task_loss', 'loss']);
  });
  it('seconds that something cost are no loss', () => {
    for (const name of ['Time-cost', 'Time cost', 'time_cost', 'reader_cost'])
      expect(rolesOf([name])[name]).toBe('other');
    expect(rolesOf(['Time-cost', 'ppl'])).toEqual({ 'Time-cost': 'other', ppl: 'loss' });
    expect(rolesOf(['train_cost']).train_cost).toBe('loss');
  });
  it('a total of a group is the loss where there is one group, and a task of each where there are several', () => {
    const of = (agent: string): string[] => [
      `info/learner/${agent}/learner_stats/total_loss`,
      `info/learner/${agent}/learner_stats/vf_loss`,
    ];
    expect(Object.values(rolesOf(of('a'))).map((role) => role.split(':')[0])).toEqual(['loss', 'other']);
    expect(
      new Set(Object.values(rolesOf([...of('a'), ...of('b')])).map((role) => role.split(':')[0])),
    ).toEqual(new Set(['task_loss']));
    expect(rolesOf(['loss', ...of('a')]).loss).toBe('loss');
  });

  it('one other loss beside the total is a candidate that a note names', () => {
    const { roles, notes } = assignRoles(
      ['loss', 'train/ctc_loss', 'validation/ctc_loss'].map((name) => ({
        name,
        value: Float64Array.of(1, 2),
      })),
      new Map(),
    );
    expect(roles.map((one) => one.role)).toEqual(['loss', 'other', 'eval_loss']);
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain('train/ctc_loss');
  });
  it('--map wins, and takes the place of the best name', () => {
    expect(rolesOf(['loss', 'objective'], [['objective', 'loss']])).toEqual({
      loss: 'other',
      objective: 'loss',
    });
  });
});

describe('columns that are a loss though their role is another', () => {
  const lossLike = (names: readonly string[], forced: [string, Role][] = []): Record<string, string> =>
    Object.fromEntries(
      assignRoles(
        names.map((name) => ({ name, value: Float64Array.of(1, 2, 3) })),
        new Map(forced),
      ).roles.flatMap((one, k) =>
        one.lossLike === undefined ? [] : [[names[k], `${one.role} ${one.lossLike}`]],
      ),
    );

  it('are the same loss by name, its parts, and evaluations of the training data', () => {
    expect(
      lossLike(['loss', 'train/loss', 'aux_loss', 'ppl', 'loss_scale', 'val_loss', 'eval/train_loss', 'lr']),
    ).toEqual({ 'train/loss': 'other same', aux_loss: 'other part', 'eval/train_loss': 'eval_loss same' });
  });

  it('are none where a user named the loss', () => {
    expect(lossLike(['loss', 'train/loss'], [['train/loss', 'loss']])).toEqual({});
  });
});

describe('objectives of reinforcement learning', () => {
  const signed = [0.01, -0.02, 0.005];
  const given = (columns: Readonly<Record<string, readonly number[]>>, forced: [string, Role][] = []) =>
    assignRoles(
      Object.entries(columns).map(([name, value]) => ({ name, value: Float64Array.from(value) })),
      new Map(forced),
    );

  it('are no tasks: their level tells nothing', () => {
    const { roles, notes } = given({
      'train/policy_gradient_loss': signed,
      'train/entropy_loss': [-1.4, -0.8, -0.3],
      'train/value_loss': [50, 20, 5],
    });
    expect(roles).toEqual([
      { role: 'other', lossLike: 'objective' },
      { role: 'other', lossLike: 'objective' },
      { role: 'task_loss', task: 'value' },
    ]);
    expect(notes.join()).toMatch(/train\/policy_gradient_loss, train\/entropy_loss: objectives/);
  });

  it('are tasks where they are losses: a policy trained by cross-entropy, and what a user names so', () => {
    const towers = { policy_loss: [2.1, 1.7, 1.5], value_loss: [0.9, 0.8, 0.7] };
    expect(given(towers).roles.map(({ role }) => role)).toEqual(['task_loss', 'task_loss']);
    expect(given({ cross_entropy: [-0.1, 1, 2] }).roles).toEqual([{ role: 'loss' }]);
    expect(given({ pg_loss: signed }, [['pg_loss', 'loss']]).roles).toEqual([{ role: 'loss' }]);
  });
});

describe('a bound on the evidence', () => {
  it('is an objective where it begins below zero, and a loss where its negative is printed', () => {
    const rolesBy = (name: string, value: readonly number[]) =>
      assignRoles([{ name, value: Float64Array.from(value) }], new Map()).roles;
    expect(rolesBy('train elbo', [-550, -200, -100])).toEqual([{ role: 'other', lossLike: 'objective' }]);
    expect(rolesBy('train elbo', [550, 200, 100])).toEqual([{ role: 'loss' }]);
    // A density may be above one: a loss may fall below zero.
    expect(rolesBy('elbo', [5, -2, -3])).toEqual([{ role: 'loss' }]);
    expect(rolesBy('elbo_loss', [-1, -2, -3])).toEqual([{ role: 'loss' }]);
  });
});

describe('a penalty beside a loss', () => {
  it('is no loss of the run where another is, and is where it stands alone', () => {
    expect(rolesOf(['loss/gp_losses', 'loss/dis_loss'])).toEqual({
      'loss/gp_losses': 'other',
      'loss/dis_loss': 'loss',
    });
    expect(rolesOf(['kl_loss'])).toEqual({ kl_loss: 'loss' });
  });
});

describe('a group of losses', () => {
  it('holds what is none: scores and signs beside a loss, but not a part of it without the word', () => {
    expect(
      rolesOf([
        'Loss/G/loss',
        'Loss/scores/fake',
        'Loss/signs/real',
        'Loss/logits',
        'Loss/score_loss',
        'Loss/box',
      ]),
    ).toEqual({
      'Loss/G/loss': 'task_loss:G',
      'Loss/scores/fake': 'other',
      'Loss/signs/real': 'other',
      'Loss/logits': 'other',
      'Loss/score_loss': 'task_loss:score',
      'Loss/box': 'task_loss:box',
    });
  });
});

describe('columns that are called by their split alone', () => {
  const falling = [0.71, 0.62, 0.55, 0.56, 0.5, 0.47, 0.48, 0.44, 0.43, 0.41];
  const over = [0.73, 0.65, 0.6, 0.58, 0.59, 0.57, 0.58, 0.6, 0.61, 0.63];
  const rolesIn = (columns: Record<string, readonly number[]>): [string, string][] =>
    assignRoles(
      Object.entries(columns).map(([name, values]) => ({ name, value: Float64Array.from(values) })),
      new Map(),
    ).roles.map(({ role }, k) => [Object.keys(columns)[k]!, role]);

  it('are a loss by guess where they fall and nothing else is one', () => {
    expect(rolesIn({ train: falling, valid: over, auc: falling.map((value) => 1 - value) })).toStrictEqual([
      ['train', 'loss'],
      ['valid', 'eval_loss'],
      ['auc', 'metric'],
    ]);
    const { guess } = assignRoles(
      [
        { name: 'train', value: Float64Array.from(falling) },
        { name: 'test', value: Float64Array.from(over) },
      ],
      new Map(),
    );
    expect(guess).toBe(
      'read by guess: train, test are read as a loss, because they fall and nothing else is one; --map loss=NAME chooses another',
    );
  });

  it.each([
    ['an accuracy rises', { train: falling.map((x) => 1 - x), valid: over.map((x) => 1 - x) }],
    ['there is a loss', { train: falling, valid: over, loss: falling }],
    ['there is a loss of an evaluation', { train: falling, valid: over, val_loss: falling }],
    ['there is an error', { train: falling, valid: over, rmse: falling }],
    ['nothing was held out', { train: falling, training: falling }],
    ['they count', { train: [9, 8, 7, 6, 5, 4, 3, 2], valid: [9, 8, 7, 6, 5, 4, 3, 2] }],
  ])('are none where %s', (_, columns) => {
    const roles = rolesIn(columns as unknown as Record<string, readonly number[]>);
    expect(roles.filter(([name, role]) => /^(train|valid)/.test(name) && role !== 'other')).toStrictEqual([]);
  });
});
