/** Logs of reinforcement learning: losses of both signs, rewards of which more is better, rows before anything was trained. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Finding } from '../../src/model/finding.ts';
import { finishLog, readRawStream } from '../../src/read/logs/read-log.ts';
import { projectRoot } from '../support/shared-data.ts';

const fixture = (name: string): string =>
  readFileSync(join(projectRoot, 'fixtures/conventions', name, 'progress.csv'), 'utf8');

async function judged(text: string) {
  const once = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from(text);
  };
  const { runs } = await finishLog(await readRawStream(once(), 'progress.csv'), { sidecars: false });
  const run = runs[0]!;
  const found = judgeRun(run);
  const findings = Object.values(DETECTORS).flatMap((detector: Detector): readonly Finding[] => {
    const outcome = detector.detect(run, contextFor(detector, found));
    return outcome.kind === 'fail' ? outcome.findings : [];
  });
  return { run, verdict: found.verdict, findings };
}

/** The table with the cells of a column changed in the rows [from, to) of the data. */
function changed(
  text: string,
  column: string,
  from: number,
  to: number,
  cell: (old: string) => string,
): string {
  const [header = '', ...rows] = text.trimEnd().split(/\r?\n/);
  const at = header.split(',').indexOf(column);
  return [
    header,
    ...rows.map((row, k) =>
      k < from || k >= to
        ? row
        : row
            .split(',')
            .with(at, cell(row.split(',')[at]!))
            .join(','),
    ),
  ].join('\n');
}

it('a reward that never moves does not show that a run is well, and one that moves leads', async () => {
  const rows = (cells: (k: number) => string): string =>
    Array.from({ length: 60 }, (_, k) => `${k},${cells(k)}`).join('\n');
  const { verdict } = await judged(`step,episode_reward_mean\n${rows(() => '0.0')}`);
  expect(verdict).toMatchObject({ class: 'inconclusive', series: null });
  expect(verdict.why).toContain('is 0 at every point');
  const both = await judged(`step,episode_reward_mean,reward/player_0\n${rows((k) => `0.0,${(k * 7) % 5}`)}`);
  expect(both.verdict).toMatchObject({ class: 'healthy', series: 'reward/player_0' });
});

it('a PPO that learns has nothing but notes: its first row comes before the first update', async () => {
  const { run, verdict, findings } = await judged(fixture('ppo-healthy'));
  expect(verdict).toMatchObject({ class: 'healthy', series: 'train/loss' });
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
  expect(run.stepUnit).toBe('step');
  const loss = run.series.find(({ role }) => role === 'loss')!;
  expect([loss.step.at(0), loss.missing, loss.gaps]).toEqual([1024, 1, undefined]);
  expect(run.series.find(({ name }) => name === 'rollout/ep_rew_mean')!.role).toBe('metric');
  expect(
    run.series.find(({ name }) => name === 'train/policy_gradient_loss')!.value.some((one) => one < 0),
  ).toBe(true);
});

it('one whose learning rate rises 10,000-fold is lost where its reward is', async () => {
  const { verdict, findings } = await judged(fixture('ppo-lost'));
  // The loss leaves its band in the round of the rise, and the reward falls to chance in the next.
  expect(verdict).toMatchObject({
    class: 'full-divergence',
    series: 'rollout/ep_rew_mean',
    onsetStep: 10752,
    lastGoodStep: 10240,
    recoveredStep: null,
  });
  expect(findings.map(({ id }) => id)).toContain('learning-rate-anomaly');
  expect(findings.find(({ id }) => id === 'reward-collapse')).toMatchObject({
    severity: 'error',
    steps: [11264, 20480],
  });
});

it('a value loss that rises with the returns it predicts is no incident; where the reward does not rise it is', async () => {
  const text = fixture('ppo-healthy');
  const growing = changed(text, 'train/value_loss', 20, 40, (old) => String(20 * Number(old)));
  expect((await judged(growing)).verdict.class).toBe('healthy');
  const flat = changed(growing, 'rollout/ep_rew_mean', 0, 40, () => '20');
  expect((await judged(flat)).verdict).toMatchObject({
    class: 'full-divergence',
    series: 'train/value_loss',
  });
  const nan = changed(text, 'train/value_loss', 30, 40, () => 'nan');
  expect((await judged(nan)).verdict.class).toBe('non-finite');
});

it('a total that is mostly its value loss rises with it and the rewards; one that rises alone is judged', async () => {
  const results = (vf: (k: number) => number, rest: (k: number) => number, reward: (k: number) => number) =>
    judged(
      Array.from({ length: 60 }, (_, k) =>
        JSON.stringify({
          episode_reward_mean: reward(k),
          info: {
            learner: {
              default_policy: {
                learner_stats: {
                  total_loss: vf(k) + rest(k),
                  vf_loss: vf(k),
                  policy_loss: -0.03 - 0.001 * (k % 3),
                },
              },
            },
          },
          training_iteration: k + 1,
        }),
      )
        .join('\n')
        .replaceAll('null', 'NaN'),
    );
  const growing = (k: number): number => (9 + 600 * (1 - Math.exp(-k / 6))) * (1 + 0.1 * Math.sin(7 * k));
  const learns = (k: number): number => 20 + 180 * (1 - Math.exp(-k / 12));
  const small = (): number => -0.03;
  const healthy = await results(growing, small, learns);
  expect(healthy.verdict).toMatchObject({ class: 'healthy', series: expect.stringMatching(/\.total_loss$/) });
  expect(healthy.findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
  const rest = await results(growing, (k) => (k < 40 ? -0.03 : 20_000), learns);
  // The total grows from its first steps on, with the value loss; that it is lost is seen, and not that only the jump is.
  expect(rest.verdict).toMatchObject({ class: 'full-divergence' });
  expect(rest.verdict.onsetStep).toBeLessThanOrEqual(41);
  const nothingLearnt = await results(growing, small, (k) => 20 + (k % 2));
  expect(nothingLearnt.verdict.class).toBe('full-divergence');
  const collapsed = await results(growing, small, (k) => (k < 40 ? learns(k) : 10));
  expect(collapsed.verdict).toMatchObject({ class: 'full-divergence' });
  const nan = await results((k) => (k < 40 ? growing(k) : Number.NaN), small, learns);
  expect(nan.verdict).toMatchObject({ class: 'non-finite', onsetStep: 41 });
});

it('a loss that begins at zero (GRPO) grows while the rewards rise; where they do not it is judged', async () => {
  const grpo = (reward: (step: number) => number, loss: (step: number) => number): string =>
    Array.from({ length: 200 }, (_, step) =>
      JSON.stringify({ step, loss: loss(step), grad_norm: 0.4, reward: reward(step), kl: 25 * loss(step) }),
    ).join('\n');
  const rising = (step: number): number => 0.2 + 0.6 * (1 - Math.exp(-step / 50)) + 0.02 * (step % 3);
  const fromZero = (step: number): number =>
    step < 3 ? 0 : 0.02 * (1 - Math.exp(-step / 60)) + 0.002 * (step % 5);
  expect((await judged(grpo(rising, fromZero))).verdict.class).toBe('healthy');
  const nan = await judged(
    grpo(rising, (step) => (step < 150 ? fromZero(step) : Number.NaN)).replaceAll('null', 'NaN'),
  );
  expect(nan.verdict).toMatchObject({ class: 'non-finite', onsetStep: 150 });
  const jumped = (step: number): number => (step < 150 ? fromZero(step) : 5);
  const collapsed = await judged(grpo((step) => (step < 150 ? rising(step) : 0.02), jumped));
  expect(collapsed.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 150 });
  const flat = await judged(grpo((step) => 0.2 + 0.01 * (step % 2), jumped));
  expect(flat.verdict.class).toBe('full-divergence');
});

it('rewards that climb, dip and come back, or are noisy are no collapse; those that stay down are', async () => {
  const text = fixture('ppo-healthy');
  const reward = (from: number, to: number, cell: (old: number, k: number) => number) => {
    let k = 0;
    return judged(changed(text, 'rollout/ep_rew_mean', from, to, (old) => String(cell(Number(old), k++))));
  };
  const ids = ({ findings }: Awaited<ReturnType<typeof judged>>) => findings.map(({ id }) => id);
  // Exploration: a tenth of the reward for ten rounds, then back.
  expect(ids(await reward(15, 25, (old) => old / 10))).not.toContain('reward-collapse');
  expect(ids(await reward(0, 40, (old, k) => old * (k % 3 === 0 ? 0.4 : 1.2)))).not.toContain(
    'reward-collapse',
  );
  // The last three rounds alone, and a preference pair, whose rewards both may fall.
  expect(ids(await reward(37, 40, (old) => old / 10))).not.toContain('reward-collapse');
  const pair = text.replace('rollout/ep_rew_mean', 'rewards/rejected');
  expect(ids(await judged(changed(pair, 'rewards/rejected', 20, 40, () => '1')))).not.toContain(
    'reward-collapse',
  );
  // Down for good; negative returns fall away from zero.
  const lost = await reward(20, 40, () => 9);
  expect(lost.verdict).toMatchObject({
    class: 'full-divergence',
    onsetStep: 21 * 512,
    lastGoodStep: 20 * 512,
  });
  const negative = await reward(0, 40, (_, k) => (k < 25 ? -1000 + 30 * k : -1400) + (k % 2));
  expect(negative.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 26 * 512 });
});

it('a log of rewards alone is judged by them: healthy where none falls for good', async () => {
  const log = (reward: (k: number) => number | string, points = 60) =>
    judged(
      `iteration,novelty,reward\n${Array.from({ length: points }, (_, k) => `${k + 1},0.5,${reward(k)}`).join('\n')}\n`,
    );
  const rising = (k: number): number => 360 - 350 * Math.exp(-k / 10) + (k % 3);
  expect((await log(rising)).verdict).toMatchObject({
    class: 'healthy',
    series: 'reward',
    onsetStep: null,
    why: 'No loss is logged. "reward" does not fall permanently over 60 points.',
  });
  expect((await log((k) => (k < 40 ? rising(k) : 12 + (k % 3)))).verdict).toMatchObject({
    class: 'full-divergence',
    onsetStep: 41,
  });
  // Too few points, and what is no number to the end, tell nothing.
  expect((await log(rising, 5)).verdict).toMatchObject({ class: 'inconclusive', series: null });
  expect((await log((k) => (k < 40 ? rising(k) : 'nan'))).verdict).toMatchObject({
    class: 'inconclusive',
    why: 'No loss is logged. "reward" ends in NaN or infinity.',
  });
});

it('a loss that is absent where the rest of its row is there is missing, first or later', async () => {
  const text = fixture('ppo-healthy');
  for (const row of [1, 20]) {
    const { findings } = await judged(changed(text, 'train/loss', row, row + 1, () => ''));
    expect(findings).toContainEqual(expect.objectContaining({ id: 'missing-loss', series: 'train/loss' }));
  }
  const nan = await judged(changed(text, 'train/loss', 30, 40, () => 'nan'));
  expect(nan.verdict).toMatchObject({ class: 'non-finite', onsetStep: 31 * 512 });
});

it('a loss of both signs is judged by its value: sign changes are none of its jumps, and a jump is one', async () => {
  const text = fixture('ppo-healthy');
  const small = (old: string): string => String(old === '' ? '' : (Number(old) - 50) / 1000);
  const around = changed(text, 'train/loss', 1, 40, small);
  const { run, findings } = await judged(around);
  const { value } = run.series.find(({ role }) => role === 'loss')!;
  expect(value.some((one) => one < 0) && value.some((one) => one > 0)).toBe(true);
  expect(findings.filter(({ severity, series }) => series === 'train/loss' && severity !== 'note')).toEqual(
    [],
  );
  const jumped = await judged(changed(around, 'train/loss', 30, 40, () => '5'));
  expect(jumped.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 31 * 512 });
  for (const { measured, threshold } of jumped.findings) {
    // A ratio to a level of either sign would mean nothing.
    if (measured?.unit === 'times') expect(measured.value).toBeGreaterThan(0);
    if (threshold?.unit === 'times') expect(threshold.value).toBeGreaterThan(0);
  }
});
