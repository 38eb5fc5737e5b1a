/** Logs of reinforcement learning: losses of both signs, rewards of which more is better, rows before anything was trained. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { contextFor, type Detector } from '../../src/detectors/detector.ts';
import { DETECTORS } from '../../src/detectors/registry.ts';
import { judgeRun } from '../../src/incidents/verdict.ts';
import { finishLog, readRawStream } from '../../src/logs/read-log.ts';
import type { Finding } from '../../src/model/finding.ts';
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

it('a PPO that learns has nothing but notes: its first row comes before the first update', async () => {
  const { run, verdict, findings } = await judged(fixture('ppo-healthy'));
  expect(verdict).toMatchObject({ class: 'healthy', series: 'train/loss' });
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
  expect(run.stepUnit).toBe('step');
  const loss = run.series.find(({ role }) => role === 'loss')!;
  expect([loss.step[0], loss.missing, loss.gaps]).toEqual([1024, 1, undefined]);
  expect(run.series.find(({ name }) => name === 'rollout/ep_rew_mean')!.role).toBe('metric');
  expect(
    run.series.find(({ name }) => name === 'train/policy_gradient_loss')!.value.some((one) => one < 0),
  ).toBe(true);
});

it('one whose learning rate rises 10,000-fold is lost', async () => {
  const { verdict, findings } = await judged(fixture('ppo-lost'));
  expect(verdict.class).toBe('full-divergence');
  expect(findings.map(({ id }) => id)).toContain('learning-rate-anomaly');
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
