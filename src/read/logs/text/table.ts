/**
 * Which tables of a text are the log, and what their columns are: by words, or, where no word names a loss, by the
 * numbers themselves.
 */
import { basename, extname } from 'node:path';
import { counted, formatCount } from '../../../model/format-number.ts';
import { FIELD_ROLES, type LayoutField, type TextLayout } from '../../../model/layout.ts';
import type { Role, StepUnit } from '../../../model/run.ts';
import { wordsOf } from '../../../model/words.ts';
import type { LoggedSeries } from '../format.ts';
import { roleByName } from '../metric-roles.ts';
import type { Axis } from './axis.ts';
import { type Kind, rowsOf, type Slot, type SlotOf } from './cells.ts';
import { type Described, describe } from './described.ts';
import { candidates, families, LEAST_GUESSED } from './guess.ts';
import { tablesOf } from './layouts.ts';
import { lossOf } from './names.ts';
import { type Around, byCounter, type Placed, placeGroup } from './placed.ts';
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
  readonly series: readonly LoggedSeries[];
  readonly notes: readonly string[];
  /** The name of the series that is judged. */
  readonly loss: string;
  /** Records of the loss. */
  readonly rows: number;
  /** The tables that tell the loss. */
  readonly members: readonly Described[];
  /** All tables that it is of. */
  readonly used: ReadonlySet<Template>;
}

/** Rows that tell one loss. */
interface Group {
  readonly name: string;
  readonly of: 'train' | 'eval';
  readonly members: Described[];
  rows: number;
}

/** Rows below which a series does not outrank one of so many more. */
const FEW_ROWS = 3;
const MANY_MORE = 10;
/** A log that counts its rows has at least so many. */
const LEAST_ROWS = 5;

/** How rows are counted: groups that count differently tell different things. */
const axisClass = ({ slots }: Described): string =>
  slots.some(({ use }) => use === 'step' || use === 'count')
    ? 'step'
    : slots.some(({ use }) => use === 'epoch')
      ? 'epoch'
      : 'row';

const slotNamed =
  (name: string): SlotOf =>
  ({ slots }) =>
    slots.find((one) => one.use === 'value' && one.name === name);

/** Tables with a loss by its name, those of one loss and one way to count together. */
function groupsOf(all: readonly Described[]): Group[] {
  const groups = new Map<string, Group>();
  for (const one of all) {
    const losses = one.slots.filter(({ loss }) => loss !== undefined);
    const best = losses.find(({ loss }) => loss === 'train') ?? losses[0];
    if (best === undefined) continue;
    const key = `${axisClass(one)} ${best.loss} ${best.name.toLowerCase()}`;
    const group = groups.get(key) ?? { name: best.name, of: best.loss!, members: [], rows: 0 };
    groups.set(key, group);
    group.members.push(one);
    group.rows += one.rows.count;
  }
  return [...groups.values()];
}

/** A group with its places. */
interface PlacedGroup {
  readonly group: Group;
  readonly placed: Placed;
}

function place(group: Group, around: Around, clock?: Placed): PlacedGroup | undefined {
  const placed = placeGroup(group.members, around, slotNamed(group.name), clock);
  return placed && { group, placed };
}

/** Whether a name says that its loss is of training: `Train loss`. */
const isTrainingLoss = ({ name, loss }: Described['slots'][number]): boolean =>
  loss === 'train' && wordsOf(name).some((word) => means(word, 'train'));

/**
 * Where a log prints its `Train loss`, a loss without that word on a line of metrics, and without a counter, is of an
 * evaluation: `[Metrics] AUC: 0.81 - logloss: 0.44`.
 */
function asEvaluation(one: Described): Described {
  const { slots } = one;
  const isOfMetrics =
    axisClass(one) === 'row' &&
    !slots.some(isTrainingLoss) &&
    slots.some(({ use, name }) => use === 'value' && roleByName(name) === 'metric');
  if (!isOfMetrics) return one;
  return {
    ...one,
    slots: slots.map((slot) =>
      slot.loss === 'train' ? { ...slot, name: `eval ${slot.name}`, loss: 'eval' } : slot,
    ),
  };
}

/** Training before evaluation, then what has more rows; a few rows never outrank many. */
function byImportance(a: PlacedGroup, b: PlacedGroup): number {
  const [one, two] = [a.group, b.group];
  const isFew = (x: Group, y: Group): boolean => x.rows < FEW_ROWS && y.rows >= MANY_MORE * x.rows;
  if (isFew(one, two)) return 1;
  if (isFew(two, one)) return -1;
  const isTrained = Number(two.of === 'train') - Number(one.of === 'train');
  return isTrained || byCounter(a.placed, b.placed) || two.rows - one.rows;
}

/** Series of several groups under names of their own. */
class Names {
  readonly series: LoggedSeries[] = [];
  private readonly taken = new Set<string>();

  add(one: LoggedSeries, label: string): void {
    const name = this.taken.has(one.name) ? `${label} ${one.name}` : one.name;
    if (this.taken.has(name) || one.value.length === 0) return;
    this.taken.add(name);
    this.series.push({ ...one, name });
  }
}

/** Other tables that say something known: rates, norms, metrics. */
const tellsMeasure = ({ slots }: Described): boolean =>
  slots.some(({ use, name }) => use === 'value' && roleByName(name) !== 'other');

/** The sample of a table as the file has it. */
const sampleOf = ({ template }: Described): string => template.sample.toString('utf8').trim().slice(0, 160);

const firstLine = (one: Described): number => one.template.line.finish().at(0) ?? 0;

/** The text as a whole. */
interface Text {
  /** Its lines, blank ones left out. */
  readonly lines: number;
  /** How many of them repeat at least half as often as some rows. */
  repeating(rows: number): number;
}

function byWords(described: readonly Described[], text: Text): TextLog | undefined {
  const all = described.some(({ rows, slots }) => rows.count >= FEW_ROWS && slots.some(isTrainingLoss))
    ? described.map(asEvaluation)
    : described;
  const around: Around = { all, mayFollow: true, isLogOfRows };
  const placed = groupsOf(all).flatMap((group) => {
    const found = place(group, around);
    return found === undefined || !isLog(found, text) ? [] : [found];
  });
  placed.sort(byImportance);
  const [clock, ...others] = placed;
  if (clock === undefined) return undefined;
  const names = new Names();
  for (const one of clock.placed.series) names.add(one, '');
  const used = new Set<Described>(clock.group.members);
  const addOf = (group: Group, label: string): void => {
    for (const one of place(group, around, clock.placed)?.placed.series ?? []) names.add(one, label);
    for (const member of group.members) used.add(member);
  };
  for (const { group } of others) addOf(group, axisClass(group.members[0]!));
  for (const one of all)
    if (!used.has(one) && tellsMeasure(one))
      addOf({ name: '', of: 'train', members: [one], rows: one.rows.count }, 'printed');
  return finished(clock, names.series, used, 'words');
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
  return { name: 'by numbers', sample: base.template.sample.toString('utf8'), fields };
}

/** The log as a layout says; undefined where no line is of it. */
function byLayout(layout: TextLayout, all: readonly Described[]): TextLog | undefined {
  const members = tablesOf(layout, all);
  const [base] = members;
  const loss =
    base?.slots.find(({ loss }) => loss === 'train') ?? base?.slots.find(({ loss }) => loss === 'eval');
  if (base === undefined || loss === undefined) return undefined;
  const rows = members.reduce((sum, one) => sum + one.rows.count, 0);
  const placed = place(
    { name: loss.name, of: loss.loss!, members, rows },
    { all, mayFollow: true, isLogOfRows },
  );
  if (placed === undefined) return undefined;
  const names = new Names();
  for (const one of placed.placed.series) {
    const quantity = one.name === loss.name ? `${loss.loss === 'eval' ? 'eval' : 'train'} loss` : undefined;
    names.add({ ...one, ...(quantity === undefined ? {} : { quantity }) }, 'printed');
  }
  return finished(placed, names.series, new Set(members), 'layout', layout.name);
}

function finished(
  clock: PlacedGroup,
  series: readonly LoggedSeries[],
  used: ReadonlySet<Described>,
  by: ReadBy,
  layout = '',
): TextLog {
  const { group, placed } = clock;
  const sample = group.members.reduce((first, one) => (firstLine(one) < firstLine(first) ? one : first));
  const counter = placed.stepUnit === 'row' ? 'line' : `"${placed.axisName}"`;
  const numbers = counted(placed.rows, 'number');
  const shown = `line ${formatCount(firstLine(sample))}: ${sampleOf(sample)}`;
  const statement =
    by === 'layout'
      ? `read by the layout ${layout}: "${group.name}" by ${counter}, ${numbers} (${shown})`
      : by === 'words'
        ? `read by words: "${group.name}" by ${counter}, ${numbers} (${shown})`
        : `read by guess: ${numbers} that fall, ${group.name === '' ? 'without a name' : `"${group.name}"`}, counted by ${counter} (${shown}); --map loss=NAME chooses another`;
  return {
    by,
    statement,
    stepUnit: placed.stepUnit,
    series,
    notes: [statement, ...placed.notes],
    loss: group.name,
    rows: placed.rows,
    members: group.members,
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

/** A log whose loss is called a cost has at least so many rows: more than a bill. */
const LEAST_COSTS = 8;

/** Whether the rows of a table are things of their own: trials of a search, items of a list. */
const isOfThings = ({ slots }: Described): boolean =>
  slots[0] !== undefined && wordsOf(slots[0].name).some((word) => means(word, 'thing'));

/** Whether rows with a loss by its name are records of a training. */
function isLog({ placed, group }: PlacedGroup, text: Text): boolean {
  const values = placed.series.find(({ name }) => name === group.name)?.value;
  // Whole numbers are counts of what was lost; money has costs too.
  if (values?.every(Number.isInteger) !== false || group.members.some(isOfThings)) return false;
  const isOfRows = placed.stepUnit === 'row';
  if (/^costs?$/i.test(group.name) && (placed.rows < LEAST_COSTS || isOfRows)) return false;
  return !isOfRows || text.repeating(placed.rows) >= LEAST_SHARE * text.lines;
}

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
      const placed = place({ name: called, of: 'train', members: named, rows: rows.count }, around);
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
  const found = place({ name, of, members, rows }, { all, mayFollow: false, isLogOfRows });
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

/** Whether a line may be of a log: no source, comment, command, and not our own. */
function isPrinted(sample: Buffer): boolean {
  const text = sample.toString('utf8');
  const start = text.length - text.trimStart().length;
  return (
    !isComment(sample, start, sample.length) &&
    !isProgram(text) &&
    !isCommand(text) &&
    !text.includes(OWN_WORDS)
  );
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
  { layouts = [], roles = new Map() }: Partial<Chosen> = {},
  path = '',
): TextLog | undefined {
  const all = templates.filter(({ kind, sample }) => kind.length > 0 && isPrinted(sample)).map(describe);
  const repeating = (rows: number): number =>
    templates.reduce((sum, { order }) => (order.length * 2 >= rows ? sum + order.length : sum), 0);
  const chosen = layoutByNumbers(roles, all);
  for (const layout of [...(chosen === undefined ? [] : [chosen]), ...layouts]) {
    const log = byLayout(layout, all);
    if (log !== undefined) return log;
  }
  return byWords(all, { lines, repeating }) ?? byNumbers(all, lines) ?? byFileName(all, lines, path);
}
