/** Ten times as many combinations: its project sets CLIPPY_DIAG_FUZZ. */
import './faults.test.ts';
