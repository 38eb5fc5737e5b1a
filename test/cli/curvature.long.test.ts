/** The same with every method, file and module that does harm: this project sets CLIPPY_DIAG_FUZZ. */
import './curvature.test.ts';
