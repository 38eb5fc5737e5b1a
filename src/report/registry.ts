/** Every report format. Adding one is one file here, one line below, one fixture, one test. */
import { github } from './github.ts';
import { gitlab } from './gitlab.ts';
import { html } from './html.ts';
import { json } from './json.ts';
import { junit } from './junit.ts';
import { markdown } from './markdown.ts';
import { sarif } from './sarif.ts';
import { skipList } from './skip-list.ts';
import { terminal } from './terminal.ts';

export const REPORT_FORMATS = {
  text: terminal,
  json,
  markdown,
  html,
  junit,
  sarif,
  github,
  gitlab,
  'skip-list': skipList,
} as const;
export type ReportFormatId = keyof typeof REPORT_FORMATS;
