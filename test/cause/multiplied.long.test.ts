/** Gradients that something multiplied between the loss and the step: found by the model, and taken back as an arm. */
import { describe, expect, it } from 'vitest';
import { analyzed, calm, type Made } from './made-run.ts';

const AT = 30;
const made = (times: number, momentum = 0): Made => ({
  batches: calm,
  optimizer: { name: 'sgd', learningRate: 0.01, options: { momentum } },
  multiplied: { at: AT, times },
});

describe('gradients that are multiplied from a step on', () => {
  // With momentum the training that lacks it was called a lost state, and where the losses end as no number a precision.
  it.each([0, 0.9])(
    'at momentum %s: the code, shown, and as they are computed the run holds',
    async (momentum) => {
      const run = await analyzed(made(400, momentum));
      expect(run.cause).toMatchObject({ trigger: 'code', confidence: 'shown' });
      expect(run.cause!.statement).toMatch(
        /^the recorded gradient is 400 times that of the loss on the recorded batch from step 30 on, and was that of the loss before; /,
      );
      expect(run.remedies![0]).toMatchObject({ action: 'fix-code', tried: 'closed-loop', holds: true });
      const loops = run.replay.filter(({ mode, arm }) => mode === 'closed-loop' && arm === undefined);
      // The incident is in the training, so that rules are judged by it.
      expect(loops.find(({ rule }) => rule === 'global-norm')!.verdict).not.toBe('cannot-tell');
    },
  );
  it('its twin without: no incident', async () => {
    const run = await analyzed(made(1));
    expect(run.verdict.onsetStep).toBeNull();
    expect(run.cause!.trigger).toBe('none-found');
  });
});
