/** The same tests at full length: this project sets CLIPPY_DIAG_FUZZ. */
import './trees.test.ts';
