/** Whole analyses under every kind of name: its project sets CLIPPY_DIAG_FUZZ. */
import './hostile-names.test.ts';
