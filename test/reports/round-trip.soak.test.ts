/** Two hundred reports: its project sets CLIPPY_DIAG_FUZZ. */
import './round-trip.test.ts';
