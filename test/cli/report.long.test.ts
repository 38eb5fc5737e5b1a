/** The whole analysis of the incident, saved and rendered again: this project sets CLIPPY_DIAG_FUZZ. */
import './report.test.ts';
