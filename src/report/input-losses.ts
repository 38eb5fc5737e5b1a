/** What was lost of an input, or not read, in words. */
import { counted, formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { ReportInput } from '../model/report.ts';
import { lostTexts } from './account-text.ts';

/** One sentence each; none of an input that was read whole. */
export const lossesOf = ({
  kept = 0,
  lost = 0,
  unreadBytes = 0,
  account,
  grownBytes = 0,
}: ReportInput): string[] => [
  ...(lost > 0 ? [`${counted(lost, 'record')} lost, ${formatCount(kept)} kept`] : []),
  ...(unreadBytes > 0 ? [`${counted(unreadBytes, 'byte')} of an unfinished last record not read`] : []),
  // The last record is already listed.
  ...lostTexts({ lost: (account?.lost ?? []).filter(({ reason }) => reason !== 'torn-record') }),
  ...(grownBytes > 0
    ? [`grew by ${counted(grownBytes, 'byte')} while it was read; \`clippy-diag watch\` follows a live log`]
    : []),
];

/** What of the inputs was lost or refused, in their order. */
export const damagesOf = (
  inputs: readonly ReportInput[],
): readonly { readonly path: string; readonly text: string }[] =>
  inputs.flatMap((input) =>
    [...lossesOf(input), ...(input.errors ?? []).map(({ message }) => message)].map((text) => ({
      path: input.path,
      text,
    })),
  );

/** The same, a line each, safe to print. */
export const damageLines = (inputs: readonly ReportInput[]): readonly string[] =>
  damagesOf(inputs).map(({ path, text }) => `${inertName(path)}: ${inertName(text)}`);

/** SHA-256 of the bytes of an input: that of a checkpoint is of names, types and shapes, which all checkpoints of a run share. */
export const contentHash = ({ sha256, kept }: ReportInput): string | null =>
  kept === undefined ? null : sha256;
