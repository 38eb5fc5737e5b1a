/** What an audit makes of losses and gradients that were computed again with the user's model. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { auditCapture } from '../../src/experiment/audit/audit.ts';
import { unexplainedChange } from '../../src/experiment/audit/links/between.ts';
import { type AuditLinkName, brokenLinks } from '../../src/model/audit.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { scratchFolders } from '../support/scratch.ts';
import { record } from './training.ts';

const scratch = scratchFolders('remeasured');

/** A healthy capture to which what was measured again at two of its steps is added. */
async function audited(
  change: (loss: number, index: number) => object,
  more: object = {},
  training: Parameters<typeof record>[1] = { optimizer: 'adamw', seed: 3, clip: 8 },
) {
  const folder = join(scratch(), 'capture');
  await record(folder, training);
  const path = join(folder, 'capture.json');
  const manifest = JSON.parse(await readFile(path, 'utf8'));
  const steps = manifest.steps.slice(0, 2) as { step: number; loss: number }[];
  const remeasured = steps.map(({ step, loss }, k) => ({ step, ...measured(loss), ...change(loss, k) }));
  await writeFile(path, JSON.stringify({ ...manifest, remeasured, ...more }));
  return auditCapture(await openCapture(folder));
}

const gradient = { tensors: 3, ratio: 0.1, worst: 'bias', off: 1e-7, noise: 1e-7, repeats: 0 };
const measured = (loss: number): object => ({ loss, lossAllowed: 1e-4 * Math.abs(loss), gradient });
const off = {
  ...gradient,
  ratio: 900,
  off: 0.5,
  factor: 1.4,
  factorRatio: 800,
  before: 0.3,
  beforeRatio: 700,
};

describe('what was measured again', () => {
  it('agrees: loss, gradient and accumulation hold', async () => {
    const audit = await audited(() => ({}));
    const outcomeOf = (name: AuditLinkName) => audit.links.find(({ link }) => link === name)?.outcome;
    expect([brokenLinks(audit), outcomeOf('loss'), outcomeOf('gradient'), outcomeOf('accumulation')]).toEqual(
      [[], 'holds', 'holds', 'holds'],
    );
  });

  it('gradients of their own batch refute what only looks like the one before', async () => {
    // As rows that are sorted do, these gradients go on as they were.
    const alike = { optimizer: 'sgd', seed: 17, clip: 3, fault: { noZeroGrad: true } } as const;
    const causes = async (change: object) =>
      brokenLinks(await audited(() => change, {}, alike)).map(({ cause, confidence }) => [cause, confidence]);
    expect(await causes({ gradient: undefined })).toEqual([['no-zero-grad', 'likely']]);
    expect(await causes({})).toEqual([]);
  });

  it('two losses that are not finite agree', async () => {
    expect(brokenLinks(await audited(() => ({}), {}))).toEqual([]);
    const audit = await audited(() => ({ loss: 'NaN' }));
    expect(brokenLinks(audit).map(({ cause }) => cause)).toEqual(['loss-changed']);
  });

  it.each([
    ['a factor of the gradient', { gradient: { ...off, factor: 8, factorRatio: 0.2 } }, 'not-divided', 8],
    ['a factor below 1', { gradient: { ...off, factor: 0.25, factorRatio: 0.2 } }, 'divided-twice', 0.25],
    ['the gradient before', { gradient: { ...off, before: 1, beforeRatio: 0.4 } }, 'no-zero-grad', null],
    ['nothing that is known', { gradient: off }, 'gradient-not-of-loss', null],
    ['no number', { gradient: { ...off, ratio: 'Infinity' } }, 'gradient-not-of-loss', null],
  ])('%s', async (_name, change, cause, factor) => {
    const [first, ...others] = brokenLinks(await audited(() => change));
    expect([first?.cause, first?.factor, others]).toEqual([cause, factor, []]);
  });

  it('a factor that differs from step to step is none', async () => {
    const audit = await audited((_, k) => ({ gradient: { ...off, factor: 2 + k, factorRatio: 0.2 } }));
    expect(brokenLinks(audit)[0]?.cause).toBe('gradient-not-of-loss');
  });

  it('a loss of another scale explains a gradient of another scale', async () => {
    const audit = await audited((loss) => ({
      loss: loss / 32,
      gradient: { ...off, factor: 32, factorRatio: 0.2 },
    }));
    expect(brokenLinks(audit)).toMatchObject([{ cause: 'loss-changed', factor: 32, confidence: 'shown' }]);
    expect(audit.links.find(({ cause }) => cause === 'not-divided')?.follows).toBe('loss:loss-changed');
  });

  it('the batch of the step before, and evaluation mode, explain both', async () => {
    const other = (loss: number) => ({ loss: loss * 2, gradient: off, batchBefore: { loss, ratio: 0.1 } });
    expect(brokenLinks(await audited(other))[0]?.statement).toContain(
      'that of the batch of the step before it',
    );
    const mode = (loss: number) => ({ loss: loss + 1, gradient: off, evaluation: { loss, ratio: 0.1 } });
    expect(brokenLinks(await audited(mode)).map(({ cause }) => cause)).toEqual(['eval-mode']);
    const half = (loss: number) => ({ loss: loss + 1, gradient: off, evaluation: { loss, ratio: 50 } });
    expect(brokenLinks(await audited(half)).map(({ cause }) => cause)).toEqual(['loss-changed']);
  });

  it('a loss that another draw of random numbers explains is no fault; one far beyond is', async () => {
    const drawn = (chance: number) => audited((loss, k) => ({ loss: loss + 1 + k, chance, gradient: off }));
    const links = (await drawn(0.4)).links.filter(({ link }) => link === 'loss' || link === 'gradient');
    expect(links.map(({ outcome }) => outcome)).toEqual(['cannot-tell', 'cannot-tell']);
    const far = await audited((loss, k) => ({ loss: loss + 5 + k, chance: 0.1, gradient: off }));
    expect(brokenLinks(far).map(({ cause }) => cause)).toEqual(['loss-changed']);
  });

  it('chance proves nothing', async () => {
    const audit = await audited((loss) => ({
      loss: loss * 2,
      gradient: { ...off, noise: 0.7, repeats: 0.7 },
    }));
    expect(brokenLinks(audit)).toEqual([]);
    expect(audit.links.find(({ link }) => link === 'loss')).toMatchObject({ outcome: 'cannot-tell' });
  });

  it.each([[[{}, 3, null, { step: 'x' }]], ['text'], [{ step: 1 }]])(
    '%j is not measured',
    async (remeasured) => {
      const audit = await audited(() => ({}), { remeasured });
      expect(audit.links.find(({ link }) => link === 'loss')?.outcome).toBe('cannot-tell');
    },
  );
});

describe('options that are declared to change', () => {
  const changed = async (expectedChanges: readonly string[], name = 'beta1', formula = true) => {
    const folder = join(scratch(), 'capture');
    await record(folder, { optimizer: 'adamw', seed: 3, clip: 8, steps: 8 });
    const path = join(folder, 'capture.json');
    const manifest = JSON.parse(await readFile(path, 'utf8'));
    if (!formula) Object.assign(manifest.optimizer, { name: 'Prodigy', formula });
    manifest.steps.forEach((step: { options?: object }, k: number) => {
      if (k === 0) step.options = [{ group: 0, [name]: 0.9 }];
      if (k === 3) step.options = [{ group: 0, [name]: 0.5 }];
    });
    await writeFile(path, JSON.stringify({ ...manifest, expectedChanges }));
    return unexplainedChange(await openCapture(folder));
  };

  it('are no fault, however they are written; others are', async () => {
    expect(await changed([])).toHaveLength(1);
    expect(await changed(['weight_decay'])).toHaveLength(1);
    expect(await changed(['beta1'])).toEqual([]);
    expect(await changed(['Beta_1'])).toEqual([]);
  });

  it('are the loop’s: an optimizer without a formula keeps estimates of its own too', async () => {
    expect(await changed([], 'd', false)).toEqual([]);
    expect(await changed([], 'weight_decay', false)).toHaveLength(1);
    expect(await changed([], 'd')).toHaveLength(1);
  });
});
