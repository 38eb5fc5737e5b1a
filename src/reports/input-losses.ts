/** What was lost of an input, or not read, in words. */
import { formatCount } from '../model/format-number.ts';
import type { ReportInput } from '../model/report.ts';

/** One sentence each; none of an input that was read whole. */
export const lossesOf = ({ kept = 0, lost = 0, unreadBytes = 0, grownBytes = 0 }: ReportInput): string[] => [
  ...(lost > 0 ? [`${formatCount(lost)} records lost, ${formatCount(kept)} kept`] : []),
  ...(unreadBytes > 0 ? [`${formatCount(unreadBytes)} bytes of an unfinished last record not read`] : []),
  ...(grownBytes > 0
    ? [`grew by ${formatCount(grownBytes)} bytes while it was read; \`clippy-diag watch\` follows a live log`]
    : []),
];
