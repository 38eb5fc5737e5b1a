/** A climb after a batch whose loss jumped and came back: whether the batch did it is told by a training without it. */
import { expect, it } from 'vitest';
import { analyzed, CLEAN, calm, type Made } from './made-run.ts';

const AT = 16;
const made: Made = {
  batches: calm.slice(0, 50),
  optimizer: { name: 'adam', learningRate: 0.005, options: { beta2: 0.99 } },
};

it('labels times 300 under Adam: the data, shown; without that batch the run holds, in other orders too', async () => {
  const run = await analyzed({ ...made, spoilt: { batch: CLEAN[AT]!, tensor: 'label/watch', times: 300 } });
  // The spike is over at once, but the climb follows before the loss was back for long: one excess.
  expect(run.verdict).toMatchObject({ onsetStep: AT, recoveredStep: null });
  expect(run.cause).toMatchObject({ trigger: 'data', confidence: 'shown' });
  expect(run.cause!.statement).toMatch(
    /^at the weights of step 11 the batch of step 16 has the loss \d+, .*; without this batch the run stays well$/,
  );
  expect(run.remedies![0]).toMatchObject({
    action: 'skip-batches',
    skipSteps: [AT, AT],
    holds: true,
    perturbations: { tried: 3, held: 3 },
    paste: `if step == ${AT}: continue`,
  });
});

it('its twin without: nothing', async () => {
  const run = await analyzed(made);
  expect(run.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none' });
});
