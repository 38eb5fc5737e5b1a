/** The same tests at full length: its project sets CLIPPY_DIAG_FUZZ. */
import './cuts-keras3.test.ts';
