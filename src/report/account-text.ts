/** The account of an input in words: where its bytes went, and what was lost. */
import { counted, formatCount } from '../model/format-number.ts';
import type { Account, LossReason, Lost } from '../model/log.ts';

const REASONS: Record<LossReason, string> = {
  'torn-record': 'a last record that is not whole',
  'torn-gzip': 'the gzip stream ends or is damaged here',
  'torn-stream': 'the compressed stream ends or is damaged here',
  'unclosed-quote': 'a quote that no quote closes',
  hole: 'zero bytes where text should be',
  damaged: 'damaged',
  'bad-checksum': 'the checksum is another',
  'no-record': 'bytes that belong to no record',
  'refused-value': 'a value that is not a number',
  'wrong-cells': 'more or fewer cells than the header has',
  'line-too-long': 'a line that is too long',
  'cut-off': 'the file ends before it',
  absent: 'its file is not there',
  'over-limit': 'more than a limit allows',
};

/** "299 records, 4,120 bytes lost at byte 1,203: a quote that no quote closes" */
export function lostText({ reason, records, bytes, at, pieces }: Lost): string {
  const what = [
    ...(records === undefined ? [] : [counted(records, 'record')]),
    // It is missing, or its size is unknown.
    ...(bytes === 0 ? [] : [counted(bytes, 'byte')]),
  ].join(', ');
  const where = `${pieces === undefined ? 'at' : `in ${formatCount(pieces)} places from`} byte ${formatCount(at)}`;
  return `${what === '' ? '' : `${what} `}lost ${where}: ${REASONS[reason]}`;
}

/** Stretches that are listed one by one. */
const TOLD = 5;

/** Each stretch that was lost, and how many more there are. */
export function lostTexts({ lost }: Pick<Account, 'lost'>): string[] {
  const told = lost.slice(0, TOLD).map(lostText);
  return lost.length > TOLD
    ? [...told, `and ${counted(lost.length - TOLD, 'more place')} (in --json)`]
    : told;
}

/**
 * `48,210 bytes read, 0 lost`, and a line for each loss. With `all` the sum as well:
 * `bytes 48,210 = 47,900 records + 110 overhead + 200 skipped + 0 lost`.
 */
export function accountLines(account: Account, all: boolean): string[] {
  const { bytes, compressedBytes, records, overhead, passedOver, lost } = account;
  const lostBytes = lost.reduce((sum, one) => sum + one.bytes, 0);
  const losses = lostTexts(account).map((text) => `  ${text}`);
  if (!all)
    return [
      `${counted(bytes, 'byte')} read, ${formatCount(lostBytes)} lost` +
        (passedOver === 0 ? '' : `; ${formatCount(passedOver)} are of no record`),
      ...losses,
    ];
  const parts = [
    `${formatCount(records)} records`,
    `${formatCount(overhead)} overhead`,
    `${formatCount(passedOver)} skipped`,
    `${formatCount(lostBytes)} lost`,
  ];
  const size =
    formatCount(bytes) +
    (compressedBytes === undefined ? '' : ` (${formatCount(compressedBytes)} compressed)`);
  return [`bytes ${size} = ${parts.join(' + ')}`, ...losses];
}
