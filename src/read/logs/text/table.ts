/**
 * Which tables of a text are the log, and what their columns are: by words, or, where no word names a loss, by the
 * numbers themselves.
 */
import { counted, formatCount } from '../../../model/format-number.ts';
import { FIELD_ROLES, type LayoutField, type TextLayout } from '../../../model/layout.ts';
import type { Role, StepUnit } from '../../../model/run.ts';
import { wordsOf } from '../../../model/words.ts';
import type { LoggedSeries } from '../format.ts';
import { roleByName } from '../metric-roles.ts';
import { type Axis, axisOf, lastBefore, slotOfUse, subset, withPlaces } from './axis.ts';
import { CELL, cellsOf, type Described, packed, presence, type Rows, rowsOf, type SlotOf } from './cells.ts';
import { candidates, families, fromEnd } from './guess.ts';
import { tablesOf } from './layouts.ts';
import { nameSlots } from './names.ts';
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
/** A log with an axis has at least so many. */
const LEAST_PLACED = 2;

/** How rows are counted: groups that count differently tell different things. */
const axisClass = ({ named }: Described): string =>
  named.some(({ use }) => use === 'step' || use === 'batch')
    ? 'step'
    : named.some(({ use }) => use === 'epoch')
      ? 'epoch'
      : 'row';

const slotNamed =
  (name: string): SlotOf =>
  ({ named }) =>
    named.find((one) => one.use === 'value' && one.name === name)?.slot;

/** Tables with a loss by its name, those of one loss and one way to count together. */
function groupsOf(all: readonly Described[]): Group[] {
  const groups = new Map<string, Group>();
  for (const one of all) {
    const losses = one.named.filter(({ loss }) => loss !== undefined);
    const best = losses.find(({ loss }) => loss === 'train') ?? losses[0];
    if (best === undefined) continue;
    const key = `${axisClass(one)} ${best.loss} ${best.name.toLowerCase()}`;
    const group = groups.get(key) ?? { name: best.name, of: best.loss!, members: [], rows: 0 };
    groups.set(key, group);
    group.members.push(one);
    group.rows += one.rows;
  }
  return [...groups.values()];
}

/** Which process printed each row; undefined where one did, or lines do not say. */
function ranksOf(rows: Rows): Float64Array | undefined {
  const rank = cellsOf(rows, slotOfUse('rank'));
  if (!rank.every(Number.isFinite)) return undefined;
  const ranks = new Set(rank);
  return ranks.size > 1 && ranks.size * 2 <= rank.length ? rank : undefined;
}

/** Whether steps go on as those of a log: at least two places, most of them behind the one before. */
function goesOn({ step, unit }: Axis, isParallel: boolean): boolean {
  if (unit === 'row') return step.length >= LEAST_ROWS;
  if (step.length < LEAST_PLACED) return false;
  let ahead = 0;
  let changes = 0;
  for (let k = 1; k < step.length; k++) {
    if (step[k] !== step[k - 1]) changes++;
    if (step[k]! > step[k - 1]!) ahead++;
  }
  return changes > 0 && (isParallel || ahead * 2 > changes);
}

/** Rows of several ranks at one step as their mean; shown at the first line of the step. */
function meansOfRanks(axis: Axis, cells: Float64Array, has: Uint8Array | undefined) {
  const sums = new Map<number, { sum: number; count: number; row: number }>();
  for (let row = 0; row < cells.length; row++) {
    if (has !== undefined && has[row] !== CELL.number) continue;
    const step = axis.step[row]!;
    const found = sums.get(step);
    if (found === undefined) sums.set(step, { sum: cells[row]!, count: 1, row });
    else {
      found.sum += cells[row]!;
      found.count++;
    }
  }
  return [...sums.values()].map(({ sum, count, row }) => ({ value: sum / count, row }));
}

/** A column of rows as a series. */
function seriesOf(name: string, rows: Rows, axis: Axis, slot: SlotOf, isParallel: boolean): LoggedSeries {
  const cells = cellsOf(rows, slot);
  const has = presence(rows, slot);
  const none = { missing: 0, refused: 0 };
  if (isParallel) {
    const means = meansOfRanks(axis, cells, has);
    return {
      name,
      step: packed(means.map(({ row }) => axis.step[row]!)),
      value: packed(means.map(({ value }) => value)),
      line: Uint32Array.from(means, ({ row }) => rows.line[row]!),
      ...none,
    };
  }
  if (has === undefined)
    return {
      name,
      step: packed(axis.step),
      value: packed(cells),
      line: Uint32Array.from(rows.line),
      ...none,
    };
  const kept = Uint32Array.from(has.keys()).filter((row) => has[row] === CELL.number);
  const gaps = new Uint32Array(kept.length + 1);
  let missing = 0;
  let at = 0;
  for (let row = 0; row < has.length; row++) {
    if (has[row] === CELL.number) at++;
    else if (has[row] === CELL.missing) {
      gaps[at]!++;
      missing++;
    }
  }
  return {
    name,
    step: Float64Array.from(kept, (row) => axis.step[row]!),
    value: Float64Array.from(kept, (row) => cells[row]!),
    line: Uint32Array.from(kept, (row) => rows.line[row]!),
    missing,
    refused: 0,
    ...(missing === 0 ? {} : { gaps }),
  };
}

interface PlacedGroup {
  readonly group: Group;
  readonly rows: Rows;
  readonly axis: Axis;
  readonly isParallel: boolean;
}

/** Rows without those that were drawn again in the same line, and without copies of the row before. */
function withoutCopies(rows: Rows, axis: Axis): Uint32Array | undefined {
  const { step, unit } = axis;
  if (unit === 'row') return undefined;
  const slots = [...new Set(rows.members.flatMap(({ named }) => named.map(({ name }) => name)))];
  let columns: Float64Array[] | undefined;
  const kept: number[] = [];
  for (let row = 0; row < rows.count; row++) {
    const before = kept.at(-1);
    if (before === undefined || step[row] !== step[before]) {
      kept.push(row);
      continue;
    }
    columns ??= slots.map((name) => cellsOf(rows, slotNamed(name)));
    const isAgain = rows.line[row] === rows.line[before];
    const isCopy = columns.every((cells) => Object.is(cells[row], cells[before]));
    if (isAgain) kept[kept.length - 1] = row;
    else if (!isCopy) kept.push(row);
  }
  return kept.length === rows.count ? undefined : Uint32Array.from(kept);
}

function place(group: Group, all: readonly Described[], anchor: SlotOf): PlacedGroup | undefined {
  const whole = rowsOf(group.members);
  const rank = ranksOf(whole);
  const isParallel = rank !== undefined;
  const printed = axisOf(whole, all, anchor, rank);
  const kept = isParallel ? undefined : withoutCopies(whole, printed);
  const rows = kept === undefined ? whole : subset(whole, kept);
  const axis = isParallel
    ? printed
    : withPlaces(
        kept === undefined
          ? printed
          : { ...printed, step: Float64Array.from(kept, (row) => printed.step[row]!) },
      );
  return goesOn(axis, isParallel) ? { group, rows, axis, isParallel } : undefined;
}

/** Rows of another kind on the axis of the log: by the same counter, else at the last step before them. */
function onClock(one: PlacedGroup, clock: PlacedGroup): PlacedGroup {
  const { axis, rows } = one;
  const isSame =
    axis.unit === clock.axis.unit &&
    axis.unit !== 'row' &&
    axis.name.toLowerCase() === clock.axis.name.toLowerCase() &&
    clock.axis.notes.length === axis.notes.length;
  if (isSame) return one;
  const step = lastBefore(rows.order, { order: clock.rows.order, value: clock.axis.step });
  const first = clock.axis.step[0]!;
  return {
    ...one,
    isParallel: false,
    axis: {
      step: step.map((at) => (Number.isNaN(at) ? first : at)),
      unit: clock.axis.unit,
      name: clock.axis.name,
      notes: [],
    },
  };
}

/** Whether a name says that its loss is of training: `Train loss`. */
const isTrainingLoss = ({ name, loss }: Described['named'][number]): boolean =>
  loss === 'train' && wordsOf(name).some((word) => means(word, 'train'));

/**
 * Where a log prints its `Train loss`, a loss without that word on a line of metrics, and without a counter, is of an
 * evaluation: `[Metrics] AUC: 0.81 - logloss: 0.44`.
 */
function asEvaluation(one: Described): Described {
  const { named } = one;
  const isOfMetrics =
    axisClass(one) === 'row' &&
    !named.some(isTrainingLoss) &&
    named.some(({ use, name }) => use === 'value' && roleByName(name) === 'metric');
  if (!isOfMetrics) return one;
  return {
    ...one,
    named: named.map((slot) =>
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
  return Number(two.of === 'train') - Number(one.of === 'train') || two.rows - one.rows;
}

/** Values of one table or group, each under its own name. */
function valuesOf({ rows, axis, isParallel }: PlacedGroup): LoggedSeries[] {
  const names = new Set(
    rows.members.flatMap(({ named }) =>
      named.flatMap(({ use, name }) => (use === 'value' && name !== '' ? [name] : [])),
    ),
  );
  return [...names].map((name) => seriesOf(name, rows, axis, slotNamed(name), isParallel));
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
const tellsMeasure = ({ named }: Described): boolean =>
  named.some(({ use, name }) => use === 'value' && roleByName(name) !== 'other');

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
  const all = described.some(({ rows, named }) => rows >= FEW_ROWS && named.some(isTrainingLoss))
    ? described.map(asEvaluation)
    : described;
  const placed = groupsOf(all).flatMap((group) => {
    const found = place(group, all, slotNamed(group.name));
    return found === undefined || !isLog(found, text) ? [] : [found];
  });
  placed.sort(byImportance);
  const [clock, ...others] = placed;
  if (clock === undefined) return undefined;
  const names = new Names();
  for (const one of valuesOf(clock)) names.add(one, '');
  const used = new Set<Described>(clock.group.members);
  for (const one of others) {
    for (const series of valuesOf(onClock(one, clock))) names.add(series, axisClass(one.group.members[0]!));
    for (const member of one.group.members) used.add(member);
  }
  for (const one of all) {
    if (used.has(one) || !tellsMeasure(one)) continue;
    const group: Group = { name: '', of: 'train', members: [one], rows: one.rows };
    const rows = rowsOf([one]);
    const axis = axisOf(rows, all, () => undefined, undefined);
    const placedOne = onClock({ group, rows, axis, isParallel: false }, clock);
    for (const series of valuesOf(placedOne)) names.add(series, 'printed');
    used.add(one);
  }
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
    .filter(({ named }) => named.length >= furthest)
    .reduce<Described | undefined>(
      (most, one) => (most === undefined || one.rows > most.rows ? one : most),
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
    base?.named.find(({ loss }) => loss === 'train') ?? base?.named.find(({ loss }) => loss === 'eval');
  if (base === undefined || loss === undefined) return undefined;
  const rows = members.reduce((sum, one) => sum + one.rows, 0);
  const group: Group = { name: loss.name, of: loss.loss!, members, rows };
  const placed = place(group, all, slotNamed(loss.name));
  if (placed === undefined) return undefined;
  const names = new Names();
  for (const one of valuesOf(placed)) {
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
  const { group, axis } = clock;
  const sample = group.members.reduce((first, one) => (firstLine(one) < firstLine(first) ? one : first));
  const counter = axis.unit === 'row' ? 'line' : `"${axis.name}"`;
  const numbers = counted(clock.rows.count, 'number');
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
    stepUnit: axis.unit,
    series,
    notes: [statement, ...axis.notes],
    loss: group.name,
    rows: clock.rows.count,
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
const isOfThings = ({ named }: Described): boolean =>
  named[0] !== undefined && wordsOf(named[0].name).some((word) => means(word, 'thing'));

/** Whether rows with a loss by its name are records of a training. */
function isLog({ rows, axis, group }: PlacedGroup, text: Text): boolean {
  const values = cellsOf(rows, slotNamed(group.name));
  // Whole numbers are counts of what was lost; money has costs too.
  if (values.every((one) => Number.isInteger(one)) || rows.members.some(isOfThings)) return false;
  if (/^costs?$/i.test(group.name) && (rows.count < LEAST_COSTS || axis.unit === 'row')) return false;
  if (axis.unit !== 'row') return true;
  return text.repeating(rows.count) >= LEAST_SHARE * text.lines;
}

/** A loss that no word names, found by its numbers. */
function byNumbers(all: readonly Described[], lines: number): TextLog | undefined {
  let best: { placed: PlacedGroup; slot: SlotOf; score: number } | undefined;
  for (const members of families(all, lines)) {
    const [base] = members as [Described];
    if (members.some(isOfThings)) continue;
    const group: Group = { name: '', of: 'train', members, rows: 0 };
    const placed = place(group, all, fromEnd(base, base.named.length - 1));
    if (placed === undefined || placed.axis.unit === 'row' || placed.axis.announced === true) continue;
    for (const { slot, score, name } of candidates(placed.rows)) {
      if (best !== undefined && score <= best.score) continue;
      const named = { ...group, name: name === '' ? `#${slot(base)! + 1}` : name, rows: placed.rows.count };
      best = { placed: { ...placed, group: named }, slot, score };
    }
  }
  if (best === undefined) return undefined;
  const { placed, slot } = best;
  const names = new Names();
  names.add(
    {
      ...seriesOf(placed.group.name, placed.rows, placed.axis, slot, placed.isParallel),
      quantity: 'train loss',
    },
    '',
  );
  for (const one of valuesOf(placed)) if (one.name !== placed.group.name) names.add(one, 'printed');
  return finished(placed, names.series, new Set(placed.group.members), 'guess');
}

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
 */
export function logIn(
  templates: readonly Template[],
  lines: number,
  { layouts = [], roles = new Map() }: Partial<Chosen> = {},
): TextLog | undefined {
  const all = templates
    .filter(({ kind, sample }) => kind.length > 0 && isPrinted(sample))
    .map(
      (template): Described => ({
        template,
        named: nameSlots(template),
        rows: template.order.length,
      }),
    );
  const repeating = (rows: number): number =>
    templates.reduce((sum, { order }) => (order.length * 2 >= rows ? sum + order.length : sum), 0);
  const chosen = layoutByNumbers(roles, all);
  for (const layout of [...(chosen === undefined ? [] : [chosen]), ...layouts]) {
    const log = byLayout(layout, all);
    if (log !== undefined) return log;
  }
  return byWords(all, { lines, repeating }) ?? byNumbers(all, lines);
}
