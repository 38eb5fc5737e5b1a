/** A thread beside a replay: what takes time on large tensors. */
import { STEP } from '../kernels/step-at-once.ts';
import { CLIPPY_FACTOR } from '../rules/clippy-factor.ts';
import { COLUMN_SUMS, DISTANCE, FINITE_ENTRIES, UNIT_SUMS } from '../tensor/values.ts';
import { serveParts } from '../threads/serve-parts.ts';

serveParts([STEP, CLIPPY_FACTOR, COLUMN_SUMS, DISTANCE, FINITE_ENTRIES, UNIT_SUMS]);
