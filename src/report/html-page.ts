/** What is different between the pages of one run and of many. */
import type { HtmlChart, Overlay } from './html-charts.ts';
import type { Html } from './html-template.ts';

export interface HtmlPage {
  readonly title: string;
  readonly main: Html;
  readonly charts: readonly (HtmlChart & { readonly run: string })[];
  readonly overlay?: Overlay;
}
