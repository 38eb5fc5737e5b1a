/** Ten times as many combinations: this project sets CLIPPY_DIAG_FUZZ. */
import './faults.test.ts';
