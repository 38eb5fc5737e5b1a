/** Two hundred reports: this project sets CLIPPY_DIAG_FUZZ. */
import './round-trip.test.ts';
