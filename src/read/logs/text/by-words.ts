/**
 * Which tables of a text are its log, by the words that name their numbers: a loss, or else an error, a total, a measure of a
 * ranking, a reward; with the metrics, rates and norms of other tables.
 */

import { type Column, varies } from '../../../model/column.ts';
import { formatCount } from '../../../model/format-number.ts';
import type { StepUnit } from '../../../model/run.ts';
import { wordsOf } from '../../../model/words.ts';
import type { LoggedSeries } from '../format.ts';
import { assignRoles, isErrorMeasure, isRankingMeasure, roleByName } from '../metric-roles.ts';
import type { Broken } from './cells.ts';
import type { Described } from './described.ts';
import { type Around, byCounter, type Placed, placeGroup } from './placed.ts';
import { brokenLines } from './refused.ts';
import { isCommand, isProgram } from './source-text.ts';
import { means } from './words.ts';

/** Whether the rows of a table are things of their own: trials of a search, items of a list. */
export const isOfThings = ({ slots: [first] }: Described): boolean =>
  first !== undefined && wordsOf(first.name).some((word) => means(word, 'thing'));

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
    axisClass(one) === 'none' &&
    !slots.some(isTrainingLoss) &&
    slots.some(({ use, name }) => use === 'value' && roleByName(name) === 'metric');
  if (!isOfMetrics) return one;
  const evaluated = slots.map((slot) =>
    slot.loss === 'train' ? { ...slot, name: `eval ${slot.name}`, loss: 'eval' as const } : slot,
  );
  return { ...one, slots: evaluated };
}

/** `tests/test_loss.py` is a file; `avg.loss` is not. */
const FILE_NAME = /\.(?!loss)[a-z]{1,4}(?:\s|$)/i;
const LEAST_COSTS = 8;
const isCost = (name: string): boolean => /^costs?$/i.test(name);

/** Larger whole numbers are sums of a loss over tokens (t5x). */
const LARGE = 100_000;
/** Whole numbers that change are a count of what was lost: a season's `win 3 loss 1`. */
const isCount = (values: Column): boolean =>
  values.length > 1 &&
  values.every((one) => Number.isInteger(one) && Math.abs(one) < LARGE) &&
  varies(values);

/** What is trained on where it is not a loss: it rises. */
const OBJECTIVE = /(?:^|[\s/._-])(?:objective|objf|log[\s_-]?likelihood)$/i;
const isLossRole = (name: string): 'train' | 'eval' | undefined => {
  const role = roleByName(name);
  return role === 'loss-like' || OBJECTIVE.test(name) ? 'train' : role === 'eval_loss' ? 'eval' : undefined;
};

/** A row that prints its own place counts as four that lines before them place: our number. */
const ANNOUNCED_WEIGHT = 0.25;

/** Tables that tell the same loss by the same kind of axis. */
export interface Group {
  readonly name: string;
  readonly of: 'train' | 'eval';
  readonly members: Described[];
}

export interface PlacedGroup {
  readonly group: Group;
  readonly placed: Placed;
}

const axisClass = ({ slots }: Described): 'step' | 'epoch' | 'none' =>
  slots.some(({ use }) => use === 'step' || use === 'count' || use === 'index')
    ? 'step'
    : slots.some(({ use }) => use === 'epoch')
      ? 'epoch'
      : 'none';

/** What no number is called: tables that tell no loss. */
const NO_NAME = ' ';
/** The lines of a group with their places. */
const placeOf = ({ name, members }: Group, around: Around, clock?: Placed): Placed | undefined =>
  placeGroup(
    members,
    around,
    ({ slots }) => slots.find((one) => one.use === 'value' && one.name === name),
    clock,
  );

/** What says how training goes, by a name: what is trained on, or else a measure of a ranking. */
type Tells = (name: string) => Group['of'] | undefined;

/** Boosting and factorisation print the error that they make small. */
const isError: Tells = (name) => (isErrorMeasure(name) || isPlainError(name) ? 'train' : undefined);
/** An error that lines with a counter tell, and no other measure: t-SNE, FANN. A column of a table may be any error. */
const isPlainError = (name: string): boolean => /^(?:(?:mean|average|avg|total) )?error$/i.test(name);
/** An error without more words is that of a training where a named counter is in its rows. */
const isOfTraining = ({ group }: Pick<PlacedGroup, 'group'>): boolean =>
  !isPlainError(group.name) ||
  group.members.every(({ slots }) => slots.some(({ use }) => use === 'step' || use === 'epoch'));
/** A total next to the learning rate or a part of a loss is that of the losses before it (Leela Chess Zero), not of times or memory. */
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
  const hasRate = ({ slots }: Described): boolean =>
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
  group.members.flatMap((member) => (member.rows.count > 1 ? [{ ...group, members: [member] }] : []));

/** How many rows of a table have a number in a column. */
const countOf = ({ rows }: Described, column: number): number =>
  rows.has(column)?.reduce((sum, one) => sum + one, 0) ?? rows.count;

/** The groups of tables that go on as a log does, with their places. */
function acceptGroups(all: readonly Described[], around: Around, tells: Tells): PlacedGroup[] {
  const groups = new Map<string, Group>();
  for (const table of all) {
    const losses = table.slots.filter(
      ({ use, name, column }) =>
        use === 'value' &&
        tells(name) !== undefined &&
        !FILE_NAME.test(name) &&
        countOf(table, column) * 2 >= table.rows.count,
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
    if (loss === undefined || isProgram(table.text) || isCommand(table.text)) continue;
    const key = `${axisClass(table)} ${loss.name}`;
    const group = groups.get(key) ?? { name: loss.name, of: tells(loss.name)!, members: [] };
    group.members.push(table);
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
      if (placed === undefined || group.members.some(isOfThings)) return [];
      // Money has costs too: a log that has nothing else has more rows than a bill.
      if (isCost(group.name) && (placed.rows < LEAST_COSTS || placed.stepUnit === 'row')) return [];
      const { value = new Float64Array() } = placed.series.find(({ name }) => name === group.name) ?? {};
      return isCount(value) ? [] : [{ group, placed }];
    });
}

/**
 * Whether lines after those of the log repeat its loss, alone, and it is NaN or infinite: "Loss is nan, stopping training", of
 * each rank. The log has no such line where all is well.
 */
function tellsLossLost({ slots, rows }: Described, clock: Placed): boolean {
  const [value, ...more] = slots.filter(({ use }) => use !== 'none');
  // `Loss is NaN at step 812`: the step may be in it.
  if (
    value?.use !== 'value' ||
    more.some(({ use }) => use !== 'step' && use !== 'epoch') ||
    isLossRole(value.name) !== 'train'
  )
    return false;
  return (
    rows.has(value.column) === undefined &&
    rows.order().at(0)! > clock.order.at(-1)! &&
    rows.cells(value.column).every((one) => !Number.isFinite(one))
  );
}

/** Whether a line that comes once, before the log begins, is of the source that some trainers print first. */
const isSource = ({ rows, text }: Described, { order }: Placed): boolean =>
  rows.count === 1 && rows.order().at(0)! < order[0]! && isProgram(text);

/** The series with a point after its last that is NaN or infinite, at a line. */
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
function endWithout(series: LoggedSeries[], loss: string, unit: StepUnit, { rows }: Described): string {
  const line = rows.line().at(0)!;
  const lost = series.findIndex(({ name }) => name === loss);
  const before = series[lost]!.step.at(-1)!;
  series[lost] = withEnd(series[lost]!, line);
  return `line ${formatCount(line)} says that the loss is not finite after ${unit} ${formatCount(before)}; it is shown at the next`;
}

/** The groups of lines that may be the log, by the best kind of measure that any of them reports. */
function acceptedGroups(all: readonly Described[], around: Around) {
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
/** Of two names that differ in case alone one is a part of the other where that has so many times its rows. */
const MANY_TIMES = 8;
/** Whether rows repeat some of the numbers of others: `Loss:` of the first batch of each epoch, and `loss:` of every batch. */
function isPartOf(few: PlacedGroup, many: PlacedGroup): boolean {
  const [name, whole] = [few.group.name, many.group.name];
  if (name === whole || name.toLowerCase() !== whole.toLowerCase()) return false;
  if (few.placed.order.length * MANY_TIMES > many.placed.order.length) return false;
  const told = new Set(cellsNamed(many.group));
  return cellsNamed(few.group).every((one) => told.has(one));
}
/**
 * Whether a bar shows a loss no more often than lines tell the training loss of each epoch: the number is of the last batch, or
 * their mean as well (`100%|███| 5469/5469 [Loss=0.0054]`, then `Train Loss: 0.0107`).
 */
const isLastOf = (bar: PlacedGroup, told: PlacedGroup): boolean =>
  bar.group.members.every((one) => one.bar) &&
  !told.group.members.some((one) => one.bar) &&
  told.group.members.every(({ slots }) =>
    slots.some((slot) => slot.name === told.group.name && isTrainingLoss(slot)),
  ) &&
  told.placed.stepUnit !== 'row' &&
  told.placed.rows >= ENOUGH_ROWS &&
  bar.placed.rows <= told.placed.rows;
/** The numbers of a group under its name. */
const cellsNamed = ({ name, members }: Group): number[] =>
  members.flatMap(({ slots, rows }) => {
    const slot = slots.find((one) => one.use === 'value' && one.name === name);
    return slot === undefined ? [] : [...rows.cells(slot.column)];
  });
/**
 * The clock of the log comes first: training before evaluation, then what has the most rows. Lines between those that say where
 * they are may be of training and of its evaluations.
 */
const byWeight = (a: PlacedGroup, b: PlacedGroup): number =>
  Number(b.group.of === 'train') - Number(a.group.of === 'train') ||
  Number(isPartOf(a, b)) - Number(isPartOf(b, a)) ||
  Number(isLastOf(a, b)) - Number(isLastOf(b, a)) ||
  byCounter(a.placed, b.placed) ||
  weightOf(b.placed) - weightOf(a.placed) ||
  (a.group.name === b.group.name ? b.placed.series.length - a.placed.series.length : 0);

/** The log that words tell. */
export interface WordsLog extends PlacedGroup {
  readonly series: readonly LoggedSeries[];
  /** Next to those of its places. */
  readonly notes: readonly string[];
  readonly used: ReadonlySet<Described>;
  /** The tables whose lines have no number in the place of the loss. */
  readonly broken: ReadonlyMap<Described, Broken>;
}

/** The log in the tables of a text by its words; undefined where they tell none. */
export function byWords(tables: readonly Described[], whole: Around): WordsLog | undefined {
  const isTrained = tables.some(({ rows, slots }) => rows.count >= FEW_ROWS && slots.some(isTrainingLoss));
  const all = isTrained ? tables.map(asEvaluation) : tables;
  const around = { ...whole, all };
  const { accepted, isLossHere, isNamedByPlace, reportsSteps } = acceptedGroups(all, around);
  accepted.sort(byWeight);
  const [first] = accepted;
  if (first === undefined) return undefined;
  const broken = new Map<Described, Broken>();
  const used = new Set<Described>();
  /** The lines of a group with those whose loss is not finite, where they go on with them too. */
  const place = (group: Group, placed: Placed, clock?: Placed): Placed => {
    const { members } = group;
    // One with another loss is of this group, or has made one of its own.
    const faulty = brokenLines(
      members,
      all.filter((one) => !used.has(one)),
      isLossHere,
    );
    for (const member of members) used.add(member);
    if (faulty.size === 0) return placed;
    const whole = [...members.filter((one) => !faulty.has(one)), ...faulty.values()];
    const found = placeOf({ ...group, members: whole }, around, clock);
    if (found === undefined) return placed;
    for (const [table, line] of faulty) {
      used.add(table);
      broken.set(table, line.broken);
    }
    return found;
  };
  const { group: main } = first;
  const clock = place(main, first.placed);
  const names = new Names();
  const notes: string[] = [];
  for (const one of clock.series) names.add(one, '');
  for (const { group: whole } of accepted.slice(1)) {
    const group: Group = { ...whole, members: whole.members.filter((one) => !used.has(one)) };
    const placed = placeOf(group, around, clock);
    if (placed === undefined) continue;
    const label = axisClass(group.members[0]!) === 'epoch' ? 'epoch' : 'printed';
    const isLast = isLastOf({ group: whole, placed }, first);
    for (const one of place(group, placed, clock).series)
      names.add(isLast && one.name === group.name ? { ...one, quantity: `batch ${one.name}` } : one, label);
  }
  const stopped = all.filter((one) => !used.has(one) && tellsLossLost(one, clock));
  if (stopped.length > 0 && names.series.some(({ name }) => name === main.name)) {
    for (const one of stopped) used.add(one);
    notes.push(endWithout(names.series, main.name, clock.stepUnit, stopped[0]!));
  }
  // Metrics, learning rates and gradient norms that are printed in lines of their own.
  for (const table of all) {
    if (used.has(table) || isSource(table, clock)) continue;
    const told = table.slots.some(
      ({ use, name }) =>
        (use === 'value' && roleByName(name) !== 'other') || (use === 'step' && reportsSteps),
    );
    const group: Group = { name: NO_NAME, of: 'train', members: [table] };
    const placed = told ? placeOf(group, around, clock) : undefined;
    for (const one of placed === undefined ? [] : place(group, placed, clock).series)
      names.add(one, 'printed');
  }
  const series = isNamedByPlace ? names.series.map(asTrained) : names.series;
  return { group: main, placed: clock, series, notes, used, broken };
}

/** Series of several groups under names of their own. */
export class Names {
  readonly series: LoggedSeries[] = [];
  private readonly taken = new Set<string>();

  add(one: LoggedSeries, label: string): void {
    const name = this.taken.has(one.name) ? `${label} ${one.name}` : one.name;
    if (this.taken.has(name)) return;
    this.taken.add(name);
    this.series.push({ ...one, name });
  }
}
