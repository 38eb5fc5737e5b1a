/** What a comparison is written as: one line each. */
import type { RunComparison } from '../model/comparison.ts';
import { toJson } from '../model/json.ts';
import { SCHEMA_VERSION } from '../model/report.ts';

/** The document that `compare --json` prints. */
export const comparisonDocument = (comparison: RunComparison) => ({
  schemaVersion: SCHEMA_VERSION,
  comparison,
});

export const COMPARISON_FORMATS: Readonly<
  Record<string, (comparison: RunComparison) => string | Promise<string>>
> = {
  json: (comparison) => `${toJson(comparisonDocument(comparison))}\n`,
  // Loaded when it is asked for: its style is large.
  html: async (comparison) => (await import('./comparison-html.ts')).renderComparisonHtml(comparison),
};
