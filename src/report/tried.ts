/** What was tried against an incident, as rows and sentences of the page. */

import { LEARNS_SLOWER, type Remedy } from '../model/cause.ts';
import { formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { listed } from '../model/listed.ts';
import type { RunReport } from '../model/report.ts';
import type { Answer, Tried } from './answer.ts';
import { brief } from './page-words.ts';
import { replayLabel } from './replay-label.ts';
import { remedyName } from './why.ts';

interface TriedFigure {
  readonly title: string;
  /** null where it is not known. */
  readonly value: (one: Tried) => number | null;
  readonly text: (value: number) => string;
}

/** The columns of figures of what was tried, as every page has them. */
export const TRIED_FIGURES: readonly TriedFigure[] = [
  { title: 'loss at the end', value: ({ finalLoss }) => finalLoss, text: (loss) => brief(loss) },
  {
    title: 'changes healthy steps',
    value: ({ interference }) => interference,
    text: (share) => `${Math.round(100 * share)} %`,
  },
  {
    title: 'hardest cut',
    value: ({ smallestFactor }) => smallestFactor,
    text: (factor) => (factor === 1 ? 'none' : `to ${brief(100 * factor)} %`),
  },
];

/** The columns of figures of which some row has a value. */
export const figuresOf = (tried: readonly Tried[]): readonly TriedFigure[] =>
  TRIED_FIGURES.filter(({ value }) => tried.some((one) => value(one) !== null));

/** A figure of a row, or what replaces it where it is not known. */
export const figureText = ({ value, text }: TriedFigure, one: Tried, unknown: string): string => {
  const known = value(one);
  return known === null ? unknown : text(known);
};

/** The row of the run as it was. */
export const NOTHING = 'the run as it was';

/** How a remedy that was tried ended. */
export function triedWords(run: RunReport, { finalLoss, finalLossWithout }: Remedy): string {
  // Of several the table has it with how many of them held.
  const over = judgedOf(run).length > 1 ? '' : overBatches(run);
  if (finalLoss === null) return `Tried here${over}: it holds.`;
  const lost = run.verdict.class === 'non-finite' ? ' (without the fix: not a number)' : '';
  const without = finalLossWithout === null ? lost : ` (without the fix ${brief(finalLossWithout)})`;
  // Another loss than that of the first line, whose batches may be bad.
  return `Tried here${over}: mean loss on normal batches ${brief(finalLoss)}${without}.`;
}

/** The first and the last step that remedies were tried on; empty where none was trained. */
export function triedSteps({ replay }: RunReport): readonly number[] {
  const steps = replay
    .filter(({ mode }) => mode === 'closed-loop')
    .flatMap((loop) => [loop.steps[0], loop.steps.at(-1)])
    .filter((one) => one !== undefined);
  return steps.length === 0 ? [] : [Math.min(...steps), Math.max(...steps)];
}

/** The batches that remedies were tried on, as a clause; empty where none was trained. */
export function overBatches(run: RunReport): string {
  const [first, last] = triedSteps(run);
  return first === undefined ? '' : ` on batches ${formatCount(first)} to ${formatCount(last!)}`;
}

/** How many held, and which in addition to the one to use, in full and on one line; null where nothing was tried. */
export function triedSentence({
  tried,
  over,
}: Pick<Answer, 'tried' | 'over'>): { readonly text: string; readonly short: string } | null {
  const remedies = tried.filter(({ name }) => name !== NOTHING);
  if (remedies.length === 0) return null;
  const held = remedies.filter(({ holds }) => holds);
  // The fix says that none held, and which the only one is.
  if (held.length === 0 || remedies.length === 1) return null;
  const others = held
    .filter(({ use }) => !use)
    .slice(0, 2)
    .map(({ name, finalLoss }) => name + (finalLoss === null ? '' : ` (${brief(finalLoss)})`));
  const kept = `${held.length} of ${remedies.length}`;
  const also = (names: readonly string[]): string => (names.length === 0 ? '' : ` Also: ${listed(names)}.`);
  return {
    text: `${kept} remedies kept the run well${over}.${also(others)}`,
    short: `${kept} kept the run well.${also(others.slice(0, 1))}`,
  };
}

/** The paragraphs of an answer, with what was tried right after the fix. */
export function partsWithTried(answer: Pick<Answer, 'parts' | 'tried' | 'over'>): Answer['parts'] {
  const tried = triedSentence(answer);
  const fix = answer.parts.findIndex(({ label }) => label === 'Fix');
  return tried === null ? answer.parts : answer.parts.toSpliced(fix + 1, 0, { label: 'Tried', ...tried });
}

/** Whether a remedy was tried and does no harm, but holds every update back: what it does where the run broke was not seen. */
export const isSlower = ({ statement }: Remedy): boolean => statement.includes(LEARNS_SLOWER);

/** Remedies that were tried and are known to hold, or not to, or are too slow to tell. */
export const judgedOf = ({ remedies = [] }: RunReport): readonly Remedy[] =>
  remedies.filter((one) => one.tried !== null && (one.holds !== null || isSlower(one)));

export function triedOf(run: RunReport): Tried[] {
  const tried = judgedOf(run);
  if (tried.length === 0 || tried[0]!.action === 'none-needed') return [];
  const smallest = new Map(
    run.replay
      .filter((entry) => entry.mode === 'closed-loop' && entry.arm === undefined)
      .map((entry) => [
        replayLabel(entry),
        entry.minClipFactor.reduce((least, factor) => (factor < least ? factor : least), 1),
      ]),
  );
  const used = tried.find(({ holds }) => holds === true);
  const without = tried.find(({ finalLossWithout }) => finalLossWithout !== null)?.finalLossWithout ?? null;
  return [
    ...tried.map((one): Tried => {
      const least = one.rule === null ? undefined : smallest.get(one.rule);
      return {
        holds: isSlower(one) ? null : one.holds === true,
        name: inertName(remedyName(one, run)) + (isSlower(one) ? ' (too slow to tell)' : ''),
        finalLoss: one.finalLoss,
        interference: ['clip', 'skip-batches', 'skip-rows'].includes(one.action) ? one.interference : null,
        smallestFactor: least ?? null,
        use: one === used,
      };
    }),
    {
      holds: false,
      name: NOTHING,
      finalLoss: without,
      interference: null,
      smallestFactor: null,
      use: false,
    },
  ];
}
