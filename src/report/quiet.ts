import type { Report } from '../model/report.ts';
import { damageLines } from './input-losses.ts';
import { headline } from './terminal.ts';

/** A report in one line: the verdict, and what was not read, without which it may say too much. */
export function quietLine(report: Report): string {
  const damages = damageLines(report.inputs);
  if (damages.length === 0) return headline(report);
  const more = damages.length > 1 ? ` and ${damages.length - 1} more` : '';
  return `${headline(report)}; not all was read: ${damages[0]!.replace(/\.$/, '')}${more}`;
}
