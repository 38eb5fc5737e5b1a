/** Whatever is done to a log of text, every byte and every row of it is told. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, it } from 'vitest';
import { unreadBytes } from '../../src/model/log.ts';
import { checkDamagedLogs, type ReadLog, type WholeLog } from '../support/damaged-logs.ts';
import { projectRoot } from '../support/shared-data.ts';

/** Mutants of each group: 3,000 in all, and 200,000 at full length. */
/** Damaged logs: five times CLIPPY_DIAG_FUZZ where that is set. */
const MUTANTS = process.env.CLIPPY_DIAG_FUZZ === undefined ? 3_000 : 5 * Number(process.env.CLIPPY_DIAG_FUZZ);
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_126);

const fixture = (name: string, path?: string): WholeLog => ({
  name,
  bytes: readFileSync(join(projectRoot, 'fixtures/formats', name)),
  ...(path === undefined ? {} : { path }),
});
const made = (name: string, text: string, options: WholeLog['options'] = {}): WholeLog => ({
  name,
  bytes: Buffer.from(text),
  options,
});
const rows = (count: number, row: (step: number, loss: string) => string): string =>
  Array.from({ length: count }, (_, k) => row(k, (2 / Math.sqrt(k + 1)).toFixed(5))).join('');

const csv = rows(40, (step, loss) => `${step},${loss},${step % 5 === 0 ? loss : ''}\n`);
const CSV: WholeLog[] = [
  fixture('csv-pandas-index/input.csv'),
  fixture('keras-csvlogger/input.csv'),
  made('made.csv', `step,loss,val_loss\n${csv}`),
  made('forced.csv', `step,loss,val_loss\n${csv}`, { format: 'csv' }),
  made(
    'quoted.csv',
    `step,"note, free",loss\r\n${rows(30, (step, loss) => `${step},"a ""b""\nc",${loss}\r\n`)}`,
  ),
  made('semicolon.csv', `step;loss\n${rows(30, (step, loss) => `${step};${loss.replace('.', ',')}\n`)}`),
];
const jsonLines = rows(
  40,
  (step, loss) => `{"step": ${step}, "loss": ${loss}, "lr": "1e-3", "note": "ok"}\n`,
);
const JSONL: WholeLog[] = [
  made('made.jsonl', jsonLines),
  made('forced.jsonl', jsonLines, { format: 'jsonl' }),
  made(
    'nested.jsonl',
    rows(30, (k, loss) => `{"step":${k},"train":{"loss":${loss},"x":[1,2]},"t":null}\r\n`),
  ),
];
const DOCUMENTS: WholeLog[] = [
  fixture('json-keras-history/input.json'),
  fixture('hf-trainer-state/input.json'),
  made('records.json', `[${rows(30, (k, loss) => `{"epoch": ${k}, "loss": ${loss}},\n`).slice(0, -2)}]`),
  made('chart.json', `[${rows(30, (k, loss) => `[17000${k}.5, ${k}, "${loss}"],`).slice(0, -1)}]`),
  made(
    'nested.json',
    `{"a": {"loss": [${rows(20, (_, loss) => `${loss}, `)}null], "words": ["x", "y"]}, "n": 3}`,
  ),
  { ...fixture('json-keras-history/input.json'), options: { format: 'json' } },
  { ...fixture('hf-trainer-state/input.json'), options: { format: 'hf-trainer-state' } },
];
const MLFLOW: WholeLog[] = [
  fixture('mlflow-run/input/metrics/train/loss', 'metrics/train/loss'),
  { ...fixture('mlflow-run/input/metrics/lr', 'metrics/lr'), options: { format: 'mlflow' } },
];
const utf16 = (log: WholeLog, mark: boolean, big: boolean): WholeLog => {
  const text = Buffer.from((mark ? '\ufeff' : '') + Buffer.from(log.bytes).toString(), 'utf16le');
  return { ...log, name: `${log.name} in UTF-16`, bytes: big ? text.swap16() : text };
};
const ENCODED: WholeLog[] = [CSV[2]!, CSV[4]!, JSONL[0]!, DOCUMENTS[2]!, MLFLOW[0]!].flatMap((log, k) => [
  { ...log, name: `${log.name} with a mark`, bytes: Buffer.concat([Buffer.from('\ufeff'), log.bytes]) },
  utf16(log, k % 2 === 0, false),
  utf16(log, true, true),
]);
const COMPRESSED: WholeLog[] = [CSV[2]!, JSONL[0]!, DOCUMENTS[0]!].map((log) => ({
  ...log,
  name: `${log.name}.gz`,
  bytes: gzipSync(log.bytes),
}));

/** Lines of a log of one record a line: as many as records, lost ones and a torn one. */
function linesAddUp(isOverhead: (line: string) => boolean) {
  return (raw: ReadLog, bytes: Uint8Array): string[] => {
    if (raw.account.compressedBytes !== undefined || raw.format === 'json') return [];
    // A hole takes lines of which nobody knows the number.
    const lines = Buffer.from(bytes).toString('latin1').split('\n');
    const whole = lines.filter((line) => !line.includes('\0') && !isOverhead(line));
    const torn = unreadBytes(raw.account) > 0 ? 1 : 0;
    const holes = raw.account.lost.filter(({ reason }) => reason === 'hole');
    const lost = raw.lost - holes.reduce((sum, { records, pieces }) => sum + (records ?? pieces ?? 1), 0);
    const told = raw.kept + lost + torn;
    return told === whole.length ? [] : [`${told} records of ${whole.length} lines`];
  };
}

describe('the account closes', () => {
  it.each<[string, readonly WholeLog[], number, Parameters<typeof checkDamagedLogs>[3]?]>([
    ['CSV', CSV, 0.25],
    ['JSON lines', JSONL, 0.2, linesAddUp((line) => /^[\x01-\x20]*$/.test(line))],
    ['JSON documents', DOCUMENTS, 0.3],
    ['MLflow', MLFLOW, 0.05],
    ['other encodings', ENCODED, 0.15],
    ['compressed', COMPRESSED, 0.05],
  ])('%s', async (_, logs, share, more) => {
    await checkDamagedLogs(logs, Math.round(share * MUTANTS), SEED, more);
  });
});
