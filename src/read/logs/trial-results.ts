/**
 * The results that Ray prints of its trials: `Result for PPO_CartPole-v0_0339b_00000:`, followed by YAML indented by
 * two blanks; since Ray 2.7, `Trial train_0339b_00000 finished iteration 3 at …`, followed by a box.
 * A result is a row, at its `training_iteration`, and a trial is a run. Nested names are joined with `.`, as in
 * `result.json`.
 *
 * Source: ray/tune/trial.py (update_last_result), later progress_reporter.py; pretty_print of ray/tune/logger;
 * ray/tune/experimental/output.py.
 */
import { nothingWaits, type Waiting } from '../bytes/lines.ts';
import { isLossName } from './metric-roles.ts';
import { isMissingText, numberOfText } from './number-text.ts';
import { type RowTable, rowTable } from './row-table.ts';

const HEAD = /^Result for ([^\s:]{1,200}):\s*$/;
const ENTRY = /^( {2,40})([A-Za-z_][\w./@-]{0,120}):(?: (.*))?$/s;
const AXIS = 'training_iteration';
/** YAML writes these with a dot. */
const NOT_FINITE = /^([-+]?)\.(?=(?:nan|inf)$)/i;

const BOX_HEAD = /^(?:Trial (\S{1,200})|(Training)) finished iteration \d{1,12} at /;
const BOX_LINE = /^[╭├│╰]/;

/** The trial of a line that begins a result; undefined for other lines. */
function headOf(text: string): { trial: string; isBox: boolean } | undefined {
  if (text.startsWith('Result for ')) {
    const trial = HEAD.exec(text)?.[1];
    return trial === undefined ? undefined : { trial, isBox: false };
  }
  if (!text.startsWith('Tr')) return undefined;
  const [, trial, training] = BOX_HEAD.exec(text) ?? [];
  const name = trial ?? training;
  return name === undefined ? undefined : { trial: name, isBox: true };
}

/** Whether a line begins a result. */
export const isResultHead = (text: string): boolean => headOf(text) !== undefined;

interface Result {
  readonly table: RowTable;
  /** The line that it begins in. */
  readonly line: number;
  readonly isBox: boolean;
  readonly waits: Waiting;
  /** The names above the current line, each with its indent. */
  readonly path: { readonly indent: number; readonly name: string }[];
  /** A loss with nothing after it: missing, unless names below it follow. */
  empty: { readonly indent: number; readonly name: string } | undefined;
}

export interface TrialResults {
  /** Takes a line of a result; undefined for other lines. */
  take(text: string, line: number): Waiting | undefined;
  /** Ends a result that is open. */
  end(): void;
  isOpen(): boolean;
  /** The rows of each trial. */
  readonly trials: ReadonlyMap<string, RowTable>;
  fates(): Iterable<readonly [Waiting, 'record' | 'torn-record' | 'passed-over']>;
}

export function trialResults(): TrialResults {
  const trials = new Map<string, RowTable>();
  const ended: { readonly waits: Waiting; readonly whole: boolean; readonly table: RowTable }[] = [];
  let open: Result | undefined;

  const settleEmpty = (indent: number): void => {
    const { empty, table } = open!;
    if (empty !== undefined && indent <= empty.indent) table.miss(table.column(empty.name));
    open!.empty = undefined;
  };
  const end = (): void => {
    if (open === undefined) return;
    settleEmpty(0);
    const { table, line, waits } = open;
    const whole = typeof table.cell(table.column(AXIS)) === 'number';
    if (whole) table.endRow(line);
    else table.dropRow();
    ended.push({ waits, whole, table });
    open = undefined;
  };
  const entry = ({ table, path }: Result, indent: number, key: string, cell: string, line: number): void => {
    settleEmpty(indent);
    while (path.length > 0 && path.at(-1)!.indent >= indent) path.pop();
    const name = [...path.map((one) => one.name), key].join('.');
    if (cell === '') {
      path.push({ indent, name: key });
      if (isLossName(name)) open!.empty = { indent, name };
      return;
    }
    const value = numberOfText(cell.replace(NOT_FINITE, '$1'));
    if (value !== undefined) table.set(table.column(name), value);
    else if (!isLossName(name)) return;
    else if (isMissingText(cell)) table.miss(table.column(name));
    else table.refuse(table.column(name), cell, line);
  };

  return {
    trials,
    isOpen: () => open !== undefined,
    end,
    take(text, line) {
      const head = headOf(text);
      if (head !== undefined) {
        end();
        const { trial, isBox } = head;
        const table = trials.get(trial) ?? rowTable();
        trials.set(trial, table);
        open = { table, line, isBox, waits: nothingWaits(), path: [], empty: undefined };
        return open.waits;
      }
      if (open === undefined) return undefined;
      const { waits } = open;
      if (open.isBox) {
        if (!BOX_LINE.test(text)) {
          end();
          return undefined;
        }
        // A name without a value is skipped unless it is a loss: `│ checkpoint_dir_name      │`.
        const [name = '', cell, ...more] = text.slice(1).replace(/│\s*$/, '').trim().split(/\s+/, 3);
        const isWhole = text.startsWith('│') && text.trimEnd().endsWith('│') && text.length > 2;
        if (isWhole && cell !== undefined && more.length === 0) entry(open, 1, name, cell, line);
        else if (isWhole && cell === undefined && isLossName(name)) entry(open, 1, name, '-', line);
        else if (text.startsWith('╰')) end();
        return waits;
      }
      if (!text.startsWith('  ')) {
        end();
        return undefined;
      }
      const [, blanks, key, cell = ''] = ENTRY.exec(text) ?? [];
      if (key !== undefined) entry(open, blanks!.length, key, cell.trim(), line);
      // The print ends with a line of blanks; any other text is a list, or continues the line before.
      else if (text.trim() === '') end();
      return waits;
    },
    *fates() {
      // Other text may also have the words that begin a result.
      for (const { waits, whole, table } of ended)
        yield [waits, whole ? 'record' : table.rows() > 0 ? 'torn-record' : 'passed-over'];
    },
  };
}
