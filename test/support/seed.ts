/** Runs with a stated seed (as CI does) repeat their property tests too; others take new ones and print them on failure. */
import fc from 'fast-check';

const seed = process.env.CLIPPY_DIAG_FUZZ_SEED;
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });
