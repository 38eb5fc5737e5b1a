/** The same with every fault in every format, and 1,000 mutants: its project sets CLIPPY_DIAG_FUZZ. */
import './pipe-and-file.test.ts';
