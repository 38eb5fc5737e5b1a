/** The same tests at full length: this project sets CLIPPY_DIAG_FUZZ. */
import './cuts-keras3.test.ts';
