import { describe, expect, it } from 'vitest';
import { ranksLink } from '../../src/experiment/audit/links/ranks.ts';
import { readStepRecord, readTraining } from '../../src/read/captures/training.ts';

const training = (world?: unknown) => readTraining({ run: { id: 'a' }, ...(world ? { world } : {}) });
const steps = (hashes: (step: number) => readonly string[]) =>
  Array.from({ length: 6 }, (_, step) => ({
    step,
    record: readStepRecord({ ranks: hashes(step).map((batchHash, rank) => ({ rank, batchHash })) }),
  }));

describe('the link of the ranks', () => {
  const ddp = training({ size: 2, kind: 'ddp' });
  it('is broken where ranks have the same batch at every step', () => {
    const found = ranksLink(
      ddp,
      steps((step) => [`b${step}`, `b${step}`]),
    );
    expect(found).toMatchObject({ outcome: 'broken', cause: 'same-data-on-ranks', broken: 6, step: 0 });
  });

  it('holds where they have their own, and once the same by chance', () => {
    const found = ranksLink(
      ddp,
      steps((step) => [`a${step}`, step === 3 ? 'a3' : `b${step}`]),
    );
    expect(found).toMatchObject({ outcome: 'holds', checks: 6 });
  });

  it('says nothing of one rank, of tensor parallelism, or without batches', () => {
    const same = steps(() => ['x', 'x']);
    expect(ranksLink(training(), same).outcome).toBe('not-applicable');
    expect(ranksLink(training({ size: 2, kind: 'tp' }), same).outcome).toBe('not-applicable');
    expect(
      ranksLink(
        ddp,
        steps(() => []),
      ).outcome,
    ).toBe('cannot-tell');
  });
});
