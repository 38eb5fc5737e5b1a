/** A run that dies because its loss scaler skips every step is no healthy one: the steps that were taken alone do not show it. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('skipped');

/** The capture of the incident up to step 394, then 35 steps that were skipped, of which one in the middle of a calm run is another. */
function capture(skipped: (k: number) => Record<string, unknown>, last = 35): string {
  const path = join(folder(), 'capture');
  cpSync(join(projectRoot, 'fixtures/incident/capture'), path, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8'));
  const gone = manifest.steps.filter(({ step }: { step: number }) => step > 394);
  for (const { file } of gone) rmSync(join(path, file));
  const losses = Array.from({ length: 60 }, (_, i) => manifest.steps[i % 14].loss);
  const skips = Array.from({ length: last }, (_, k) => ({ step: 395 + k, ...skipped(k) }));
  const steps = manifest.steps.filter(({ step }: { step: number }) => step <= 394);
  Object.assign(manifest, {
    version: 2,
    history: { steps: losses.map((_, i) => 320 + i), loss: losses },
    steps: steps.map((step: object) => ({ ...step, scale: 65536 })),
    skipped: skips.map(({ step }) => step),
    skips,
  });
  writeFileSync(join(path, 'capture.json'), JSON.stringify(manifest));
  return path;
}
const judged = async (path: string) => {
  // What is said here comes from the record: no training of it is needed.
  const { runs } = JSON.parse((await cli(['analyze', path, '--budget', '0', '--json'])).out) as Report;
  return runs[0]!;
};
const scale = (k: number): number => 65536 / 2 ** k;

it('a loss that is NaN at every skipped step ends the run, and precision is why', async () => {
  const path = capture((k) => ({ loss: 'NaN', scale: scale(k), nonFinite: ['a', 'b'] }));
  const { verdict, cause, remedies, findings } = await judged(path);
  expect(verdict).toMatchObject({ class: 'non-finite', onsetStep: 395, lastGoodStep: 394 });
  expect(cause).toMatchObject({ trigger: 'precision', confidence: 'likely', onsetStep: 395 });
  expect(cause!.statement).toContain('skipped 35 steps from step 395 on at a loss scale of 65540');
  expect(cause!.statement).toContain('"a" and 1 more is not finite: numbers overflow in the forward pass');
  expect(remedies![0]).toMatchObject({ action: 'raise-precision' });
  expect(findings.map(({ id }) => id)).toContain('loss-scale-falls');
  const check = await cli(['inspect', '--check', path]);
  expect(check.out).toContain('35 losses are not finite, from step 395 on');
});

it('a loss that stays finite while nothing moves is told too', async () => {
  const { findings } = await judged(capture((k) => ({ loss: 0.45, scale: scale(k), nonFinite: ['a'] })));
  expect(findings.find(({ id }) => id === 'loss-scale-falls')).toMatchObject({
    severity: 'error',
    steps: [396, 429],
  });
});

it('a step that is skipped now and then is neither', async () => {
  const path = capture(() => ({ loss: 'NaN', scale: 65536, nonFinite: ['a'] }), 1);
  const manifest = JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8'));
  // The skipped step lies between those that were taken.
  manifest.skips[0].step = manifest.steps[10].step;
  manifest.skipped = [manifest.skips[0].step];
  manifest.steps.splice(10, 1);
  for (const step of manifest.steps.slice(10)) step.scale = 32768;
  writeFileSync(join(path, 'capture.json'), JSON.stringify(manifest));
  const { verdict, findings } = await judged(path);
  expect(verdict.class).toBe('healthy');
  expect(findings.map(({ id }) => id)).not.toContain('loss-scale-falls');
});

it('the folder of a recorder without a capture says what the recorder saw', async () => {
  const path = folder();
  const says = async (status: object) => {
    writeFileSync(join(path, 'status.json'), JSON.stringify(status));
    return cli(['analyze', path]);
  };
  const calm = await says({ steps: 220, stopped: null, problems: [] });
  expect(calm.code).toBe(3);
  expect(calm.err).toContain('saw 220 steps and no incident in their losses, and wrote no capture');
  const stopped = await says({ steps: 3, stopped: 'it broke', problems: [] });
  expect(stopped.err).toContain('saw 3 steps and says: it stopped: it broke, and wrote no capture');
  expect((await says({ other: 1 })).err).toContain('folder-without-inputs');
});
