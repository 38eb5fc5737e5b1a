/**
 * `trainer_state.json` of the Hugging Face Trainer: `log_history` is a list of objects that mixes training rows
 * (`loss`), evaluation rows (`eval_*`) and a last summary row (`train_runtime`). Python writes bare NaN.
 */
import { basename, dirname } from 'node:path';
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import type { LossReason } from '../../model/log.ts';
import type { LogFormat } from './format.ts';
import { documentLedger, lineCounter, membersEnd, membersOf, wholeDocument } from './json-document.ts';
import { objectScanner, skipBlanks } from './json-line.ts';
import { numberOfText } from './number-text.ts';
import { rowTable } from './row-table.ts';

const OPEN = 0x7b;
const OPEN_LIST = 0x5b;

/** Members that report progress, not settings: transformers' `TrainerState`. */
const PROGRESS =
  /^(epoch|global_step|best_\w+|total_flos|num_input_tokens_seen|is_hyper_param_search|is_\w+_process_zero)$/;

/** The Trainer writes its whole history into every checkpoint folder: the last one includes the others. */
function earlierStates(paths: readonly string[]): Map<string, string> {
  const runs = new Map<string, { path: string; number: number }[]>();
  for (const path of paths) {
    const folder = dirname(path);
    const number = /^checkpoint-(\d+)$/.exec(basename(folder))?.[1];
    const run = number === undefined ? folder : dirname(folder);
    const state = { path, number: number === undefined ? Number.POSITIVE_INFINITY : Number(number) };
    runs.set(run, [...(runs.get(run) ?? []), state]);
  }
  const earlier = new Map<string, string>();
  for (const states of runs.values()) {
    const [last, ...others] = states.sort((a, b) => b.number - a.number);
    for (const { path } of others) earlier.set(path, last!.path);
  }
  return earlier;
}

export const hfTrainerState: LogFormat = {
  id: 'hf-trainer-state',
  title: 'Hugging Face trainer_state.json',
  tried: 'Hugging Face trainer_state.json ("log_history")',
  text: true,
  names: /^trainer_state\.json$/,
  sniff: (head) => /^\s*\{/.test(head.toString('latin1', 0, 64)) && head.includes('"log_history"'),
  document: true,
  superseded: earlierStates,
  async read(chunks, path, { encoding }) {
    const bytes = await wholeDocument(chunks, path);
    const stop = bytes.length;
    const table = rowTable();
    const scan = objectScanner(table);
    const lineOf = lineCounter(bytes);
    const ledger = documentLedger(bytes, encoding);
    const hyperparameters = new Map<string, string | number | boolean | null>();
    const errors: ErrorRecord[] = [];
    const top = membersEnd();
    const list = membersEnd();
    let bad = 0;
    let firstBad = -1;
    const lose = (reason: LossReason, start: number, end: number, records?: number): void => {
      if (bad++ === 0) firstBad = start;
      ledger.lose(reason, start, end, records);
    };
    /** Where the document is cut or breaks. */
    let open = -1;
    for (const member of membersOf(bytes, skipBlanks(bytes, 0, stop), stop, top)) {
      if (member.key === 'log_history' && bytes[member.start] === OPEN_LIST) {
        for (const row of membersOf(bytes, member.start, member.end, list)) {
          if (!row.whole) {
            open = row.start;
            break;
          }
          if (bytes[row.start] === OPEN && scan.row(bytes, row.start, row.end, lineOf(row.start)))
            ledger.record(row.start, row.end);
          else lose('damaged', row.start, row.end, 1);
        }
        if (list.at < 0 && open < 0) {
          if (member.whole) lose('damaged', list.stopped, member.end);
          else open = list.stopped;
        }
        continue;
      }
      if (!member.whole) {
        open = member.start;
        break;
      }
      if (ledger.isHoled(member.start, member.end)) {
        lose('hole', member.start, member.end);
        continue;
      }
      ledger.passOver(member.start, member.end);
      if (PROGRESS.test(member.key)) continue;
      const text = bytes.toString('utf8', member.start, Math.min(member.end, member.start + 200)).trim();
      if (text === 'true' || text === 'false') hyperparameters.set(member.key, text === 'true');
      else {
        const value = numberOfText(text);
        if (value !== undefined) hyperparameters.set(member.key, value);
      }
    }
    if (top.at < 0 && open < 0) open = top.stopped;
    if (open >= 0) ledger.lose(top.cut ? 'torn-record' : 'damaged', open, stop);
    else {
      const after = skipBlanks(bytes, top.at, stop);
      if (after < stop) lose('no-record', after, stop);
    }
    if (open >= 0 || bad > 0) {
      const offset = bad > 0 ? firstBad : open;
      errors.push(
        diagError(
          'log-document-damaged',
          {
            offset,
            reason: open >= 0 ? `it has ${stop} bytes and no end` : `${bad} records are no objects`,
          },
          { path, byteOffset: offset },
        ).toRecord(),
      );
    }
    errors.push(...scan.errors(path));
    return {
      kept: table.rows(),
      account: ledger.account(),
      errors,
      runs: [{ ...table.finish(), hyperparameters }],
    };
  },
};
