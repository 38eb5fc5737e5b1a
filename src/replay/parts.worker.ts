/** A thread beside a replay: what takes time on large tensors. */
import { STEP } from '../kernels/step-at-once.ts';
import { serveParts } from '../threads/serve-parts.ts';

serveParts([STEP]);
