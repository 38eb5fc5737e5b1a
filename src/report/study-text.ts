/** A study as tables: learning rate × rule for each model, quality where every seed holds, what happened elsewhere. */
import { Ansis } from 'ansis';
import { countedPlain, formatNumber, formatQuality } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import {
  type CellVerdict,
  METRIC_NAMES,
  type StudyPoint,
  type StudyResult,
  type StudySummary,
} from '../model/study.ts';
import { toAscii } from './ascii.ts';
import type { RenderOptions } from './format.ts';
import { textTable } from './text-table.ts';
import { textWidth } from './text-width.ts';
import { wrap } from './wrap.ts';

/** What a cell of the table says of its seeds: how many are as bad as the worst, and when the first was lost. */
export function pointText({ verdict, counts, seeds, lostAt }: StudyPoint): string {
  if (verdict === 'holds') return '';
  const share = seeds === 1 ? '' : `${counts[verdict]}/${seeds} `;
  return `${share}${verdict}${lostAt === null ? '' : ` @${lostAt}`}`;
}

const qualityText = ({ quality, seeds }: StudyPoint): string =>
  `${formatQuality(quality.mean)}${seeds > 1 ? ` ±${formatNumber(quality.sd, 'rough')}` : ''}`;

/** What happened, with the quality all the same where there is one. */
const otherText = (point: StudyPoint): string =>
  Number.isFinite(point.quality.mean) ? `${pointText(point)}, ${qualityText(point)}` : pointText(point);

/** Cells of one model: the head and a line for each rule. */
export function studyTable(
  result: StudyResult,
  model: string,
): { head: string[]; rows: { text: string; point: StudyPoint | null; best: boolean }[][]; names: string[] } {
  const rates = result.study.learningRates.filter((rate) =>
    result.summary.some(({ points }) => points.some(({ learningRate }) => learningRate === rate)),
  );
  const own = result.summary.filter((row) => row.model === model);
  return {
    head: rates.map((rate) => formatNumber(rate)),
    names: own.map(({ rule }) => rule),
    rows: own.map((row) =>
      rates.map((rate) => {
        const point = row.points.find(({ learningRate }) => learningRate === rate) ?? null;
        const best = point !== null && isBest(row, point);
        const text =
          point === null
            ? ''
            : point.verdict === 'holds'
              ? `${qualityText(point)}${best ? '*' : ''}`
              : otherText(point);
        return { text, point, best };
      }),
    ),
  };
}

export const isBest = ({ best }: StudySummary, { label, learningRate }: StudyPoint): boolean =>
  best !== null && best.label === label && best.learningRate === learningRate;

const MOST_CRASHES = 5;

/** Cells that could not be trained, with why. */
export function crashLines({ cells, study }: StudyResult): string[] {
  const crashed = cells.filter(({ verdict }) => verdict === 'crashed');
  const lines = crashed
    .slice(0, MOST_CRASHES)
    .map(
      ({ model, label, learningRate, seed, error = '' }) =>
        `crashed: ${study.models.length > 1 ? `${model}, ` : ''}${label} at ${formatNumber(learningRate)}, seed ${seed}: ${error}`,
    );
  const more = crashed.length - lines.length;
  return more > 0 ? [...lines, `crashed: ${more} more, which the JSON names`] : lines;
}

/** What a reader of the table has to know. */
export function studyLegend({ study }: StudyResult): string {
  const name = METRIC_NAMES[study.metric.name];
  return `Columns are learning rates. A number is the ${name} of ${study.metric.task} on rows that were not trained on, ${study.seeds === 1 ? 'of one seed' : `mean ± standard deviation of ${countedPlain(study.seeds, 'seed')}`}; * is the best of its line. A cell holds if it has learnt at least 0.9 of what the best of its model has, on every task (AUC above 0.5; RMSE: best over own), or is within three paired errors of it. Elsewhere: how many seeds are hurt (at least half of it, or a constant is better), lost, frozen (learned nothing) or crashed (not trained), and @ the step at which the earliest was lost.`;
}

/** The best of each row, and how far it goes. */
export const bestLines = ({ summary, study }: StudyResult, model: string): string[][] =>
  summary
    .filter((row) => row.model === model)
    .map(({ rule, best, largestStable }) => [
      rule,
      best === null
        ? 'holds at no rate'
        : `${best.label} at ${formatNumber(best.learningRate)}: ${METRIC_NAMES[study.metric.name]} ${formatQuality(best.quality.mean)}`,
      largestStable === null ? '–' : `${formatNumber(largestStable.learningRate)} (${largestStable.label})`,
    ]);

/** Pure. */
export function renderStudy(result: StudyResult, options: RenderOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const fit = (text: string): string => wrap(inertName(text), options.width, '', '  ').join('\n');
  const tone = (verdict: CellVerdict): ((text: string) => string) =>
    verdict === 'holds'
      ? paint.green
      : verdict === 'lost' || verdict === 'crashed'
        ? paint.red
        : paint.yellow;
  const { study } = result;
  const blocks = study.models.flatMap((model) => {
    const { head, rows, names } = studyTable(result, model);
    const whole = textTable({
      head: ['rule', ...head],
      rows: rows.map((cells, r) => [inertName(names[r]!), ...cells.map(({ text }) => text)]),
      left: 1,
      paintHead: paint.bold,
      paintCell: (text, r, c) => {
        const point = c === 0 ? null : rows[r]![c - 1]!.point;
        return point === null ? text : tone(point.verdict)(text);
      },
    });
    const table = whole.every((line) => textWidth(line) <= options.width)
      ? whole
      : rows.flatMap((cells, r) => [
          paint.bold(inertName(names[r]!)),
          ...textTable({
            rows: cells.flatMap(({ text }, c) => (text === '' ? [] : [[head[c]!, text]])),
          }).map((line) => `  ${line}`),
        ]);
    const lines = bestLines(result, model).map((cells) => cells.map(inertName));
    const wide = textTable({
      head: ['rule', 'best', 'largest stable rate'],
      rows: lines,
      paintHead: paint.bold,
    });
    const best = wide.every((line) => textWidth(line) <= options.width)
      ? wide
      : lines.map(([rule, quality, stable]) => fit(`${rule}: ${quality}; largest stable rate ${stable}`));
    return [paint.bold(inertName(model)), table.join('\n'), best.join('\n')];
  });
  // The answer first, what crashed last.
  const text = [
    paint.bold(fit(result.conclusion)),
    fit(
      `${result.cells.length} cells of ${study.steps} steps of ${study.batch} rows${study.windows > 1 ? ` in ${study.windows} windows` : ''}.`,
    ),
    ...blocks,
    fit(studyLegend(result)),
    ...result.notes.map((note) => fit(`note: ${note}`)),
    ...crashLines(result).map((line) => paint.red(fit(line))),
  ].join('\n\n');
  return `${options.ascii ? toAscii(text) : text}\n`;
}
