/** The same tests at full length: its project sets CLIPPY_DIAG_FUZZ. */
import './trees.test.ts';
