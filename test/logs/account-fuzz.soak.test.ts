/** The same mutants at length, five times what this project sets as CLIPPY_DIAG_FUZZ. */
import './account-fuzz.test.ts';
