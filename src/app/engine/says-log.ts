/** What shows that a file which was not read as a log is one: its name, or its content. */
import { basename } from 'node:path';
import type { Skipped } from '../../model/inspection.ts';
import type { LogInput } from '../../model/log.ts';
import { isLossLike } from '../../model/run.ts';
import { withoutCompression } from '../../read/bytes/compression.ts';
import type { LogFormat } from '../../read/logs/format.ts';
import { LOG_FORMATS } from '../../read/logs/registry.ts';

export type Sign = NonNullable<Skipped['saysLog']>;

/** The member of {@link Skipped} that a sign is; none where there is none. */
export const saying = (saysLog: Sign | undefined): Pick<Skipped, 'saysLog'> =>
  saysLog === undefined ? {} : { saysLog };

/** What a program printed: its own records, or why it ended. */
const PRINTED = /\.(log|out)(\.\d+)?$/i;
/** Text in which a run that has not begun to train would write its first record. */
const TABLE = /\.(csv|tsv|txt|json)$/i;
const OF_A_RUN = /(^|[^a-z])(logs?|metrics?|history|loss(es)?|train(ing|er)?)([^a-z]|$)/i;

/** Compressions and archives that are not read: their names say what is in them. */
const PACKED = /\.(?:lz4|lzma|br|z|zip|7z|tar|tgz|txz|tbz2?)$/i;

/** The name of what a file holds: `train.jsonl` of `train.jsonl.tar.zst`. */
function uncompressed(path: string): string {
  const name = basename(path);
  const inner = withoutCompression(name).replace(PACKED, '');
  return inner === name || inner === '' ? name : uncompressed(inner);
}

/** Whether only a log has such a name. */
export function nameSaysLog(path: string): boolean {
  const name = uncompressed(path);
  return PRINTED.test(name) || Object.values<LogFormat>(LOG_FORMATS).some(({ names }) => names?.test(name));
}

/** Folders and packages of logs: `logs.zip`, `run-3.tar.gz`. A `train.zip` holds data. */
const OF_LOGS =
  /(^|[^a-z])(logs?|runs?|metrics?|history|outputs?|experiments?|tensorboard|wandb|mlruns)([^a-z]|$)/i;

/** Whether an archive is one of logs by its name; in a folder others are most often data, and large. */
export function archiveSaysLog(path: string): boolean {
  const name = uncompressed(path).replace(/\.(?:zip|tar|tgz)$/i, '');
  return PRINTED.test(name) || OF_LOGS.test(name);
}

/** The sign of a file that holds nothing, or cannot be opened: there is only its name to go by. */
export function signOfName(path: string): Sign | undefined {
  const name = uncompressed(path);
  return nameSaysLog(path) || /\.(csv|tsv)$/i.test(name) || isOfRun(name) ? 'name' : undefined;
}

const isOfRun = (name: string): boolean => TABLE.test(name) && OF_A_RUN.test(name);

/** `log.txt`, `training_log`, `logs` in an archive: words that name no data set, unlike `train`. */
const RECORDS = /(^|[^a-z])(logs?|metrics?|history|loss(es)?|stdout|stderr)([^a-z]|$)/i;
const isRecords = (name: string): boolean => (TABLE.test(name) || !name.includes('.')) && RECORDS.test(name);
/** Whether there is no second line for a record. */
const isOneLine = (text: string): boolean => !text.trim().includes('\n');

/** The sign of a file that is in no known format. @param head its first bytes, decompressed */
export function signOfUnknown(path: string, head: Buffer): Sign | undefined {
  const text = head.toString('latin1');
  if (contentSaysLog(text)) return 'content';
  const name = uncompressed(path);
  return nameSaysLog(path) || isRecords(name) || (isOneLine(text) && isOfRun(name)) ? 'name' : undefined;
}

/**
 * The sign of a file that a format read, and that holds no run: it ended before its first point. Records of something else
 * (texts of a data set, the graph of an event file) do not count.
 */
export function signOfEmpty(
  { path, kept, runs }: LogInput,
  format: LogFormat,
  head: Buffer,
): Sign | undefined {
  const broke = runs.some(({ series }) =>
    series.some(({ role, value }) => isLossLike(role) && !value.every(Number.isFinite)),
  );
  if (broke) return 'content';
  const text = head.toString('latin1');
  // A file of metrics without any number is no sign of a good run: `{"error": "not found"}`.
  if (isRecords(uncompressed(path)) && !NUMBER.test(text)) return 'name';
  if (kept > (format.headerRecords ?? 0)) return undefined;
  if (nameSaysLog(path)) return 'name';
  if (kept > 0) return undefined;
  if (isOneLine(text) && isOfRun(uncompressed(path))) return 'name';
  return LOSS_NAME.test(text.split('\n', 1)[0]!) || contentSaysLog(text) ? 'content' : undefined;
}

/** A number, which may end a line or an entry of JSON; not that in a text. */
const NUMBER = /[:,[=|\t ] ?"?[-+]?[\d.]{1,40}(?:e[-+]?\d{1,3})?"?\s{0,3}(?:[,\]}|]|$)/im;

const LOSS = '(?:loss(?:es)?|nll|ppl|perplexity|log_?loss|xent|bce|elbo|cross[ _-]?entropy)';
const VALUE = '["\'(]?(?:[-+]?(?:\\d|\\.\\d|nan|inf|1\\.#)|tensor\\(|null)';
const LOSS_NAME = new RegExp(`(^|[^a-z])${LOSS}([^a-z]|$)`, 'i');
/** `loss: 0.4`, `"loss": nan`. */
const LOSS_VALUE = new RegExp(`(^|[^a-z])${LOSS}["')\\]]?(?:\\s{0,20}[:=|]|\\s)\\s{0,20}${VALUE}`, 'i');
/** `epoch 3 … nan`: two looks, each of which takes the line once. */
const AXIS_VALUE = /\b(?:epoch|step|iter(?:ation)?)\b\W{0,3}\d/i;
const NO_NUMBER = /\b(?:nan|inf)\b/i;
const isRecord = (line: string): boolean =>
  LOSS_VALUE.test(line) || (AXIS_VALUE.test(line) && NO_NUMBER.test(line));
const JSON_KEY = new RegExp(`"([^"\\n]{0,80}${LOSS}[^"\\n]{0,80})"\\s*:\\s*${VALUE}`, 'gi');
/** A line that is longer holds no record of a run. */
const LONGEST = 2000;
const TRACEBACK = /^Traceback \(most recent call last\):/m;

/** Whether text is that of a run: a traceback, or losses in at least three lines and a fifth of all (or in most). */
function contentSaysLog(text: string): boolean {
  if (text.includes('\0')) return false;
  if (TRACEBACK.test(text)) return true;
  if (/^\s*[[{]/.test(text)) {
    if (/"log_history"\s*:/.test(text)) return true;
    // A vocabulary has each word once, a list of records has the same keys again.
    const seen = new Set<string>();
    for (const [, key = ''] of text.matchAll(JSON_KEY)) {
      if (seen.has(key)) return true;
      seen.add(key);
    }
    return false;
  }
  let lines = 0;
  let records = 0;
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    lines++;
    if (line.length <= LONGEST && isRecord(line)) records++;
  }
  return records * 2 > lines || (records >= 3 && records * 5 >= lines);
}
