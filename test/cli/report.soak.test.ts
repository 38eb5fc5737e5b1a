/** The whole analysis of the incident, saved and rendered again: its project sets CLIPPY_DIAG_FUZZ. */
import './report.test.ts';
