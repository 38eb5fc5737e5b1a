/** Faults of whole logs at 20,000 random places, under random policies. `CLIPPY_DIAG_FUZZ` sets another number. */
import { combinations } from './log-faults.ts';

combinations(Number(process.env.CLIPPY_DIAG_FUZZ));
