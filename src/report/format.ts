/** What a report format is: one file in this folder and one line in registry.ts. */
import type { Report } from '../model/report.ts';

export interface RenderOptions {
  /** Columns of the terminal; 80 where there is none. */
  readonly width: number;
  readonly colour: boolean;
  /** ASCII only, for terminals without box-drawing characters. */
  readonly ascii: boolean;
}

/** Where no terminal is: a file or a pipe, the same on every machine. */
export const PLAIN: RenderOptions = { width: 80, colour: false, ascii: false };

export interface ReportFormat {
  /** kebab-case: file name, `--report` value, docs page. */
  readonly id: string;
  readonly title: string;
  /** Pure: same report and options, same bytes. Reads no clock and no file. */
  render(report: Report, options: RenderOptions): string;
}
