/**
 * Records of training among printed lines of any layout: lines of one skeleton (the same names in the same order) that
 * repeat, with an axis that goes on and the name of a loss. What they say is kept while the lines stream by; which of
 * them are the log is decided at the end, when it is known what repeats.
 */

import type { Column } from '../../model/column.ts';
import { counted, formatCount } from '../../model/format-number.ts';
import { isLossLike, type StepUnit } from '../../model/run.ts';
import { wordsOf } from '../../model/words.ts';
import { nothingWaits, type Waiting } from '../bytes/lines.ts';
import type { LoggedSeries } from './format.ts';
import { prefixRank, recordStart } from './line-prefix.ts';
import { ABOUT, CELL, type LineScanner, lineScanner, SLOT } from './line-scanner.ts';
import { LineShapes } from './line-shapes.ts';
import {
  assignRoles,
  EVAL_WORDS,
  isErrorMeasure,
  isRankingMeasure,
  namesLossValue,
  roleByName,
} from './metric-roles.ts';
import { brokenLines } from './printed-broken.ts';
import { Evaluations, evaluationKey, tellsEpoch, withoutRuns } from './printed-evaluations.ts';
import { LINE_COLUMN, ORDER_COLUMN, RANK_COLUMN, rowsOfTable, type Skeleton } from './printed-skeleton.ts';
import { rowTable } from './row-table.ts';
import { cleanName, type NamedSlot, nameSlots, type RawSlot } from './slot-names.ts';
import type { Axis } from './text/axis.ts';
import type { Broken, Kind, Slot, SlotOf } from './text/cells.ts';
import { type Around, byCounter, type Placed, placeGroup } from './text/placed.ts';
import { isComment, isProgram } from './text/source-text.ts';

/** More skeletons than a log has: text of other kinds makes a new one in every line. */
const MOST_SKELETONS = 1024;
/** After so many, lines of new kinds are other text. */
const MOST_TRIED = 20_000;
const SAMPLE_LENGTH = 400;
/** Bytes before a message below which they are blanks or a rank, and no stamp of a logger. */
const LEAST_PREFIX = 16;
/** Bytes of a name that are looked at. */
const LONGEST_NAME = 200;

/** What was found in the lines. */
export interface PrintedLog {
  readonly series: LoggedSeries[];
  readonly stepUnit: StepUnit;
  readonly notes: string[];
  /** Lines that are records. */
  readonly records: number;
  /** The series that are losses: a line in which one of them is no number is lost. */
  readonly losses: ReadonlySet<string>;
  /** The skeletons that tell them at the steps of training. */
  readonly main: ReadonlySet<Skeleton>;
  /** The skeletons that they are of. */
  readonly used: ReadonlySet<Skeleton>;
  /** Those of them whose lines have no number in the place of the loss. */
  readonly broken: ReadonlyMap<Skeleton, Broken>;
}

/** Where a line is in the bytes, its number, and the line as the file has it where it was made another text. */
interface LineAt {
  readonly from: number;
  readonly to: number;
  readonly line: number;
  readonly shown: string | undefined;
}

/** The line is of a skeleton, and waits for what becomes of it. */
export interface Taken {
  readonly skeleton: Skeleton;
  readonly waits: Waiting;
}

/** What a line is that differs from one before in its numbers alone. */
interface Known {
  readonly skeleton: Skeleton;
  readonly tellsEpoch: boolean;
  /** The column of each of its numbers, then those of the order and of the line. */
  readonly columns: Int32Array;
  readonly cells: Float64Array;
}
const OTHER_TEXT = { taken: undefined };

export interface PrintedLines {
  /**
   * Takes a line without its end; what it may be is known at the end. Undefined where it is no record.
   *
   * @param shown the line as the file has it, where it was made another text
   */
  add(bytes: Buffer, from: number, to: number, line: number, shown?: string): Taken | undefined;
  /**
   * Takes a line that differs from one before it in its numbers alone, without looking at it again: `undefined` in
   * `taken` where it is no record, as that one was none. False where no such line was {@link remember}ed.
   */
  again(bytes: Buffer, from: number, to: number, line: number): { taken: Taken | undefined } | false;
  /** Remembers the line that {@link add} has just taken or not, which {@link again} did not know. */
  remember(bytes: Buffer, from: number, to: number): void;
  /** The log in the lines so far; undefined where they hold none. More may be added after it. */
  finish(): PrintedLog | undefined;
  /** What became of the lines that were taken. */
  fates(
    log: PrintedLog | undefined,
  ): Iterable<readonly [Waiting, 'record' | 'passed-over' | 'refused-value']>;
  /** The line that looks most like a record, where none was taken for one. */
  likeliest(): { readonly line: number; readonly text: string } | undefined;
}

const asEvaluated = (slot: NamedSlot): NamedSlot =>
  slot.use !== 'value' || wordsOf(slot.name).some((word) => EVAL_WORDS.has(word))
    ? slot
    : { ...slot, name: `eval ${slot.name}` };
/** Whether the line that was scanned can be of use: a loss, or an axis with a metric or nothing next to it. */
function isOfUse({ count, about, kind }: LineScanner): { use: boolean; loss: boolean } {
  let loss = false;
  let lossNumbers = 0;
  let known = 0;
  for (let k = 0; k < count; k++) {
    const here = about[k]!;
    if ((here & ABOUT.loss) !== 0) {
      loss = true;
      if (kind[k] !== SLOT.lead) lossNumbers++;
    }
    if ((here & (ABOUT.axis | ABOUT.metric)) !== 0 && kind[k] !== SLOT.lead) known++;
  }
  return { use: lossNumbers > 0 || known > 0 || (loss && count > 1), loss };
}

const isWorth = ({ slots }: Skeleton): boolean => slots.some(({ use }) => use !== 'none' && use !== 'index');

export function printedLines(): PrintedLines {
  const scanner = lineScanner();
  const skeletons = new Map<number, Skeleton>();
  let tried = 0;
  let order = 0;
  const shapes = new LineShapes<Known | null>();
  /** What the line that was looked at turned out to be; undefined where it cannot be told. */
  let turnedOut: Skeleton | null | undefined;
  let best: { score: number; line: number; text: string } | undefined;

  const evaluations = new Evaluations(scanner);

  const describe = (bytes: Buffer, { from, to, line, shown }: LineAt, evaluation = false): Skeleton => {
    const raw = Array.from(
      { length: scanner.count },
      (_, k): RawSlot => ({
        kind: scanner.kind[k]!,
        // "Loss: train 0.5" may be words, where a later line will show a number.
        words: scanner.cell[k] !== CELL.number,
        text: bytes.toString(
          'utf8',
          scanner.nameFrom[k],
          Math.min(scanner.nameTo[k]!, scanner.nameFrom[k]! + LONGEST_NAME),
        ),
      }),
    );
    const table = rowTable();
    for (const name of ['order', 'line', 'rank']) table.column(name);
    const slots = nameSlots(raw).map((slot, k) => ({
      ...(evaluation ? asEvaluated(slot) : slot),
      column: slot.use === 'none' ? -1 : table.column(`${k}`),
      ofColumn: slot.use !== 'none' && raw[k]!.kind === SLOT.counter ? table.column(`of ${k}`) : -1,
    }));
    return {
      slots,
      raw: raw.map(({ kind, text, words }) => ({ kind, name: cleanName(text), words: words === true })),
      table,
      rows: rowsOfTable(table),
      rankColumn: RANK_COLUMN,
      line,
      text: bytes.toString('utf8', from, Math.min(to, from + SAMPLE_LENGTH)),
      shown: (shown ?? bytes.toString('utf8', from, to)).slice(0, SAMPLE_LENGTH),
      spare: scanner.spare,
      bar: scanner.bar,
      whole: nothingWaits(),
      refused: nothingWaits(),
      ...(evaluation ? { evaluation } : {}),
    };
  };

  /** Forgets the kinds of lines that came once: room for those that repeat. */
  const makeRoom = (): void => {
    shapes.clear();
    for (const [key, { table }] of skeletons) if (table.rows() < 2) skeletons.delete(key);
  };

  /** Remembers the line that was scanned, where each cell of it is a number. */
  const learn = (bytes: Buffer, from: number, to: number, skeleton: Skeleton): void => {
    const places: number[] = [];
    const numbers: number[] = [];
    const columns: number[] = [];
    for (let k = 0; k < scanner.count; k++) {
      const slot = skeleton.slots[k]!;
      if (slot.column < 0) continue;
      if (scanner.cell[k] !== CELL.number) return;
      places.push(scanner.numberFrom[k]! - from);
      numbers.push(scanner.value[k]!);
      columns.push(slot.column);
      if (slot.ofColumn < 0) continue;
      places.push(scanner.ofFrom[k]! - from);
      numbers.push(scanner.of[k]!);
      columns.push(slot.ofColumn);
    }
    shapes.learn(bytes, from, to, places, numbers, {
      skeleton,
      tellsEpoch: tellsEpoch(skeleton),
      columns: Int32Array.from([...columns, 0, 1]),
      cells: new Float64Array(columns.length + 2),
    });
  };

  return {
    again(bytes, from, to, line) {
      const known = shapes.find(bytes, from, to);
      if (known === undefined) return false;
      // The line after the heading of an evaluation may be of it.
      if (known !== null && evaluations.mayBegin(known.skeleton)) return false;
      order++;
      if (known === null) return OTHER_TEXT;
      const { skeleton, columns, cells } = known;
      if (known.tellsEpoch) evaluations.sawEpoch(order);
      const numbers = cells.length - 2;
      for (let k = 0; k < numbers; k++) cells[k] = shapes.values[k]!;
      cells[numbers] = order;
      cells[numbers + 1] = line;
      skeleton.table.addRow(columns, cells, line);
      return { taken: { skeleton, waits: skeleton.whole } };
    },
    remember(bytes, from, to) {
      if (turnedOut === null) shapes.learn(bytes, from, to, [], [], null);
      else if (turnedOut !== undefined) learn(bytes, from, to, turnedOut);
    },
    add(bytes, from, to, line, shown) {
      order++;
      turnedOut = null;
      const start = recordStart(bytes, from, to);
      const rank = prefixRank[0]!;
      // What a logger prints is no comment: `12:00:00 - INFO: # Validation # PSNR: 31.2`.
      if (start >= to || (start - from < LEAST_PREFIX && isComment(bytes, start, to))) return undefined;
      scanner.scan(bytes, start, to);
      const announces = evaluations.announces(bytes, start, to, order);
      if (announces) turnedOut = undefined;
      if (scanner.count === 0) return undefined;
      const { use, loss } = isOfUse(scanner);
      if (!use) return undefined;
      if (loss) {
        const score = (scanner.words & ABOUT.axis) === 0 ? 1 : 2;
        if (best === undefined || score > best.score)
          best = { score, line, text: bytes.toString('utf8', from, Math.min(to, from + SAMPLE_LENGTH)) };
      }
      let skeleton = skeletons.get(scanner.key);
      if (skeleton === undefined) {
        turnedOut = undefined;
        if (tried > MOST_TRIED) return undefined;
        tried++;
        if (skeletons.size >= MOST_SKELETONS) makeRoom();
        if (skeletons.size >= MOST_SKELETONS) return undefined;
        skeleton = describe(bytes, { from, to, line, shown });
        skeletons.set(scanner.key, skeleton);
      }
      if (!isWorth(skeleton)) return undefined;
      const evaluation = evaluations.takes(skeleton, order);
      if (evaluation) {
        const key = evaluationKey(scanner.key);
        skeleton = skeletons.get(key) ?? describe(bytes, { from, to, line, shown }, true);
        skeletons.set(key, skeleton);
      }
      const isKept = !announces && !evaluation && Number.isNaN(rank) && scanner.fixed;
      turnedOut = isKept ? skeleton : undefined;
      const { slots, table } = skeleton;
      let refused = false;
      for (let k = 0; k < scanner.count; k++) {
        const { column, ofColumn } = slots[k]!;
        if (column < 0) continue;
        if (scanner.cell[k] === CELL.refused) {
          refused = true;
          table.refuse(column, bytes.toString('utf8', scanner.textFrom[k], scanner.textTo[k]), line);
        } else if (scanner.cell[k] === CELL.missing) table.miss(column);
        else {
          table.set(column, scanner.value[k]!);
          if (ofColumn >= 0) table.set(ofColumn, scanner.of[k]!);
        }
      }
      table.set(ORDER_COLUMN, order);
      table.set(LINE_COLUMN, line);
      if (!Number.isNaN(rank)) table.set(RANK_COLUMN, rank);
      table.endRow(line);
      return { skeleton, waits: refused ? skeleton.refused : skeleton.whole };
    },
    finish() {
      withoutRuns(skeletons);
      const all = [...skeletons.values()].filter((one) => one.table.rows() > 0 && isWorth(one));
      return finishPrinted(all, order);
    },
    *fates(log) {
      for (const skeleton of skeletons.values()) {
        const used = log?.used.has(skeleton) === true;
        const broken = log?.broken.get(skeleton);
        if (broken !== undefined) {
          const lost = log?.losses.has(broken.name) === true;
          yield [skeleton.whole, lost && !broken.missing ? 'refused-value' : 'record'];
          yield [skeleton.refused, lost ? 'refused-value' : 'record'];
          continue;
        }
        yield [skeleton.whole, used ? 'record' : 'passed-over'];
        // Words that never were a number are no value.
        const value = skeleton.slots.some(
          ({ column, name }) =>
            column >= 0 &&
            log?.main.has(skeleton) === true &&
            log.losses.has(name) &&
            skeleton.table.columns[column]!.refused > 0 &&
            skeleton.table.columns[column]!.count > 0,
        );
        yield [skeleton.refused, !used ? 'passed-over' : value ? 'refused-value' : 'record'];
      }
    },
    likeliest: () => (best === undefined ? undefined : { line: best.line, text: best.text }),
  };
}

/** `tests/test_loss.py` is a file; `avg.loss` is none. */
const FILE_NAME = /\.(?!loss)[a-z]{1,4}(?:\s|$)/i;
/** Money has costs too: a log that has nothing else has more rows than a bill. */
const LEAST_COSTS = 8;
const isCost = (name: string): boolean => /^costs?$/i.test(name);

/** Whole numbers that change are a count of what was lost: a season's `win 3 loss 1`. */
const isCount = (values: Column): boolean =>
  values.length > 1 &&
  values.every((one) => Number.isInteger(one) && Math.abs(one) < 1000) &&
  values.some((one) => one !== values.at(0));

/** What is trained on where it is no loss: it rises. */
const OBJECTIVE = /(?:^|[\s/._-])(?:objective|objf|log[\s_-]?likelihood)$/i;
const isLossRole = (name: string): 'train' | 'eval' | undefined => {
  const role = roleByName(name);
  return role === 'loss-like' || OBJECTIVE.test(name) ? 'train' : role === 'eval_loss' ? 'eval' : undefined;
};

/** Rows that print their own place stand for four that lines before them place: our number. */
const ANNOUNCED_WEIGHT = 0.25;

/** Skeletons that tell the same loss by the same kind of axis. */
interface Group {
  readonly name: string;
  readonly of: 'train' | 'eval';
  readonly members: Skeleton[];
}

interface PlacedGroup {
  readonly group: Group;
  readonly placed: Placed;
}

const axisClass = ({ slots }: Skeleton): 'step' | 'epoch' | 'none' =>
  slots.some(({ use }) => use === 'step' || use === 'count' || use === 'index')
    ? 'step'
    : slots.some(({ use }) => use === 'epoch')
      ? 'epoch'
      : 'none';

/** A log without an axis has at least so many rows. */
const LEAST_WITHOUT_AXIS = 5;
/** Whether cells never fall, and rise at last. */
const rises = (cells: Float64Array): boolean =>
  cells.every((cell, k) => k === 0 || cell >= cells[k - 1]!) && cells.at(-1)! > cells[0]!;

/** Without a counter only lines that are nothing but records, and most of the text. */
function isLogOfRows(members: readonly Kind[], { step, epochs }: Axis, lines: number): boolean {
  const begins = ({ use, name }: Slot): boolean =>
    (use === 'value' && roleByName(name) !== 'other') ||
    (use === 'epoch' && epochs !== undefined && (rises(epochs) || epochs.every((one) => one === epochs[0])));
  const isPure = members.every(
    ({ spare, slots }) =>
      spare === 0 && slots.every((slot, k) => slot.use !== 'none' && (k > 0 || begins(slot))),
  );
  return step.length >= LEAST_WITHOUT_AXIS && isPure && step.length * 2 >= lines;
}

const NO_SLOT: SlotOf = () => undefined;
/** The lines of a group with their places. */
const placeOf = ({ name, members }: Group, around: Around, clock?: Placed): Placed | undefined =>
  placeGroup(
    members,
    around,
    ({ slots }) => slots.find((one) => one.use === 'value' && one.name === name),
    clock,
  );

/** What tells how training goes by a name: what is trained on, or else a measure of a ranking. */
type Tells = (name: string) => Group['of'] | undefined;

/** Boosting and factorisation print the error that they make small. */
const isError: Tells = (name) => (isErrorMeasure(name) || isPlainError(name) ? 'train' : undefined);
/** An error that lines with a counter tell, and no other measure: t-SNE, FANN. A column of a table may be any error. */
const isPlainError = (name: string): boolean => /^(?:(?:mean|average|avg|total) )?error$/i.test(name);
/** An error without more words is that of a training where a named counter stands beside it. */
const isOfTraining = ({ group }: Pick<PlacedGroup, 'group'>): boolean =>
  !isPlainError(group.name) ||
  group.members.every(({ slots }) => slots.some(({ use }) => use === 'step' || use === 'epoch'));
/** A total beside the learning rate or a part of a loss is that of the losses before it (Leela Chess Zero), where it is none of times or of memory. */
const isTotal: Tells = (name) => (/^tot(?:al)?$/i.test(name) ? 'train' : undefined);
const OF_TIME_OR_MEMORY =
  /(?:^|[\s_/.-])(?:time|secs?|seconds|ms|fwd|bwd|forward|backward|data|load\w*|io|comm|mem\w*|alloc\w*|cached?|reserved|used|free|[gm]i?b|samples|tokens|params)(?:[\s_/.-]|$)/i;
const PART_OF_LOSS = /^(?:kld?|rec|recon|reconstruction|adv|gan|perc|perceptual|reg|regulari[sz]ation)$/i;
const isTotalOfLosses = ({ group }: Pick<PlacedGroup, 'group'>): boolean =>
  group.members.every(
    ({ slots }) =>
      slots.some(
        ({ use, name }) =>
          use === 'value' &&
          (/^(?:learning_rate|grad_norm)$/.test(roleByName(name)) || PART_OF_LOSS.test(name)),
      ) && !slots.some(({ name }) => OF_TIME_OR_MEMORY.test(name)),
  );
/** What is trained on by the place of its name, and by no word in it, as the quantity that it is. */
const asTrained = (one: LoggedSeries): LoggedSeries =>
  isPlainError(one.name)
    ? { ...one, quantity: `train ${one.name}` }
    : isTotal(one.name) !== undefined
      ? { ...one, quantity: 'total loss' }
      : one;
const isRate: Tells = (name) => (roleByName(name) === 'learning_rate' ? 'train' : undefined);
const reportsSkips = ({ group, placed }: PlacedGroup): boolean =>
  placed.rows >= ENOUGH_ROWS &&
  group.members.every(({ slots }) =>
    slots.some(({ use, name }) => use === 'value' && /^skipped$/i.test(name)),
  );
/** Of so few points nobody judges a run, of so many one does. */
const FEW_ROWS = 3;
const ENOUGH_ROWS = 10;
const isOfRanking: Tells = (name) => (isRankingMeasure(name) ? 'eval' : undefined);
/** And some agents print their rewards alone. */
const REWARD =
  /^(?:(?:mean|avg|average|last|episode|episodic|cumulative|total|test|train|eval)[\s_-]){1,2}(?:rewards?|returns?)(?:[\s_-]mean)?$/i;
const isReward: Tells = (name) => (REWARD.test(name) ? 'eval' : undefined);
/**
 * A group without the lines that tell the same loss once more at steps at which others tell it with the learning rate: those are of
 * training, these of a test (`Iteration 100 learning_rate = 0.01 loss = 0.78`, `Iteration 100 loss = 0.81`).
 */
function apart(group: Group, around: Around): Group[] {
  const hasRate = ({ slots }: Skeleton): boolean =>
    slots.some(({ use, name }) => use === 'value' && roleByName(name) === 'learning_rate');
  const trained = group.members.filter(hasRate);
  if (trained.length === 0 || trained.length === group.members.length) return [group];
  const training = placeOf({ ...group, members: trained }, around);
  if (training === undefined) return [group];
  const steps = new Set(training.step);
  // A training of its own that prints less comes before or after the one with a rate.
  const [begin, end] = [training.order[0]!, training.order.at(-1)!];
  const tests = group.members.filter((one) => {
    if (hasRate(one)) return false;
    const placed = placeOf({ ...group, members: [one] }, around);
    if (placed === undefined || placed.rows <= 1 || !placed.step.every((step) => steps.has(step)))
      return false;
    const among = placed.order.reduce((sum, at) => sum + (at > begin && at < end ? 1 : 0), 0);
    return among * 2 >= placed.rows;
  });
  if (tests.length === 0) return [group];
  return [
    { ...group, members: group.members.filter((one) => !tests.includes(one)) },
    { ...group, members: tests },
  ];
}

/**
 * Each kind of lines of a group by itself: bars that are drawn as an epoch goes on, and the line of its end (TensorFlow.js). A kind of
 * one line may be a sentence of a text.
 */
const alone = (group: Group): Group[] =>
  group.members.flatMap((member) => (member.table.rows() > 1 ? [{ ...group, members: [member] }] : []));

/** The groups of skeletons that go on as a log does, with their places. */
function acceptGroups(all: readonly Skeleton[], around: Around, tells: Tells): PlacedGroup[] {
  const groups = new Map<string, Group>();
  for (const skeleton of all) {
    const losses = skeleton.slots.filter(
      ({ use, name, column }) =>
        use === 'value' &&
        tells(name) !== undefined &&
        !FILE_NAME.test(name) &&
        skeleton.table.columns[column]!.count * 2 >= skeleton.table.rows(),
    );
    const { roles } = assignRoles(
      losses.map(({ name }) => ({ name, value: new Float64Array() })),
      new Map(),
    );
    const [loss] = [
      ...losses.filter((_, k) => roles[k]!.role === 'loss'),
      ...losses.filter(({ name }) => tells(name) === 'train'),
      ...losses,
    ];
    if (loss === undefined || isProgram(skeleton.text)) continue;
    const key = `${axisClass(skeleton)} ${loss.name}`;
    const group = groups.get(key) ?? { name: loss.name, of: tells(loss.name)!, members: [] };
    group.members.push(skeleton);
    groups.set(key, group);
  }
  return [...groups.values()]
    .flatMap((group) => apart(group, around))
    .flatMap((group) => {
      const placed = placeOf(group, around);
      if (placed !== undefined) return [{ group, placed }];
      return alone(group).map((one) => ({ group: one, placed: placeOf(one, around) }));
    })
    .flatMap(({ group, placed }) => {
      if (placed === undefined || (isCost(group.name) && placed.rows < LEAST_COSTS)) return [];
      if (isCount(placed.series.find(({ name }) => name === group.name)?.value ?? new Float64Array()))
        return [];
      return [{ group, placed }];
    });
}

/**
 * Whether lines after those of the log tell its loss once more, alone, and it is no number: "Loss is nan, stopping training", of
 * each rank. The log has no such line where all is well.
 */
function tellsLossLost({ slots, table }: Skeleton, clock: Placed): boolean {
  const [value, ...more] = slots.filter(({ use }) => use !== 'none');
  // `Loss is NaN at step 812`: the step may be told too.
  if (
    value?.use !== 'value' ||
    more.some(({ use }) => use !== 'step' && use !== 'epoch') ||
    isLossRole(value.name) !== 'train'
  )
    return false;
  const column = table.columns[value.column]!;
  const [first] = table.columns[0]!.value.finish();
  return (
    column.count === table.rows() &&
    first! > clock.order.at(-1)! &&
    [...column.value.finish()].every((one) => !Number.isFinite(one))
  );
}

/** Whether a line that comes once, before the log begins, is of the source that some trainers print first. */
const isSource = ({ table, text }: Skeleton, { order }: Placed): boolean =>
  table.rows() === 1 && table.columns[0]!.value.finish().at(0)! < order[0]! && isProgram(text);

/** The series with a point after its last that is no number, at a line. */
function withEnd(series: LoggedSeries, line: number): LoggedSeries {
  const { step, value, line: lines, gaps } = series;
  return {
    ...series,
    step: Float64Array.from([...step, (step.at(-1) ?? 0) + 1]),
    value: Float64Array.from([...value, Number.NaN]),
    ...(lines === undefined ? {} : { line: Uint32Array.from([...lines, line]) }),
    ...(gaps === undefined ? {} : { gaps: Uint32Array.from([...gaps, 0]) }),
  };
}

/** Ends the series of a loss with a point that is not a number, where a line says so; returns the note on it. */
function endWithout(series: LoggedSeries[], loss: string, unit: StepUnit, { line }: Skeleton): string {
  const lost = series.findIndex(({ name }) => name === loss);
  const before = series[lost]!.step.at(-1)!;
  series[lost] = withEnd(series[lost]!, line);
  return `line ${formatCount(line)} says that the loss is not finite after ${unit} ${formatCount(before)}; it is shown at the next`;
}

/** The groups of lines that may be the log, by the best kind of measure that any of them reports. */
function acceptedGroups(all: readonly Skeleton[], around: Around) {
  const byLoss = acceptGroups(all, around, isLossRole);
  const byStep = (tells: Tells): ReturnType<typeof acceptGroups> =>
    acceptGroups(all, around, tells).filter(({ placed }) => placed.stepUnit !== 'row');
  const byError = byLoss.length > 0 ? [] : byStep(isError).filter(isOfTraining);
  // DeepSpeed prints which steps it skipped, and the loss at the end or not at all: `step=10, skipped=1, lr=[1e-4, 1e-4]`.
  const few = byLoss.every(({ placed }) => placed.rows < FEW_ROWS);
  const bySkips = few ? byStep(isRate).filter(reportsSkips) : [];
  const byTotal = byLoss.length + byError.length > 0 ? [] : byStep(isTotal).filter(isTotalOfLosses);
  const isLossHere = (name: string): boolean =>
    isLossRole(name) !== undefined ||
    (byError.length > 0 && isError(name) !== undefined) ||
    (byTotal.length > 0 && isTotal(name) !== undefined);
  const kinds = [
    () => [...bySkips, ...byLoss],
    () => byError,
    () => byTotal,
    () => byStep(isOfRanking),
    () => byStep(isReward),
  ];
  return {
    accepted: kinds.reduce<typeof byLoss>((found, next) => (found.length > 0 ? found : next()), []),
    isLossHere,
    isNamedByPlace: byError.length + byTotal.length > 0,
    reportsSteps: bySkips.length > 0,
  };
}

const weightOf = ({ rows, announced }: Placed): number => (announced ? rows * ANNOUNCED_WEIGHT : rows);
/**
 * The clock of the log comes first: training before evaluation, then what has the most rows. Lines between those that say where
 * they are may be of training and of its evaluations.
 */
const byWeight = (a: PlacedGroup, b: PlacedGroup): number =>
  Number(b.group.of === 'train') - Number(a.group.of === 'train') ||
  byCounter(a.placed, b.placed) ||
  weightOf(b.placed) - weightOf(a.placed) ||
  (a.group.name === b.group.name ? b.placed.series.length - a.placed.series.length : 0);

function finishPrinted(all: readonly Skeleton[], lines: number): PrintedLog | undefined {
  const around: Around = {
    all,
    mayFollow: false,
    isLogOfRows: (members: readonly Kind[], axis: Axis) => isLogOfRows(members, axis, lines),
  };
  const { accepted, isLossHere, isNamedByPlace, reportsSteps } = acceptedGroups(all, around);
  accepted.sort(byWeight);
  const [first] = accepted;
  if (first === undefined) return undefined;
  const broken = new Map<Skeleton, Broken>();
  const used = new Set<Skeleton>();
  /** The lines of a group with those whose loss is no number, where they go on with them too. */
  const place = (group: Group, placed: Placed, clock?: Placed): Placed => {
    const { members } = group;
    // One that tells another loss is of this group, or has made one of its own.
    const faulty = brokenLines(
      members,
      all.filter((one) => !used.has(one)),
      isLossHere,
    );
    for (const member of members) used.add(member);
    const whole =
      faulty.size === 0
        ? undefined
        : placeOf(
            { ...group, members: [...members.filter((one) => !faulty.has(one)), ...faulty.values()] },
            around,
            clock,
          );
    if (whole === undefined) return placed;
    for (const [skeleton, line] of faulty) {
      used.add(skeleton);
      broken.set(skeleton, line.broken);
    }
    return whole;
  };
  const { group: main } = first;
  const clock = place(main, first.placed);
  const series: LoggedSeries[] = [...clock.series];
  const notes = [...clock.notes];
  const names = new Set(series.map(({ name }) => name));
  const add = (placed: Placed, label: string): void => {
    for (const one of placed.series) {
      const name = names.has(one.name) ? `${label} ${one.name}` : one.name;
      if (names.has(name)) continue;
      names.add(name);
      series.push({ ...one, name });
    }
  };
  for (const { group: whole } of accepted.slice(1)) {
    const group: Group = { ...whole, members: whole.members.filter((one) => !used.has(one)) };
    const placed = placeOf(group, around, clock);
    if (placed === undefined) continue;
    add(place(group, placed, clock), axisClass(group.members[0]!) === 'epoch' ? 'epoch' : 'printed');
  }
  const stopped = all.filter((one) => !used.has(one) && tellsLossLost(one, clock));
  if (stopped.length > 0 && names.has(main.name)) {
    for (const one of stopped) used.add(one);
    notes.push(endWithout(series, main.name, clock.stepUnit, stopped[0]!));
  }
  // Metrics, learning rates and gradient norms that are printed in lines of their own.
  for (const skeleton of all) {
    if (used.has(skeleton) || isSource(skeleton, clock)) continue;
    const told = skeleton.slots.some(
      ({ use, name }) =>
        (use === 'value' && roleByName(name) !== 'other') || (use === 'step' && reportsSteps),
    );
    if (!told) continue;
    const placed = placeGroup([skeleton], around, NO_SLOT, clock);
    if (placed === undefined) continue;
    used.add(skeleton);
    add(placed, 'printed');
  }
  const sample = main.members.reduce((first, one) => (one.line < first.line ? one : first));
  notes.unshift(
    `read as text: "${main.name}" by ${clock.axisName === '' ? 'line' : `"${clock.axisName}"`}, ${counted(clock.rows, 'point')} (line ${formatCount(sample.line)}: ${sample.shown.trim().slice(0, 160)})`,
  );
  const trained = isNamedByPlace ? series.map(asTrained) : series;
  const { roles: finalRoles } = assignRoles(trained, new Map());
  return {
    series: trained,
    stepUnit: clock.stepUnit,
    notes,
    records: [...used].reduce((sum, { table }) => sum + table.rows(), 0),
    main: new Set(main.members),
    // Those whose refused cells are an error of the file: of a column that is text they are none.
    losses: new Set(
      series.flatMap(({ name, value, refused }, k) =>
        isLossLike(finalRoles[k]!.role) && (value.length > refused || namesLossValue(name)) ? [name] : [],
      ),
    ),
    used,
    broken,
  };
}
