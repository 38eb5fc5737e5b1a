/** The same captures, trained to their end: this project sets CLIPPY_DIAG_FUZZ. */
import './closed-loop.test.ts';
