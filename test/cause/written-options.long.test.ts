/** Options that code wrote into the optimizer while it was recorded: every replay takes its steps with them. */
import { describe, expect, it } from 'vitest';
import type { Options } from '../../src/model/options.ts';
import { analyzed, calm, type Made } from './made-run.ts';

const AT = 30;
const made = (options: Options, written: Options): Made => ({
  batches: calm,
  optimizer: { name: 'sgd', learningRate: 0.01, options },
  written: { at: AT, options: written },
});

describe('a weight decay that was written', () => {
  it('and destroys the run: shown, and without it the run holds', async () => {
    const run = await analyzed(made({ momentum: 0, weightDecay: 0 }, { weightDecay: 210 }));
    expect(run.cause).toMatchObject({ trigger: 'weight-decay', confidence: 'shown' });
    expect(run.remedies![0]).toMatchObject({ action: 'lower-weight-decay', holds: true });
    expect(run.findings.map(({ id }) => id)).not.toContain('capture-mismatch');
  });
  it('and does no harm: no incident, and the weights follow', async () => {
    const run = await analyzed(made({ momentum: 0, weightDecay: 0 }, { weightDecay: 0.01 }));
    expect(run.verdict.onsetStep).toBeNull();
    expect(run.findings.map(({ id }) => id)).not.toContain('capture-mismatch');
  });
});

describe('a momentum that was written', () => {
  it('and destroys the run: the code that wrote it, shown, and with the momentum of before the run holds', async () => {
    const run = await analyzed(made({ momentum: 0.9 }, { momentum: 1.35 }));
    expect(run.cause).toMatchObject({ trigger: 'code', confidence: 'shown' });
    expect(run.remedies![0]).toMatchObject({ action: 'fix-code', tried: 'closed-loop', holds: true });
    expect(run.remedies![0]!.statement).toMatch(
      /^keep momentum of parameter group 0 at 0\.9 from step 30 on: /,
    );
    expect(run.replay.map(({ arm }) => arm)).toContainEqual({ kind: 'settings', at: AT });
    expect(run.cause!.statement).toMatch(
      /momentum of parameter group 0 is 1\.35 from step 30 on, and was 0\.9/,
    );
    expect(run.remedies!.map(({ action }) => action)).not.toContain('raise-precision');
  });
  it('and does no harm: no incident, and the weights follow', async () => {
    const run = await analyzed(made({ momentum: 0.9 }, { momentum: 0.8 }));
    expect(run.verdict.onsetStep).toBeNull();
    expect(run.findings.map(({ id }) => id)).not.toContain('capture-mismatch');
  });
});
