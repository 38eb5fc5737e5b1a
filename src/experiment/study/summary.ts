/** What the cells of a study say together: each row at each learning rate, its best, how far it is stable. */
import { formatNumber, formatQuality } from '../../model/format-number.ts';
import { smallest } from '../../model/order-statistics.ts';
import {
  CELL_VERDICTS,
  METRIC_NAMES,
  type MeanAndSpread,
  type StudyCell,
  type StudyMetric,
  type StudyPlan,
  type StudyPoint,
  type StudySummary,
} from '../../model/study.ts';
import { pairedWith } from './paired.ts';

/** Whether one quality is better than another; NaN is the worst. */
export const isBetter = ({ name }: StudyMetric, a: number, b: number): boolean =>
  Number.isNaN(b) ? !Number.isNaN(a) : name === 'auc' ? a > b : a < b;

const qualityOf = ({ task, name }: StudyMetric, cell: StudyCell): number =>
  cell.metrics[task]?.[name] ?? Number.NaN;

function spread(values: readonly number[]): MeanAndSpread {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return { mean, sd: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}

const worstOf = (cells: readonly StudyCell[]) =>
  CELL_VERDICTS[Math.max(...cells.map(({ verdict }) => CELL_VERDICTS.indexOf(verdict)))]!;

/** The seeds of one rule at one rate. */
function pointOf(cells: readonly StudyCell[], metric: StudyMetric): StudyPoint {
  const counts: Partial<Record<StudyCell['verdict'], number>> = {};
  for (const { verdict } of cells) counts[verdict] = (counts[verdict] ?? 0) + 1;
  const trained = cells.filter(({ verdict }) => verdict !== 'crashed');
  const onsets = cells.flatMap(({ verdict, onsetStep }) =>
    verdict === 'lost' && onsetStep !== null ? [onsetStep] : [],
  );
  const [{ label, learningRate }] = cells as [StudyCell];
  return {
    learningRate,
    label,
    verdict: worstOf(cells),
    seeds: cells.length,
    counts,
    quality: spread(trained.map((cell) => qualityOf(metric, cell))),
    finalLoss: spread(trained.map(({ finalLoss }) => finalLoss)),
    lostAt: onsets.length === 0 ? null : smallest(onsets),
  };
}

/** Of several rules at one rate the best: by verdict, then by quality. */
function bestPoint(points: readonly StudyPoint[], metric: StudyMetric): StudyPoint {
  return points.reduce((best, next) => {
    const order = CELL_VERDICTS.indexOf(next.verdict) - CELL_VERDICTS.indexOf(best.verdict);
    return order < 0 || (order === 0 && isBetter(metric, next.quality.mean, best.quality.mean)) ? next : best;
  });
}

/** Summaries in the order of models and rows; rates of which a seed is missing are left out. */
export function summarise(
  study: StudyPlan,
  cells: readonly StudyCell[],
  metric: StudyMetric,
): StudySummary[] {
  const rows = rowsOf(study, cells, metric);
  return rows.map((row): StudySummary => {
    const others = rows.filter(({ model, best }) => model === row.model && best !== row.best);
    const own = cells.filter(({ model }) => model === row.model);
    const paired = others.flatMap(({ best }) =>
      row.best === null || best === null ? [] : (pairedWith(own, row.best, best, metric) ?? []),
    );
    return { ...row, paired };
  });
}

function rowsOf(
  study: StudyPlan,
  cells: readonly StudyCell[],
  metric: StudyMetric,
): Omit<StudySummary, 'paired'>[] {
  return study.models.flatMap((model) =>
    study.rules.map(({ rule }) => {
      const own = cells.filter((cell) => cell.model === model && cell.rule === rule);
      const labels = [...new Set(own.map(({ label }) => label))];
      const byLabel = labels.map((label) =>
        study.learningRates.flatMap((rate) => {
          const same = own.filter((cell) => cell.label === label && cell.learningRate === rate);
          return same.length < study.seeds ? [] : [pointOf(same, metric)];
        }),
      );
      const points = study.learningRates.flatMap((rate) => {
        const at = byLabel.flatMap((ones) => ones.filter((point) => point.learningRate === rate));
        return at.length === 0 ? [] : [bestPoint(at, metric)];
      });
      const holding = byLabel.flat().filter(({ verdict }) => verdict === 'holds');
      const best = holding.length === 0 ? null : bestPoint(holding, metric);
      const stable = byLabel.flatMap((ones, i) => {
        // Rates at which little is learnt in the time there is are too low, and not unstable.
        const begin = ones.findIndex(({ verdict }) => verdict !== 'hurt' && verdict !== 'frozen');
        const first = ones.findIndex(({ verdict }, k) => k >= begin && verdict !== 'holds');
        const end = begin < 0 ? 0 : first < 0 ? ones.length : first;
        const last = end > begin ? ones[end - 1] : undefined;
        return last === undefined ? [] : [{ label: labels[i]!, learningRate: last.learningRate }];
      });
      return {
        model,
        rule,
        points,
        best:
          best === null
            ? null
            : {
                label: best.label,
                options: own.find(({ label }) => label === best.label)!.options,
                learningRate: best.learningRate,
                quality: best.quality,
              },
        largestStable:
          stable.length === 0
            ? null
            : stable.reduce((most, next) => (next.learningRate > most.learningRate ? next : most)),
      };
    }),
  );
}

/** The best row against the next best, as a sentence; nothing where fewer than two seeds pair them. */
function nextWords(rows: readonly StudySummary[], best: NonNullable<StudySummary['best']>): string {
  const row = rows.find((one) => one.best === best);
  const [next] = [...(row?.paired ?? [])].sort((a, b) => Math.abs(a.difference) - Math.abs(b.difference));
  if (next === undefined) return '';
  const { against, learningRate, difference, standardError, seeds, smallestTold, seedsToTell } = next;
  const isTold = Math.abs(difference) > smallestTold;
  const more = isTold
    ? ''
    : `, which ${seeds} seeds do not tell from 0${seedsToTell.seeds === null ? '' : ` (${seedsToTell.seeds} would)`}`;
  return ` Next is ${against} at ${formatNumber(learningRate)}: the difference by seed is ${formatQuality(Math.abs(difference))} ± ${formatNumber(standardError, 'rough')}${more}.`;
}

const seedsOf = (rows: readonly StudySummary[]): number =>
  Math.max(0, ...rows.flatMap(({ points }) => points.map(({ seeds }) => seeds)));

/**
 * For each model which rule and rate are best, which rule carries the largest rate, and what is better and does not hold: a cell that
 * is hurt shows no number in the table.
 */
export function concludeStudy(summary: readonly StudySummary[], metric: StudyMetric): string {
  const models = [...new Set(summary.map(({ model }) => model))];
  return models
    .map((model) => {
      const rows = summary.filter((row) => row.model === model);
      const held = rows.flatMap(({ best }) => (best === null ? [] : [best]));
      const subject = models.length > 1 ? `${model}: ` : '';
      if (held.length === 0)
        return `${subject}No rule holds in all seeds at any learning rate that was tried.`;
      const best = held.reduce((most, next) =>
        isBetter(metric, next.quality.mean, most.quality.mean) ? next : most,
      );
      const stable = rows.flatMap(({ largestStable }) => (largestStable === null ? [] : [largestStable]));
      const furthest = Math.max(...stable.map(({ learningRate }) => learningRate));
      const carriers = stable
        .filter(({ learningRate }) => learningRate === furthest)
        .map(({ label }) => label);
      const quality = `${METRIC_NAMES[metric.name]} of ${metric.task} ${formatQuality(best.quality.mean)}${seedsOf(rows) > 1 ? ` ± ${formatNumber(best.quality.sd, 'rough')}` : ''}`;
      const reach =
        stable.length === 0
          ? ''
          : `; the largest rate that holds in all seeds is ${formatNumber(furthest)}, under ${carriers.join(', ')}`;
      // The best of the first task may have learnt little of another one.
      const higher = rows
        .flatMap(({ points }) => points)
        .filter(
          ({ verdict, quality: { mean } }) => verdict === 'hurt' && isBetter(metric, mean, best.quality.mean),
        )
        .sort((a, b) => (isBetter(metric, a.quality.mean, b.quality.mean) ? -1 : 1));
      const [top] = higher;
      const beyond =
        top === undefined
          ? ''
          : ` Better there, but behind in another task or seed: ${top.label} at ${formatNumber(top.learningRate)}, ${formatQuality(top.quality.mean)}${higher.length === 1 ? '' : `, and ${higher.length - 1} more`}.`;
      return `${subject}${best.label} at ${formatNumber(best.learningRate)} gives the best quality that holds in all seeds, ${quality}${reach}.${nextWords(rows, best)}${beyond}`;
    })
    .join(' ');
}
