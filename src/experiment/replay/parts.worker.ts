/** A worker thread of a replay, for large tensors. */
import { STEP } from '../../step/kernels/step-at-once.ts';
import { CLIPPY_FACTOR } from '../../step/rules/clippy-factor.ts';
import { COLUMN_SUMS, DISTANCE, FINITE_ENTRIES, UNIT_SUMS } from '../../step/tensor/values.ts';
import { serveParts } from '../../step/threads/serve-parts.ts';

serveParts([STEP, CLIPPY_FACTOR, COLUMN_SUMS, DISTANCE, FINITE_ENTRIES, UNIT_SUMS]);
