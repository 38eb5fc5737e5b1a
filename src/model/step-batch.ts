/** Which data one step of a run was trained on. */
import type { Cell } from './cell.ts';

export interface StepBatch {
  /** The ledger that was read. */
  readonly path: string;
  readonly step: number;
  /** Whether the ledger has a line of this step. */
  readonly recorded: boolean;
  readonly loss: number | null;
  /** Hash of the batch; equal batches have equal hashes. */
  readonly batch: string | null;
  /** Ids of its rows, or the one id of the batch, in their order; null where they were not given or are not kept. */
  readonly ids: readonly Cell[] | null;
  /** Rows that the loop numbered, as ranges with both ends; null where ids are no whole numbers. */
  readonly rows: readonly { readonly from: number; readonly to: number }[] | null;
  /** Other steps with the same batch, ascending. */
  readonly sameBatch: readonly number[];
  /** Of a process that went on from another one: its first step, and how many of its batches the run had before. */
  readonly resume: { readonly step: number; readonly batches: number; readonly again: number } | null;
  /** The nearest steps whose ids are kept, where those of this step are not. */
  readonly nearest: { readonly before: number | null; readonly after: number | null } | null;
  readonly statement: string;
}
