/**
 * Which tables of a text are the log, and what their columns are: by words, or, where no word names a loss, by the
 * numbers themselves.
 */
import { basename, extname } from 'node:path';
import { type Column, joinedOf } from '../../../model/column.ts';
import { counted, formatCount } from '../../../model/format-number.ts';
import { FIELD_ROLES, type LayoutField, type TextLayout } from '../../../model/layout.ts';
import type { Role, StepUnit } from '../../../model/run.ts';
import { wordsOf } from '../../../model/words.ts';
import type { Waiting } from '../../bytes/lines.ts';
import type { LoggedSeries } from '../format.ts';
import type { Axis } from './axis.ts';
import { byWords, type Group, isOfThings, Names, type PlacedGroup } from './by-words.ts';
import { type Broken, type Kind, rowsOf, type Slot, type SlotOf } from './cells.ts';
import { type Described, describe } from './described.ts';
import { withEvaluations } from './evaluations.ts';
import { candidates, families, LEAST_GUESSED } from './guess.ts';
import { tablesOf } from './layouts.ts';
import { lossOf } from './names.ts';
import { type Around, type Placed, placeGroup } from './placed.ts';
import { isCommand, isComment, isProgram } from './source-text.ts';
import type { Template } from './templates.ts';
import { means } from './words.ts';

/** How a text was read. */
export type ReadBy = 'layout' | 'words' | 'guess';

/** The log in a text. */
export interface TextLog {
  readonly by: ReadBy;
  /** One sentence: how it was read, and what to do where that is wrong. */
  readonly statement: string;
  readonly stepUnit: StepUnit;
  /** The step at which training is to end, where its lines print it. */
  readonly planned?: number;
  readonly series: readonly LoggedSeries[];
  readonly notes: readonly string[];
  readonly restarts: Placed['restarts'];
  /** The name of the series that is judged. */
  readonly loss: string;
  /** Records of the loss. */
  readonly rows: number;
  /** The tables that tell the loss. */
  readonly members: readonly Described[];
  /** Tables whose lines have no number in the place of the loss. */
  readonly broken: ReadonlyMap<Template, Broken>;
  /** All tables that it is of. */
  readonly used: ReadonlySet<Template>;
}

/** A log that counts its rows has at least so many. */
const LEAST_ROWS = 5;

const slotNamed =
  (name: string): SlotOf =>
  ({ slots }) =>
    slots.find((one) => one.use === 'value' && one.name === name);

function place(group: Group, around: Around, clock?: Placed): PlacedGroup | undefined {
  const placed = placeGroup(group.members, around, slotNamed(group.name), clock);
  return placed && { group, placed };
}

/** The sample of a table as the file has it. */
const sampleOf = ({ template }: Described): string => template.shown.trim().slice(0, 160);

const firstLine = (one: Described): number => one.template.line.finish().at(0) ?? 0;

/** The text as a whole. */
interface Text {
  /** Its lines, blank ones left out. */
  readonly lines: number;
  /** How many of them repeat at least half as often as some rows. */
  repeating(rows: number): number;
}

function wordsLog(all: readonly Described[], { lines, repeating }: Text): TextLog | undefined {
  const around: Around = {
    all,
    mayFollow: true,
    isLogOfRows: (members, axis) =>
      isLogOfRows(members, axis) &&
      (axis.unit !== 'row' || repeating(axis.step.length) >= LEAST_SHARE * lines),
  };
  const log = byWords(all, around);
  if (log === undefined) return undefined;
  const found = finished(log, log.series, log.used, 'words');
  const broken = new Map([...log.broken].map(([{ template }, one]) => [template, one]));
  return { ...found, notes: [...found.notes, ...log.notes], broken };
}

/** How many tables a text's own columns are chosen from by their number: `--map loss=#3`. */
const BY_NUMBER = /^#([1-9]\d{0,2})$/;

/** The layout that names like `#3` make of the table with the most rows; undefined where no name is one. */
function layoutByNumbers(
  roles: ReadonlyMap<string, Role>,
  all: readonly Described[],
): TextLayout | undefined {
  const fields = [...roles].flatMap(([name, role]): LayoutField[] => {
    const at = Number(BY_NUMBER.exec(name)?.[1] ?? Number.NaN);
    const known = FIELD_ROLES.find((one) => one === role);
    return Number.isNaN(at) ? [] : [{ at, name, ...(known === undefined ? {} : { role: known }) }];
  });
  const furthest = Math.max(...fields.map(({ at }) => at));
  const base = all
    .filter(({ slots }) => slots.length >= furthest)
    .reduce<Described | undefined>(
      (most, one) => (most === undefined || one.rows.count > most.rows.count ? one : most),
      undefined,
    );
  if (fields.length === 0 || base === undefined) return undefined;
  return { name: 'by numbers', sample: base.template.shown, fields };
}

/** The log as a layout says; undefined where no line is of it. */
function byLayout(layout: TextLayout, all: readonly Described[]): TextLog | undefined {
  const members = tablesOf(layout, all);
  const [base] = members;
  const loss =
    base?.slots.find(({ loss }) => loss === 'train') ?? base?.slots.find(({ loss }) => loss === 'eval');
  if (base === undefined || loss === undefined) return undefined;
  const placed = place({ name: loss.name, of: loss.loss!, members }, { all, mayFollow: true, isLogOfRows });
  if (placed === undefined) return undefined;
  const names = new Names();
  for (const one of placed.placed.series) {
    const quantity = one.name === loss.name ? `${loss.loss === 'eval' ? 'eval' : 'train'} loss` : undefined;
    names.add({ ...one, ...(quantity === undefined ? {} : { quantity }) }, 'printed');
  }
  return finished(placed, names.series, new Set(members), 'layout', layout.name);
}

function finished(
  { group, placed }: PlacedGroup,
  series: readonly LoggedSeries[],
  used: ReadonlySet<Described>,
  by: ReadBy,
  layout = '',
): TextLog {
  const sample = group.members.reduce((first, one) => (firstLine(one) < firstLine(first) ? one : first));
  const counter = placed.stepUnit === 'row' ? 'line' : `"${placed.axisName}"`;
  const numbers = counted(placed.rows, 'number');
  const shown = `line ${formatCount(firstLine(sample))}: ${sampleOf(sample)}`;
  const statement =
    by === 'layout'
      ? `read by the layout ${layout}: "${group.name}" by ${counter}, ${numbers} (${shown})`
      : by === 'words'
        ? `read as text: "${group.name}" by ${counter}, ${counted(placed.rows, 'point')} (${shown})`
        : `read by guess: ${numbers} that fall, ${group.name === '' ? 'without a name' : `"${group.name}"`}, counted by ${counter} (${shown}); --map loss=NAME chooses another`;
  return {
    by,
    statement,
    stepUnit: placed.stepUnit,
    ...(placed.planned === undefined ? {} : { planned: placed.planned }),
    restarts: placed.restarts,
    series,
    notes: [statement, ...placed.notes],
    loss: group.name,
    rows: placed.rows,
    members: group.members,
    broken: new Map(),
    used: new Set([...used].map(({ template }) => template)),
  };
}

/** What a user says of the lines. */
export interface Chosen {
  readonly layouts: readonly TextLayout[];
  /** Roles by the names of series; `#3` is the third number of a line. */
  readonly roles: ReadonlyMap<string, Role>;
}

/** Share of the lines that rows without a counter have to be part of a repeating text. */
const LEAST_SHARE = 0.5;

/** Whether rows without a counter may be a log; how much of the text they are is asked later. */
const isLogOfRows = (_: readonly Kind[], { step }: Axis): boolean => step.length >= LEAST_ROWS;

/** A loss that no word names, found by its numbers. */
function byNumbers(all: readonly Described[], lines: number): TextLog | undefined {
  let best: { group: Group; placed: Placed; score: number } | undefined;
  const around: Around = { all, mayFollow: true, isLogOfRows };
  for (const members of families(all, lines)) {
    if (members.some(isOfThings)) continue;
    const rows = rowsOf(members);
    for (const { slot, score, name } of candidates(rows)) {
      if (best !== undefined && score <= best.score) continue;
      const called = name === '' ? `#${slot(members[0]!)!.column + 1}` : name;
      const named = members.map((one) => withName(one, slot(one), called));
      const placed = place({ name: called, of: 'train', members: named }, around);
      if (placed === undefined || placed.placed.rows < LEAST_GUESSED) continue;
      if (placed.placed.stepUnit === 'row' || placed.placed.announced) continue;
      best = { ...placed, score };
    }
  }
  if (best === undefined) return undefined;
  const { group, placed } = best;
  const names = new Names();
  for (const one of placed.series)
    names.add(one.name === group.name ? { ...one, quantity: 'train loss' } : one, 'printed');
  return finished(best, names.series, new Set(group.members), 'guess');
}

/** Share of the lines of a file of bare numbers that are one number. */
const LEAST_BARE = 0.9;

/** A file's name without what is at most five letters after a dot at its end: `train_loss.txt`, `loss.csv.gz`. */
function withoutExtensions(name: string): string {
  const end = extname(name);
  return end.length > 1 && end.length <= 6 ? withoutExtensions(name.slice(0, -end.length)) : name;
}

/** A number a line, and a loss in the name of the file: `train_loss.txt`. */
function byFileName(all: readonly Described[], lines: number, path: string): TextLog | undefined {
  const name = withoutExtensions(basename(path));
  const of = lossOf(name.replace(/[^A-Za-z]+/g, ' ').trim());
  if (of === undefined) return undefined;
  const members = all
    .filter(({ slots, rows }) => slots.length === 1 && slots[0]!.name === '' && rows.count > 0)
    .map((one) => withName(one, one.slots[0], name));
  const rows = members.reduce((sum, one) => sum + one.rows.count, 0);
  if (rows < LEAST_GUESSED || rows < LEAST_BARE * lines) return undefined;
  const found = place({ name, of, members }, { all, mayFollow: false, isLogOfRows });
  if (found === undefined) return undefined;
  const log = finished(found, found.placed.series, new Set(members), 'guess');
  const statement = `read by guess: ${counted(rows, 'number')}, one a line, by the name of the file`;
  return { ...log, statement, notes: [statement, ...found.placed.notes] };
}

/** A table with another name for one of its slots. */
const withName = (one: Described, slot: Slot | undefined, name: string): Described => ({
  ...one,
  slots: one.slots.map((own) => (own === slot ? { ...own, name } : own)),
});

/** What the recorder and the guard print on stderr is not what the trainer printed. */
const OWN_WORDS = 'clippy-diag: ';

/** Whether a line may be of a log: no comment, and not our own. */
function isPrinted(sample: Buffer): boolean {
  const text = sample.toString('utf8');
  const start = text.length - text.trimStart().length;
  return !isComment(sample, start, sample.length) && !text.includes(OWN_WORDS);
}

/**
 * The log in the tables of a text; undefined where none of them is one.
 *
 * @param lines how many lines the text has, blank ones left out
 * @param chosen layouts and columns that a user names, which come first
 * @param path whose name may say what bare numbers are
 */
export function logIn(
  templates: readonly Template[],
  lines: number,
  chosen: Partial<Chosen> = {},
  path = '',
): TextLog | undefined {
  const log = unpackedLogIn(templates, lines, chosen, path);
  return log && { ...log, series: packedSeries(log.series) };
}

/** Series in little memory; those that share their steps go on to. */
function packedSeries(series: readonly LoggedSeries[]): readonly LoggedSeries[] {
  const made = new Map<Column, Column>();
  const packed = (column: Column): Column => {
    const known = made.get(column) ?? joinedOf([column]);
    made.set(column, known);
    return known;
  };
  return series.map((one) => ({
    ...one,
    step: packed(one.step),
    value: packed(one.value),
    ...(one.wallTime && { wallTime: packed(one.wallTime) }),
    ...(one.line && { line: packed(one.line) }),
  }));
}

function unpackedLogIn(
  templates: readonly Template[],
  lines: number,
  { layouts = [], roles = new Map() }: Partial<Chosen>,
  path: string,
): TextLog | undefined {
  const printed = templates.filter(({ sample }) => isPrinted(sample)).map(describe);
  const all = withEvaluations(printed);
  const repeating = (rows: number): number =>
    templates.reduce((sum, { order }) => (order.length * 2 >= rows ? sum + order.length : sum), 0);
  const chosen = layoutByNumbers(roles, all);
  for (const layout of [...(chosen === undefined ? [] : [chosen]), ...layouts]) {
    const log = byLayout(layout, all);
    if (log !== undefined) return log;
  }
  const told = all.filter(({ text }) => !isProgram(text) && !isCommand(text));
  return wordsLog(all, { lines, repeating }) ?? byNumbers(told, lines) ?? byFileName(all, lines, path);
}

/** What becomes of the lines of each table of a text. */
export function* fatesOf(
  all: readonly Template[],
  log: TextLog | undefined,
): Generator<[Waiting, 'record' | 'passed-over' | 'refused-value']> {
  for (const one of all) {
    const broken = log?.broken.get(one);
    const isRecord = log?.used.has(one) === true && broken?.missing !== false;
    yield [one.waits, isRecord ? 'record' : broken === undefined ? 'passed-over' : 'refused-value'];
  }
}

/** Whether a line names a loss, though no number of it may be one. */
const namesLoss = ({ slots, text }: Described): boolean =>
  slots.some(({ loss }) => loss !== undefined) || wordsOf(text).some((word) => means(word, 'loss'));

/** The line most like a record: of a loss and a counter, or of a loss alone; undefined where no line names one. */
export function likeliestOf(all: readonly Template[]): { line: number; text: string } | undefined {
  const named = all.map(describe).filter((one) => one.slots.length > 0 && namesLoss(one));
  const best =
    named.find(({ slots }) => slots.some(({ use }) => use !== 'value' && use !== 'none')) ?? named[0];
  return best && { line: firstLine(best), text: best.template.shown };
}
