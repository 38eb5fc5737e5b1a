/** Lines of an evaluation that look as those of training do, and only a heading before them says what they are. */
import type { LineScanner } from './line-scanner.ts';
import { ABOUT, SLOT } from './line-scanner.ts';
import type { Skeleton } from './printed-skeleton.ts';
import type { NamedSlot } from './slot-names.ts';
import { lossOf } from './text/names.ts';

/** What says that an evaluation begins: `Cross validation...`, `Eval begin...`, `Now we are doing evaluation on dev`. */
const EVALUATION_BEGINS = /\b(?:validat|evaluat|test)(?:ion|ing)\b|\beval(?:uate)? (?:begin|start)/i;
/** A heading is short, and does not name a training. */
const LONGEST_HEADING = 120;
const OF_TRAINING = /\btrain/i;

/** Of lines after a heading, and of those alone, the key: the keys of all others are not below 0. */
export const evaluationKey = (key: number): number => -1 - key;
export const tellsEpoch = ({ slots }: Skeleton): boolean => slots.some(({ use }) => use === 'epoch');
/** The last number of a column; undefined where it has none. */
const lastOf = ({ table }: Skeleton, column: number): number | undefined =>
  table.columns[column]?.value.last();

const namesTraining = ({ use, name }: NamedSlot): boolean => use === 'value' && lossOf(name) === 'train';

/** Which of the lines that a scanner reads belong to an evaluation. Orders count lines from 1. */
export class Evaluations {
  /** The last heading, the last line of an evaluation, and the last line with an epoch; 0 before the first. */
  private heading = 0;
  private evaluated = 0;
  private epochAt = 0;
  /** The total of the counter of the last line of training. */
  private total = 0;
  /** The losses of lines with an epoch. */
  private readonly losses = new Set<string>();

  constructor(private readonly scanner: LineScanner) {}

  /** Whether the line that was scanned says that an evaluation begins. */
  announces(bytes: Buffer, start: number, to: number, order: number): boolean {
    const { scanner } = this;
    if ((scanner.words & ABOUT.split) === 0 || to - start > LONGEST_HEADING) return false;
    for (let k = 0; k < scanner.count; k++)
      if (scanner.kind[k] !== SLOT.lead && (scanner.about[k]! & (ABOUT.loss | ABOUT.metric)) !== 0)
        return false;
    const text = bytes.toString('latin1', start, to);
    if (!EVALUATION_BEGINS.test(text) || OF_TRAINING.test(text)) return false;
    this.heading = order;
    return true;
  }

  /** Whether the next line of these may be the first one after a heading. */
  mayBegin(skeleton: Skeleton): boolean {
    return this.heading > 0 && !(lastOf(skeleton, 0)! > this.heading);
  }

  /** Remembers that a line of training has an epoch. */
  sawEpoch(order: number): void {
    this.epochAt = order;
  }

  /** Whether the line that was scanned is of an evaluation, remembered as such. */
  takes(skeleton: Skeleton, order: number): boolean {
    const isEvaluated = this.isOne(skeleton, order);
    if (isEvaluated) this.evaluated = order;
    else this.train(skeleton, order);
    return isEvaluated;
  }

  private train(skeleton: Skeleton, order: number): void {
    const { slots } = skeleton;
    const counter = slots.findIndex(
      ({ use, ofColumn }) => (use === 'step' || use === 'count') && ofColumn >= 0,
    );
    if (counter >= 0 && slots.some(namesTraining)) this.total = this.scanner.of[counter]!;
    if (!tellsEpoch(skeleton)) return;
    this.epochAt = order;
    for (const slot of slots) if (namesTraining(slot)) this.losses.add(slot.name);
  }

  /** In its epoch its counter has started again, or it has no epoch where lines of training have one. */
  private isOne(skeleton: Skeleton, order: number): boolean {
    const { scanner, heading, epochAt } = this;
    const { slots } = skeleton;
    const trained = lastOf(skeleton, 0);
    if (heading === 0 || (trained !== undefined && trained > heading)) return false;
    const goesOn = this.evaluated > heading;
    if (!goesOn && order !== heading + 1) return false;
    const at = (use: NamedSlot['use']): number =>
      slots.findIndex((slot) => slot.use === use && slot.column >= 0);
    const epoch = at('epoch');
    const counter = Math.max(at('step'), at('count'));
    // The epoch that was trained last, once more, or what was evaluated before the first.
    if (counter < 0 && epoch >= 0 && !goesOn)
      return trained === undefined || scanner.value[epoch] === lastOf(skeleton, slots[epoch]!.column);
    if (counter < 0 || (epoch < 0 && (epochAt === 0 || epochAt > heading))) return false;
    if (trained === undefined) return epoch < 0 && this.isOfItsOwn(skeleton, counter);
    const { column, ofColumn } = slots[counter]!;
    const isAgain =
      epoch < 0
        ? ofColumn >= 0 && scanner.of[counter] !== lastOf(skeleton, ofColumn)
        : scanner.value[epoch] === lastOf(skeleton, slots[epoch]!.column);
    return isAgain && scanner.value[counter]! * (goesOn ? 1 : 2) <= lastOf(skeleton, column)!;
  }

  /** A kind of line that training did not have: with a loss of training, or, where it lacks a number, with another total. */
  private isOfItsOwn({ slots }: Skeleton, counter: number): boolean {
    const { ofColumn } = slots[counter]!;
    return (
      slots.some(({ use, name }) => use === 'value' && this.losses.has(name)) ||
      (ofColumn >= 0 && this.total > 0 && this.scanner.of[counter] !== this.total)
    );
  }
}

/** The slots of lines of an evaluation as they were before these were given back to training. */
const evaluated = new WeakMap<Skeleton, Skeleton['slots']>();

/**
 * Gives lines of an evaluation that go as far as those of training back to training: another run begins there. In a text that grows
 * training may go further later.
 */
export function withoutRuns(skeletons: ReadonlyMap<number, Skeleton>): void {
  for (const [key, whole] of skeletons) {
    const twin = key < 0 || whole.table.rows() === 0 ? undefined : skeletons.get(evaluationKey(key));
    const slot = ['step', 'count']
      .map((use) => whole.slots.find((one) => one.use === use))
      .find((one) => one);
    if (twin === undefined) continue;
    const furthest = ({ table }: Skeleton): number => {
      let most = 0;
      // Of epochs alone one test may be the first line of a training that a heading announced.
      if (slot === undefined) return table === twin.table && table.rows() > 1 ? -1 : 0;
      for (const one of table.columns[slot.column]!.value.finish()) if (one > most) most = one;
      return most;
    };
    const isRun = furthest(twin) >= furthest(whole);
    const slots = evaluated.get(twin) ?? twin.slots;
    evaluated.set(twin, slots);
    Object.assign(twin, { slots: isRun ? whole.slots : slots, evaluation: !isRun });
  }
}
