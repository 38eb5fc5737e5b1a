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

  const replicas = (sums: readonly string[], apart: (rank: number) => readonly string[]) => [
    ...steps((step) => [`a${step}`, `b${step}`, `c${step}`]).slice(0, 4),
    {
      step: 4,
      record: readStepRecord({
        ranks: sums.map((weights, rank) => ({
          rank,
          batchHash: `${rank}`,
          weights,
          ...(apart(rank).length > 0 ? { apart: apart(rank) } : {}),
        })),
      }),
    },
  ];
  const three = training({ size: 3, kind: 'ddp' });

  it('names the rank and the tensor of a replica with other weights', () => {
    const found = ranksLink(
      three,
      replicas(['x', 'x', 'y'], (rank) => (rank === 2 ? ['a', 'b'] : [])),
    );
    expect(found).toMatchObject({ outcome: 'broken', cause: 'ranks-apart', step: 4, tensor: 'a', broken: 1 });
    expect(found.statement).toContain(
      'rank 2 held other weights of "a" and 1 more than rank 0 before step 4',
    );
  });

  it('takes the weights of most ranks for right, also against the first', () => {
    const found = ranksLink(
      three,
      replicas(['x', 'y', 'y'], (rank) => (rank > 0 ? ['b'] : [])),
    );
    expect(found).toMatchObject({ cause: 'ranks-apart', tensor: 'b' });
    expect(found.statement).toContain('rank 0 held other weights of "b" than rank 1');
  });

  it('counts replicas that agree', () => {
    const found = ranksLink(
      three,
      replicas(['x', 'x', 'x'], () => []),
    );
    expect(found).toMatchObject({ outcome: 'holds', checks: 6 });
    expect(found.statement).toContain('the same weights before 1 step');
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
