/** Which rows a step of a ledger was trained on, and where the same batch came before or again. */

import type { Cell } from '../../model/cell.ts';
import { counted } from '../../model/format-number.ts';
import type { StepBatch } from '../../model/step-batch.ts';
import type { Ledger } from '../../read/ledger/read.ts';

/** @throws what reading the ids of the step throws */
export async function batchOfStep(ledger: Ledger, step: number): Promise<StepBatch> {
  const line = ledger.steps.get(step);
  const ids = (await ledger.ids(step)) ?? null;
  const inOrder = [...ledger.steps.values()].sort((a, b) => a.step - b.step);
  const batch = line?.batch ?? null;
  const found = {
    path: ledger.path,
    step,
    recorded: line !== undefined,
    loss: line?.loss ?? null,
    batch,
    ids,
    rows: ids === null ? null : rangesOf(ids),
    sameBatch:
      batch === null
        ? []
        : inOrder.filter((one) => one.batch === batch && one.step !== step).map((one) => one.step),
    resume: line === undefined ? null : resumeOf(inOrder, line.session.id),
    nearest: ids === null ? nearestTo(step, ledger.identified) : null,
  };
  return { ...found, statement: statementOf(found) };
}

/** Whole numbers as ranges, in the order of the batch; null if an id is something else. */
function rangesOf(ids: readonly Cell[]): { from: number; to: number }[] | null {
  const ranges: { from: number; to: number }[] = [];
  for (const id of ids) {
    if (typeof id !== 'number' || !Number.isSafeInteger(id)) return null;
    const last = ranges.at(-1);
    if (last !== undefined && id === last.to + 1) last.to = id;
    else ranges.push({ from: id, to: id });
  }
  return ranges;
}

type Line = Ledger['steps'] extends ReadonlyMap<number, infer T> ? T : never;

/** Of the process that took a step: where it began, and how many of its batches came before. Null of the first process. */
function resumeOf(inOrder: readonly Line[], session: string): StepBatch['resume'] {
  const own = inOrder.filter((one) => one.session.id === session);
  const first = own[0]!.step;
  const before = new Set(inOrder.filter((one) => one.step < first).map(({ batch }) => batch));
  if (before.size === 0) return null;
  const known = own.filter(({ batch }) => batch !== null);
  return { step: first, batches: known.length, again: known.filter(({ batch }) => before.has(batch)).length };
}

function nearestTo(step: number, kept: readonly number[]): StepBatch['nearest'] {
  if (kept.length === 0) return null;
  return {
    before: kept.findLast((one) => one < step) ?? null,
    after: kept.find((one) => one > step) ?? null,
  };
}

/** Ranges and ids that a sentence names. */
const SHOWN = 8;

function statementOf(found: Omit<StepBatch, 'statement'>): string {
  const { step, recorded, ids, rows, nearest, batch, sameBatch, resume } = found;
  if (!recorded) return `The ledger has no step ${step}.`;
  const sentences = [
    ids === null
      ? notKept(step, nearest)
      : `Step ${step} was trained on ${rows === null ? named(ids) : rangesText(rows, ids.length)}.`,
  ];
  if (batch === null) sentences.push('No batch was given to the recorder, so that equal ones are not known.');
  else if (sameBatch.length > 0)
    sentences.push(
      `The same batch came at ${sameBatch.length > 1 ? 'steps' : 'step'} ${shortened(sameBatch.map(String))}.`,
    );
  if (resume !== null && resume.again > 0)
    sentences.push(
      `The process that took it was resumed at step ${resume.step}; ${resume.again} of its ${counted(resume.batches, 'batch', 'batches')} had come before.`,
    );
  return sentences.join(' ');
}

const shortened = (texts: readonly string[]): string =>
  texts.slice(0, SHOWN).join(', ') + (texts.length > SHOWN ? ` and ${texts.length - SHOWN} more` : '');

const named = (ids: readonly Cell[]): string =>
  `${ids.length === 1 ? '' : `${ids.length} items: `}${shortened(ids.map(String))}`;

const rangesText = (rows: NonNullable<StepBatch['rows']>, count: number): string =>
  `${counted(count, 'row')}: ${shortened(rows.map(({ from, to }) => (from === to ? `${from}` : `${from} to ${to}`)))}`;

function notKept(step: number, nearest: StepBatch['nearest']): string {
  if (nearest === null)
    return `The rows of step ${step} are not known: no ids were given; pass batch_id= to the recorder.`;
  const places = [nearest.before, nearest.after].filter((one) => one !== null);
  return `The ids of step ${step} are not kept; the nearest that are: ${places.join(' and ')}.`;
}
