/** Audits of ledgers that are written here by hand: a fault each, and its healthy twin. */
import { describe, expect, it } from 'vitest';
import { auditCaptures } from '../../src/app/engine/audit-captures.ts';
import { brokenLinks } from '../../src/model/audit.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { writeLedger } from '../support/write-ledger.ts';

const scratch = scratchFolders('audit-ledger');

/** A training of two tensors: each step moves both, and state follows. */
interface Fault {
  readonly batch?: (step: number) => string;
  /** What is written between a step and the next: factor by tensor. */
  readonly between?: { readonly after: number; readonly factors: readonly number[]; readonly state?: true };
  readonly still?: number;
  readonly option?: { readonly at: readonly number[]; readonly name: string };
  /** A second process begins at this step. */
  readonly resume?: { readonly at: number; readonly fresh?: true };
  readonly saysSteps?: false;
}

function ledgerOf({ batch = String, between, still, option, resume, saysSteps }: Fault): string {
  const weights = [Float32Array.of(1, 2, 3, 4), Float32Array.of(5, 6)];
  let age = 0;
  const steps = Array.from({ length: 20 }, (_, step) => {
    if (step === resume?.at && resume.fresh) age = 0;
    const before = weights.map((one) => one.slice());
    const state = weights.map((one) => Float32Array.from(one, (_, k) => age * (k + 1)));
    for (const [k, own] of weights.entries())
      if (k !== still) for (let i = 0; i < own.length; i++) own[i]! -= 0.01 * (i + 1 + (step % 3));
    age++;
    const after = weights.map((one) => one.slice());
    const stateAfter = weights.map((one) => Float32Array.from(one, (_, k) => age * (k + 1)));
    const factors = between?.after === step ? between.factors : [1, 1];
    if (between?.after === step && between.state) age += 5;
    for (const [k, own] of weights.entries()) for (let i = 0; i < own.length; i++) own[i]! *= factors[k]!;
    const written = between?.after === step;
    return {
      step,
      session: resume !== undefined && step >= resume.at ? 1 : 0,
      batch: batch(step),
      options: option?.at.includes(step) ? { [`0.${option.name}`]: step } : {},
      roles: {
        gradient: weights.map((one) => Float32Array.from(one, (_, i) => 1 + i + (step % 3))),
        weights: before,
        state,
        ...(saysSteps === false ? {} : { weightsAfter: after, stateAfter }),
        ...(written || saysSteps === false
          ? {
              weightsNext: weights.map((one) => one.slice()),
              stateNext: weights.map((one) => Float32Array.from(one, (_, k) => age * (k + 1))),
            }
          : {}),
      },
    };
  });
  const folder = `${scratch()}/ledger`;
  writeLedger(
    folder,
    [
      { name: 'a', shape: [4] },
      { name: 'b', shape: [2] },
    ],
    steps,
  );
  return folder;
}

const auditOf = async (fault: Fault) => (await auditCaptures(ledgerOf(fault))).audits[0]!.audit;
const causes = async (fault: Fault) =>
  brokenLinks(await auditOf(fault)).map(({ cause, step, tensor }) => [cause, step, tensor]);

describe('the audit of a ledger', () => {
  it('finds nothing in healthy trainings', async () => {
    const healthy: Fault[] = [
      {},
      { resume: { at: 9 } },
      { saysSteps: false },
      // Two equal batches in a row happen; a rate that a schedule moves, and a decay that moves with it, are no fault.
      { batch: (step) => String(step >> 1) },
      { option: { at: [4, 5, 6], name: 'lr' } },
      { option: { at: [4, 5, 6], name: 'weight_decay' } },
    ];
    for (const one of healthy) expect([one, await causes(one)]).toEqual([one, []]);
    const { links } = await auditOf({});
    expect(links.find(({ link }) => link === 'between')).toMatchObject({ outcome: 'holds', checks: 20 });
    expect(links.find(({ link }) => link === 'batch')).toMatchObject({ outcome: 'holds', checks: 20 });
    const blind = (await auditOf({ saysSteps: false })).links.find(({ link }) => link === 'between');
    expect(blind).toMatchObject({ outcome: 'cannot-tell' });
  });

  it('names what was written between two steps, with its factor', async () => {
    expect(await causes({ between: { after: 6, factors: [1, 1.5] } })).toEqual([
      ['weights-replaced', 6, 'b'],
    ]);
    const scaled = await auditOf({ between: { after: 6, factors: [0.5, 0.5] } });
    expect(brokenLinks(scaled)).toMatchObject([{ cause: 'all-scaled', step: 6, factor: 0.5 }]);
    expect(await causes({ between: { after: 6, factors: [1, 1], state: true } })).toEqual([
      ['state-stale', 6, 'a'],
    ]);
  });

  it('names batches in a row, and those that come again after a resume', async () => {
    expect(await causes({ batch: (step) => (step < 5 ? String(step) : 'same') })).toEqual([
      ['repeated-batch', 6, null],
    ]);
    expect(await causes({ batch: (step) => String(step % 9), resume: { at: 9 } })).toEqual([
      ['order-repeated', 9, null],
    ]);
    // Epochs repeat their batches within one process.
    expect(await causes({ batch: (step) => String(step % 9) })).toEqual([]);
  });

  it('names a state that is new after a resume, a tensor that nothing moves, and an option', async () => {
    expect(await causes({ resume: { at: 9, fresh: true } })).toEqual([['state-fresh', 9, null]]);
    expect(await causes({ still: 1 })).toEqual([['not-in-optimizer', 0, 'b']]);
    expect(await causes({ still: 1, saysSteps: false })).toEqual([['not-in-optimizer', 0, 'b']]);
    expect(await causes({ option: { at: [7], name: 'weight_decay' } })).toEqual([
      ['options-changed', 7, null],
    ]);
    // In the words of a capture's audit.
    expect(brokenLinks(await auditOf({ option: { at: [7], name: 'weight_decay' } }))[0]!.statement).toBe(
      'weight decay of parameter group 0 is 7 from step 7 on, and was not there',
    );
  });

  it('exits with 1 where a link is broken, else with 4, since no optimizer can be followed', async () => {
    const broken = await cli(['audit', ledgerOf({ still: 0 }), '--json']);
    expect([broken.code, JSON.parse(broken.out).audit.broken]).toEqual([1, 1]);
    const healthy = await cli(['audit', ledgerOf({})]);
    expect(healthy.code).toBe(4);
    expect(healthy.out).toContain('no batch of 20 steps');
  });
});
