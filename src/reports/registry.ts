/** Every report format. Adding one is one file here, one line below, one fixture, one test. */
import { json } from './json.ts';
import { terminal } from './terminal.ts';

export const REPORT_FORMATS = {
  text: terminal,
  json,
} as const;
export type ReportFormatId = keyof typeof REPORT_FORMATS;
