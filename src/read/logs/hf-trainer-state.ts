/**
 * `trainer_state.json` of the Hugging Face Trainer: `log_history` is a list of objects that mixes training rows
 * (`loss`), evaluation rows (`eval_*`) and a last summary row (`train_runtime`). Python writes bare NaN.
 */
import { basename, dirname } from 'node:path';
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import type { LossReason } from '../../model/log.ts';
import type { LogFormat } from './format.ts';
import {
  type DocumentLedger,
  documentLedger,
  lineCounter,
  type Member,
  membersEnd,
  membersOf,
  wholeDocument,
} from './json-document.ts';
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

type Setting = string | number | boolean | null;

/** A number, true or false as a setting; undefined for anything else. */
function settingOf(bytes: Buffer, { start, end }: Member): Setting | undefined {
  const text = bytes.toString('utf8', start, Math.min(end, start + 200)).trim();
  return text === 'true' || text === 'false' ? text === 'true' : numberOfText(text);
}

/** Reads one document: its rows go to the table, its settings to the hyperparameters, all bytes to the ledger. */
class StateReader {
  readonly hyperparameters = new Map<string, Setting>();
  /** Where the document is cut or breaks; -1: nowhere. */
  private open = -1;
  private bad = 0;
  private firstBad = -1;
  private readonly lineOf: (position: number) => number;

  constructor(
    private readonly bytes: Buffer,
    private readonly scan: ReturnType<typeof objectScanner>,
    private readonly ledger: DocumentLedger,
  ) {
    this.lineOf = lineCounter(bytes);
  }

  read(): void {
    const { bytes, ledger } = this;
    const stop = bytes.length;
    const top = membersEnd();
    for (const member of membersOf(bytes, skipBlanks(bytes, 0, stop), stop, top)) {
      if (member.key === 'log_history' && bytes[member.start] === OPEN_LIST) this.history(member);
      else if (member.whole) this.setting(member);
      else {
        this.open = member.start;
        break;
      }
    }
    if (top.at < 0 && this.open < 0) this.open = top.stopped;
    if (this.open >= 0) ledger.lose(top.cut ? 'torn-record' : 'damaged', this.open, stop);
    else {
      const after = skipBlanks(bytes, top.at, stop);
      if (after < stop) this.lose('no-record', after, stop);
    }
  }

  /** What is wrong with the document, as one error; undefined where it is whole. */
  damage(path: string): ErrorRecord | undefined {
    const { open, bad, firstBad, bytes } = this;
    if (open < 0 && bad === 0) return undefined;
    const offset = bad > 0 ? firstBad : open;
    const reason = open >= 0 ? `it has ${bytes.length} bytes and no end` : `${bad} records are not objects`;
    return diagError('log-document-damaged', { offset, reason }, { path, byteOffset: offset }).toRecord();
  }

  private lose(reason: LossReason, start: number, end: number, records?: number): void {
    if (this.bad++ === 0) this.firstBad = start;
    this.ledger.lose(reason, start, end, records);
  }

  private history(member: Member): void {
    const { bytes, ledger, scan } = this;
    const list = membersEnd();
    for (const row of membersOf(bytes, member.start, member.end, list)) {
      if (!row.whole) {
        this.open = row.start;
        return;
      }
      if (bytes[row.start] === OPEN && scan.row(bytes, row.start, row.end, this.lineOf(row.start)))
        ledger.record(row.start, row.end);
      else this.lose('damaged', row.start, row.end, 1);
    }
    if (list.at >= 0 || this.open >= 0) return;
    if (member.whole) this.lose('damaged', list.stopped, member.end);
    else this.open = list.stopped;
  }

  private setting(member: Member): void {
    if (this.ledger.isHoled(member.start, member.end)) {
      this.lose('hole', member.start, member.end);
      return;
    }
    this.ledger.passOver(member.start, member.end);
    if (PROGRESS.test(member.key)) return;
    const value = settingOf(this.bytes, member);
    if (value !== undefined) this.hyperparameters.set(member.key, value);
  }
}

export const hfTrainerState: LogFormat = {
  id: 'hf-trainer-state',
  title: 'Hugging Face trainer_state.json',
  text: true,
  names: /^trainer_state\.json$/,
  sniff: (head) => /^\s*\{/.test(head.toString('latin1', 0, 64)) && head.includes('"log_history"'),
  document: true,
  superseded: earlierStates,
  async read(chunks, path, { encoding }) {
    const bytes = await wholeDocument(chunks, path);
    const table = rowTable();
    const scan = objectScanner(table);
    const ledger = documentLedger(bytes, encoding);
    const reader = new StateReader(bytes, scan, ledger);
    reader.read();
    const damage = reader.damage(path);
    return {
      kept: table.rows(),
      account: ledger.account(),
      errors: [...(damage === undefined ? [] : [damage]), ...scan.errors(path)],
      runs: [{ ...table.finish(), hyperparameters: reader.hyperparameters }],
    };
  },
};
