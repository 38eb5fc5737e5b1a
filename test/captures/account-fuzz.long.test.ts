/** The same mutants at full length, 10,000: this project sets CLIPPY_DIAG_FUZZ. */
import './account-fuzz.test.ts';
