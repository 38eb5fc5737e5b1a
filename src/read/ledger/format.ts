/**
 * The files of a ledger, for what writes and what reads them; ledger.py of the Python package states the same.
 *
 *     steps.jsonl                        a line for each session, `{"ledger":1,…}`, and one for each step.
 *     tensors/*.bin                      records of sketches and checksums.
 *     ids/*.bin                          records of batch ids.
 *
 *     record   "CDL1" | u32 CRC-32 of the rest | u32 session | i64 step | u32 payload bytes | u32 kind | payload.
 *     payload  of tensors: for each role whose bit is set in `kind`, for each tensor, 64 × f64 and u64.
 *
 * A step may have several records, each with roles of its own. It imports nothing of Node.
 */

/** What a record of tensors holds, in the order of the bits of its kind. */
export const LEDGER_ROLES = [
  'gradient',
  'weights',
  'state',
  'weightsAfter',
  'stateAfter',
  'weightsNext',
  'stateNext',
] as const;
export type LedgerRole = (typeof LEDGER_ROLES)[number];

/** Sketch and checksum of a tensor. A tensor that is not there (no gradient) has zeros. */
export interface TensorSummary {
  readonly sketch: Float64Array;
  readonly checksum: bigint;
}

export const LEDGER_LINES = 'steps.jsonl';
export const RECORD_MAGIC = 'CDL1';
export const RECORD_HEAD_BYTES = 28;
/** Numbers of a sketch, and bytes of a tensor in a role. */
export const LEDGER_SKETCH = 64;
export const TENSOR_BYTES = 8 * LEDGER_SKETCH + 8;
/** Kinds of records of batch ids: ranges (start, count), numbers, JSON. */
export const ID_KINDS = { ranges: 0, rows: 1, text: 2 } as const;
