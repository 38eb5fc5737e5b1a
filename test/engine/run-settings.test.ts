/** The optimizer and the clipping of a run are read from whatever lies beside its log, and contradictions are said. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { clipLimitOf, clippingOf, optimizerNameOf } from '../../src/model/run-settings.ts';
import { settingsInCheckpoint } from '../../src/read/checkpoints/run-settings.ts';
import { projectRoot } from '../support/shared-data.ts';

const fixture = (path: string): string => join(projectRoot, 'fixtures', path);

/** A run that diverges at step 60, at a learning rate at which Clippy cannot act under Adagrad. */
const LOG = Array.from({ length: 100 }, (_, step) =>
  JSON.stringify({
    step,
    loss: (step < 60 ? 1 : 30) + 0.01 * (step % 3),
    grad_norm: step < 60 ? 0.5 : 20,
    learning_rate: 0.005,
  }),
).join('\n');

/** What `analyze` says of the run with files beside its log, given by text or by path of a fixture. */
async function judged(texts: Record<string, string>, copies: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-settings-'));
  try {
    writeFileSync(join(folder, 'train.jsonl'), LOG);
    for (const [name, text] of Object.entries(texts)) writeFileSync(join(folder, name), text);
    for (const [name, from] of Object.entries(copies)) {
      mkdirSync(join(folder, 'checkpoints'), { recursive: true });
      cpSync(fixture(from), join(folder, 'checkpoints', name), { recursive: true });
    }
    const report = await analyze([folder], { toolVersion: '0', now: () => new Date(0), budget: 60 });
    const run = report.runs.find(({ verdict }) => verdict.onsetStep === 60)!;
    const entry = (label: string) => run.replay.find((one) => (one.label ?? one.rule) === label);
    return {
      run,
      paper: entry('clippy:paper'),
      globalNorm: entry('global-norm:1'),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const IDLE = { verdict: 'not-prevented', confidence: 'exact' };

it('without settings nothing is concluded from them', async () => {
  const { paper, globalNorm } = await judged({});
  expect(paper).toMatchObject({ verdict: 'cannot-tell' });
  expect(paper!.why).toContain('no optimizer is named');
  expect(globalNorm).toMatchObject({ verdict: 'cannot-tell' });
});

it.each([
  ['config.yaml', 'optimizer:\n  _target_: torch.optim.Adagrad\ntrainer:\n  gradient_clip_val: 0.5\n'],
  ['training_args.json', JSON.stringify({ optim: 'adagrad', max_grad_norm: 0.5 })],
  ['hparams.json', JSON.stringify({ optimizer: { name: 'Adagrad', max_norm: 0.5 } })],
])('%s beside the log: its optimizer and its clipping', async (name, text) => {
  const { run, paper, globalNorm } = await judged({ [name]: text });
  expect(paper).toMatchObject(IDLE);
  expect(globalNorm).toMatchObject(IDLE);
  expect(globalNorm!.why).toBe('the run was clipped at a global norm of 0.5, and that did not hold it');
  // What was in force stands there itself, beside the rules that are always asked.
  expect(run.replay.find(({ label }) => label === 'global-norm:0.5')).toMatchObject(IDLE);
  // A cause is no remedy's: what was on is not advised.
  expect(run.notRun.map(({ id }) => id)).not.toContain('clipping-saturation');
});

it('clipping of each variable that was in force stands there too, and without it does not', async () => {
  const labels = ({ replay }: { readonly replay: readonly { readonly label?: string | undefined }[] }) =>
    replay.map(({ label }) => label);
  const { run } = await judged({ 'config.yaml': 'optimizer: adagrad\nclipnorm: 0.5\n' });
  expect(run.replay.find(({ label }) => label === 'layer-norm:0.5')).toMatchObject({
    ...IDLE,
    why: 'the run was clipped at a norm of 0.5 for each variable, and that did not hold it',
  });
  expect(labels((await judged({})).run)).not.toContain('layer-norm:0.5');
});

it('a checkpoint beside the log names the optimizer that the log does not', async () => {
  const torch = await judged({}, { 'step-50.pt': 'checkpoints/pytorch/adagrad-zip.pt' });
  expect(torch.paper).toMatchObject(IDLE);
  expect(torch.run.hyperparameters).toMatchObject({ 'checkpoint.optimizer': 'adagrad' });
  const keras = await judged({}, { 'model.keras': 'checkpoints/keras3/adam.keras' });
  expect(keras.paper).toMatchObject({ verdict: 'cannot-tell' });
  expect(keras.paper!.why).toContain('the optimizer is adam');
});

it('a config and a checkpoint that contradict each other: said, and nothing is concluded', async () => {
  const { run, paper } = await judged(
    { 'config.yaml': 'optimizer: adamw\n' },
    { 'step-50.pt': 'checkpoints/pytorch/adagrad-zip.pt' },
  );
  expect(paper).toMatchObject({ verdict: 'cannot-tell' });
  expect(run.notes).toContain('the optimizer is named adamw and adagrad: what depends on it is left out');
  // The same by another name is no contradiction.
  const same = await judged(
    { 'config.yaml': 'optim: torch.optim.Adagrad\n' },
    { 'step-50.pt': 'checkpoints/pytorch/adagrad-zip.pt' },
  );
  expect(same.paper).toMatchObject(IDLE);
  expect(same.run.notes.join()).not.toContain('is named');
});

it('a config that contradicts the capture: the capture is taken, and it is said', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-settings-'));
  try {
    cpSync(fixture('incident/capture'), join(folder, 'capture'), { recursive: true });
    cpSync(fixture('incident/log.jsonl'), join(folder, 'log.jsonl'));
    const notes = async (config: string) => {
      writeFileSync(join(folder, 'config.yaml'), config);
      return (await analyze([folder], { toolVersion: '0', now: () => new Date(0), budget: 0 })).runs[0]!
        .notes;
    };
    const apart = (await notes('optimizer: adamw\nmax_grad_norm: 1\n')).join('\n');
    expect(apart).toMatch(
      /name the optimizer adamw, and adagrad was recorded: replays, .* take what the capture/,
    );
    expect(apart).toMatch(/a limit of the gradient norm of 1, and no such clipping was recorded/);
    expect((await notes('optimizer: adagrad\n')).join('\n')).not.toMatch(/settings next to the log/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

it('limits of each variable and of entries are not limits of the global norm', () => {
  const of = (entries: Record<string, string | number>) => new Map(Object.entries(entries));
  expect(clippingOf(of({ 'optimizer.clipnorm': 1 }))).toEqual([{ of: 'each', limit: 1 }]);
  expect(clippingOf(of({ clipvalue: 0.5 }))).toEqual([{ of: 'entries', limit: 0.5 }]);
  expect(clippingOf(of({ gradient_clip_val: 2, gradient_clip_algorithm: 'value' }))).toEqual([
    { of: 'entries', limit: 2 },
  ]);
  expect(clipLimitOf(of({ gradient_clip_val: 2, gradient_clip_algorithm: 'norm' }))).toBe(2);
  expect(clipLimitOf(of({ clipnorm: 1 }))).toBeUndefined();
  // Two limits: of which part each is nobody knows.
  expect(clipLimitOf(of({ 'actor.max_grad_norm': 1, 'critic.max_grad_norm': 5 }))).toBeUndefined();
  expect(optimizerNameOf(of({ 'gen.optimizer': 'adam', 'disc.optimizer': 'sgd' }))).toBeUndefined();
  expect(optimizerNameOf(of({ optimizer: 'adam or adamw', optim: 'adamw_torch' }))).toBe('adam or adamw');
});

it('clipping of each variable is no limit of all of them', async () => {
  const { globalNorm } = await judged({ 'config.json': JSON.stringify({ clipnorm: 0.1 }) });
  expect(globalNorm).toMatchObject({ verdict: 'cannot-tell' });
});

it('the optimizer and clipping of a checkpoint, by what each framework keeps', () => {
  const keras = {
    optimizer: 'Adam',
    'optimizer_config.global_clipnorm': 2,
    'optimizer_config.clipvalue': 0.5,
    'optimizer_config.clipnorm': null,
  };
  const of = (framework: 'keras' | 'pytorch', metadata: Record<string, string | number | boolean | null>) =>
    Object.fromEntries(settingsInCheckpoint({ framework, metadata: new Map(Object.entries(metadata)) }));
  expect(of('keras', keras)).toEqual({ optimizer: 'adam', global_clipnorm: 2, clipvalue: 0.5 });
  const group = (keys: Record<string, string | number | boolean>) =>
    Object.fromEntries(
      Object.entries(keys).map(([key, value]) => [`optimizer.param_groups.0.${key}`, value]),
    );
  expect(of('pytorch', group({ lr: 1, dampening: 0 }))).toEqual({ optimizer: 'sgd' });
  expect(of('pytorch', group({ 'betas.0': 0.9, amsgrad: false }))).toEqual({ optimizer: 'adam or adamw' });
  expect(of('pytorch', group({ 'betas.0': 0.9, amsgrad: false, decoupled_weight_decay: true }))).toEqual({
    optimizer: 'adamw',
  });
  expect(of('pytorch', group({ lr: 1 }))).toEqual({});
});
