/** The colour of each class of a verdict. */
import type { Ansis } from 'ansis';
import type { VerdictClass } from '../model/report.ts';

export type Paint = (text: string) => string;

export const classPaint = (paint: Ansis, of: VerdictClass): Paint =>
  of === 'healthy'
    ? (text) => paint.bold.green(text)
    : of === 'full-divergence' || of === 'non-finite'
      ? (text) => paint.bold.red(text)
      : (text) => paint.bold.yellow(text);
