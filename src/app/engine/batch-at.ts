/** The batch of a step, by the path of a run. */
import { batchOfStep } from '../../experiment/compare/step-batch.ts';
import { diagError } from '../../model/errors.ts';
import type { StepBatch } from '../../model/step-batch.ts';
import { isLedger, openLedger } from '../../read/ledger/read.ts';
import { walk } from './walk.ts';

/**
 * @param path a ledger, or a folder that holds one
 * @throws usage where there are several; ledger-malformed for a folder without one; what opening it throws
 */
export async function batchAt(path: string, step: number): Promise<StepBatch> {
  return batchOfStep(await openLedger(await ledgerIn(path)), step);
}

async function ledgerIn(path: string): Promise<string> {
  if (await isLedger(path)) return path;
  const found: string[] = [];
  for await (const met of walk(path)) {
    if (met.kind === 'ledger') found.push(met.path);
    if (met.kind === 'error') throw met.error;
  }
  const [only, ...others] = found;
  if (only === undefined)
    throw diagError(
      'ledger-malformed',
      { problem: 'no ledger is in this folder; record with ledger=True' },
      { path },
    );
  if (others.length > 0)
    throw diagError('usage', {
      problem: `${path} holds ${found.length} ledgers`,
      hint: `name one, e.g. ${only}`,
    });
  return only;
}
