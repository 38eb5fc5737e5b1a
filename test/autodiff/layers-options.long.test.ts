/** The layers of Keras 2: this project sets CLIPPY_DIAG_FUZZ. */
import './layers-options.test.ts';
