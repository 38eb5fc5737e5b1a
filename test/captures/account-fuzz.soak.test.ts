/** The same mutants at length, half of what this project sets as CLIPPY_DIAG_FUZZ. */
import './account-fuzz.test.ts';
