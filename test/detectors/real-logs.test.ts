/** Verdicts on real logs: the classes and onsets that careful readers accept (manifest of the shared data). */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { Run } from '../../src/model/run.ts';
import { readLogFile } from '../../src/read/logs/read-log.ts';
import { manifestFiles, sharedData } from '../support/shared-data.ts';

const readRun = async (dest: string): Promise<Run> => {
  const { runs } = await readLogFile(join(sharedData!, dest));
  expect(runs).toHaveLength(1);
  return runs[0]!;
};

function diagnose(run: Run) {
  const judged = judgeRun(run);
  const findings = Object.values(DETECTORS).flatMap((detector: Detector): readonly Finding[] => {
    const outcome = detector.detect(run, contextFor(detector, judged));
    return outcome.kind === 'fail' ? outcome.findings : [];
  });
  return { ...judged, findings };
}

const fileOf = (part: string): string => manifestFiles.find(({ dest }) => dest.includes(part))!.dest;
const logs = manifestFiles.filter(
  ({ kind, expectedClass }) => kind.startsWith('log/') && expectedClass !== undefined,
);

describe.skipIf(sharedData === undefined)('verdicts of real logs', () => {
  it.each(logs.map((file) => [file.dest.split('/').slice(1).join('/'), file] as const))(
    '%s',
    async (_, file) => {
      const { verdict, findings } = diagnose(await readRun(file.dest));
      expect(file.expectedClass).toContain(verdict.class);
      if (file.expectedOnset !== undefined)
        expect(Math.abs(verdict.onsetStep! - file.expectedOnset.step)).toBeLessThanOrEqual(
          file.expectedOnset.tolerance,
        );
      if (file.expectedClass!.includes('healthy'))
        expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
    },
  );
});

describe.skipIf(sharedData === undefined)('what is said about real logs', () => {
  const named = (findings: readonly Finding[], id: string): readonly Finding[] =>
    findings.filter((finding) => finding.id === id);

  it.each(['measurements.csv', 'events.out'])(
    'generalized_adam on Criteo, %s: onset 71, non-finite from 73',
    async (file) => {
      const found = manifestFiles.find(
        ({ dest }) => dest.includes('generalized_adam/study_1/criteo1tb_jax') && dest.includes(`/${file}`),
      )!;
      const { findings } = diagnose(await readRun(found.dest));
      const [finding] = named(findings, 'non-finite-loss').filter(({ series }) => series === 'loss');
      expect(finding).toMatchObject({ severity: 'error', steps: [73, file === 'events.out' ? 99 : 73] });
      expect(finding!.message).toContain('left its usual range at step 71');
      if (file === 'measurements.csv') expect(named(findings, 'loss-column-stops')).toHaveLength(1);
    },
  );

  it('nadamp on DeepSpeech: 28 infinite gradient norms and a loss that stays finite', async () => {
    const { verdict, findings } = diagnose(
      await readRun(fileOf('librispeech_deepspeech_jax/trial_4/measurements')),
    );
    // It rises from 4.51 to 5.28, where it stays for 150 points, and then falls to 3.27.
    expect(verdict.class).toBe('micro-divergence');
    const [finding] = named(findings, 'non-finite-gradient-norm');
    expect(finding).toMatchObject({ severity: 'warning', measured: { value: 28 } });
    expect(finding!.message).toContain('The loss stays finite');
  });

  it('schedule_free_adamw on ResNet: the eval spike at step 42,586', async () => {
    const { findings } = diagnose(await readRun(fileOf('resnet_large_bn_init_pytorch/trial_5/measurements')));
    const [finding] = named(findings, 'eval-only-spike').filter(({ series }) => series === 'validation/loss');
    expect(finding!.message).toContain('at step 42586');
    expect(finding!.severity).toBe('note');
  });

  it('four concatenated runs are four attempts and no spike', async () => {
    const run = await readRun(fileOf('20260513_shampoo_1_4_power'));
    expect(run.attempts).toHaveLength(4);
    const { verdict, findings } = diagnose(run);
    expect(verdict.incidents).toEqual([]);
    expect(findings.filter(({ id }) => id.includes('spike'))).toEqual([]);
  });

  it('a perplexity is NaN from step 4', async () => {
    const { verdict } = diagnose(await readRun(fileOf('check/train_with_kernel.log')));
    expect(verdict).toMatchObject({ class: 'non-finite', onsetStep: 4, lastGoodStep: 3 });
  });

  it.each([
    ['SGD_lr_0.0001_momentum_0.9.csv', 947],
    ['SGD_lr_0.0002_momentum_0.62.csv', 352],
  ])('the Keras sweep %s jumps at epoch 7 from its best level and stays up', async (file, best) => {
    const { verdict, tasks, loss } = diagnose(await readRun(fileOf(file)));
    expect(verdict.onsetStep).toBe(7);
    // Of the best of few levels a part is chance.
    expect(Math.abs(loss!.attempts[0]!.incidents.at(-1)!.before / best - 1.01)).toBeLessThan(0.01);
    expect(tasks[0]).toMatchObject({ name: expect.stringContaining('output_5'), onsetStep: 7 });
  });
});
