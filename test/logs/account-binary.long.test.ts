/** The same mutants at full length, 200,000: this project sets CLIPPY_DIAG_FUZZ. */
import './account-binary.test.ts';
