/** The report itself: what every other program builds on. */
import { toJson } from '../model/json.ts';
import type { ReportFormat } from './format.ts';

export const json: ReportFormat = {
  id: 'json',
  title: 'the report as one JSON document',
  render: (report) => `${toJson(report)}\n`,
};
