/**
 * `trainer_state.json` of the Hugging Face Trainer: `log_history` is a list of objects that mixes training rows
 * (`loss`), evaluation rows (`eval_*`) and a last summary row (`train_runtime`). Python writes bare NaN.
 */
import { basename, dirname } from 'node:path';
import { openLedger } from '../bytes/ledger.ts';
import { diagError, type ErrorRecord } from '../model/errors.ts';
import type { LogFormat } from './format.ts';
import { lineCounter, membersOf, wholeDocument } from './json-document.ts';
import { objectScanner, skipBlanks } from './json-line.ts';
import { numberOfText } from './number-text.ts';
import { rowTable } from './row-table.ts';

/** The Trainer writes its whole history into every checkpoint folder: the last one tells what the others do. */
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
  sniff: (head) => /^\s*\{/.test(head.toString('latin1', 0, 64)) && head.includes('"log_history"'),
  document: true,
  superseded: earlierStates,
  async read(chunks, path) {
    const bytes = await wholeDocument(chunks, path);
    const table = rowTable();
    const scan = objectScanner(table);
    const lineOf = lineCounter(bytes);
    const hyperparameters = new Map<string, string | number | boolean | null>();
    const errors: ErrorRecord[] = [];
    const top = { at: 0 };
    const list = { at: 0 };
    const ledger = openLedger();
    let lost = 0;
    let cut = 0;
    for (const member of membersOf(bytes, skipBlanks(bytes, 0, bytes.length), bytes.length, top)) {
      if (member.key !== 'log_history') {
        const text = bytes.toString('utf8', member.start, Math.min(member.end, member.start + 200)).trim();
        if (text === 'true' || text === 'false') hyperparameters.set(member.key, text === 'true');
        else {
          const value = numberOfText(text);
          if (value !== undefined) hyperparameters.set(member.key, value);
        }
        continue;
      }
      if (bytes[member.start] !== 0x5b) continue;
      for (const row of membersOf(bytes, member.start, member.end, list)) {
        if (row.whole && scan.row(bytes, row.start, row.end, lineOf(row.start))) {
          ledger.record(row.end - row.start);
          continue;
        }
        if (row.whole) {
          lost++;
          ledger.lose('damaged', row.end - row.start, row.start, 1);
        }
        cut = row.start;
      }
    }
    if (top.at < 0 || lost > 0)
      errors.push(
        diagError(
          'log-document-damaged',
          {
            offset: cut > 0 ? cut : bytes.length,
            reason: top.at < 0 ? `it has ${bytes.length} bytes and no end` : `${lost} records are no objects`,
          },
          { path, byteOffset: cut > 0 ? cut : bytes.length },
        ).toRecord(),
      );
    errors.push(...scan.errors(path));
    const torn = top.at < 0 && cut > 0 ? bytes.length - cut : 0;
    if (torn > 0) ledger.lose('torn-record', torn, cut);
    ledger.overhead(bytes.length - ledger.account().bytes);
    return {
      kept: table.rows(),
      account: ledger.account(),
      errors,
      runs: [{ ...table.finish(), hyperparameters }],
    };
  },
};
