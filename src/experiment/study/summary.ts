/** What the cells of a study say together: each row at each learning rate, its best, how far it is stable. */
import { counted, formatNumber, formatQuality } from '../../model/format-number.ts';
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
import { leadersOf } from './compare-cells.ts';
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

/** What gives the best quality of a model, and what the seeds do not tell from it. */
interface Leader {
  readonly point: Pick<StudyPoint, 'label' | 'learningRate' | 'quality'>;
  readonly rule: string;
  /** Rates of each rule that are as good in the worst task, as far as the seeds tell: most first. */
  readonly near: readonly (readonly [string, number])[];
  /** These, as the label and the rate of each. */
  readonly asGood: readonly Pick<StudyPoint, 'label' | 'learningRate'>[];
}

/**
 * Of the rules that are as good as the best, as far as the seeds tell, the one that is so at the most learning rates: which of them
 * has the highest mean is chance, and turns over with a bump of the data.
 */
function leaderOf(
  rows: readonly StudySummary[],
  cells: readonly StudyCell[],
  metric: StudyMetric,
): Leader | null {
  const byRule = new Map<string, StudyPoint[]>();
  for (const seeds of leadersOf(cells)) {
    const { rule } = seeds[0]!;
    byRule.set(rule, [...(byRule.get(rule) ?? []), pointOf(seeds, metric)]);
  }
  const best = (points: readonly StudyPoint[]): StudyPoint => bestPoint(points, metric);
  const [first, ...others] = [...byRule].sort(
    ([, a], [, b]) =>
      ratesOf(b) - ratesOf(a) || (isBetter(metric, best(a).quality.mean, best(b).quality.mean) ? -1 : 1),
  );
  if (first !== undefined) {
    const near = [first, ...others].map(([rule, points]) => [rule, ratesOf(points)] as const);
    return { point: best(first[1]), rule: first[0], near, asGood: [...byRule.values()].flat() };
  }
  const held = rows.flatMap(({ best: own, rule }) =>
    own === null ? [] : [{ point: own, rule, near: [], asGood: [] }],
  );
  return held.length === 0
    ? null
    : held.reduce((most, next) =>
        isBetter(metric, next.point.quality.mean, most.point.quality.mean) ? next : most,
      );
}

/** Of a grid several rules are one row. */
const ratesOf = (points: readonly StudyPoint[]): number =>
  new Set(points.map(({ learningRate }) => learningRate)).size;

/** The leader against the next best row, as a sentence; nothing where fewer than two seeds pair them. */
function nextWords(
  rows: readonly StudySummary[],
  { rule, point }: Leader,
  cells: readonly StudyCell[],
  metric: StudyMetric,
): string {
  const [next] = rows
    .flatMap((row) =>
      row.rule === rule || row.best === null ? [] : (pairedWith(cells, point, row.best, metric) ?? []),
    )
    .sort((a, b) => Math.abs(a.difference) - Math.abs(b.difference));
  if (next === undefined) return '';
  const { against, learningRate, difference, standardError, seeds, smallestTold, seedsToTell } = next;
  const isTold = Math.abs(difference) > smallestTold;
  const more = isTold
    ? ''
    : `, which ${seeds} seeds do not tell from 0${seedsToTell.seeds === null ? '' : ` (${seedsToTell.seeds} would)`}`;
  return ` Nearest is ${against} at ${formatNumber(learningRate)}: the difference by seed is ${formatQuality(Math.abs(difference))} ± ${formatNumber(standardError, 'rough')}${more}.`;
}

const seedsOf = (rows: readonly StudySummary[]): number =>
  Math.max(0, ...rows.flatMap(({ points }) => points.map(({ seeds }) => seeds)));

/**
 * For each model which rule and rate are best, which rule carries the largest rate, and what is better at the first task alone.
 *
 * @param cells of all models, compared; none where only the summaries are known
 */
export function concludeStudy(
  summary: readonly StudySummary[],
  metric: StudyMetric,
  cells: readonly StudyCell[] = [],
): string {
  const models = [...new Set(summary.map(({ model }) => model))];
  return models
    .map((model) => {
      const words = concludeModel(
        summary.filter((row) => row.model === model),
        metric,
        cells.filter((cell) => cell.model === model),
      );
      return models.length > 1 ? `${model}: ${words}` : words;
    })
    .join(' ');
}

function concludeModel(
  rows: readonly StudySummary[],
  metric: StudyMetric,
  cells: readonly StudyCell[],
): string {
  const leader = leaderOf(rows, cells, metric);
  if (leader === null) return 'No rule holds in all seeds at any learning rate that was tried.';
  const { label, learningRate, quality } = leader.point;
  const stable = rows.flatMap(({ largestStable }) => (largestStable === null ? [] : [largestStable]));
  const furthest = Math.max(...stable.map((one) => one.learningRate));
  const carriers = stable.filter((one) => one.learningRate === furthest).map((one) => one.label);
  const spread = seedsOf(rows) > 1 ? ` ± ${formatNumber(quality.sd, 'rough')}` : '';
  const reach =
    stable.length === 0
      ? ''
      : `; the largest rate that holds in all seeds is ${formatNumber(furthest)}, under ${carriers.join(', ')}`;
  const near = leader.near.map(([rule, rates]) => `${rule} at ${counted(rates, 'rate')}`).join(', ');
  const told = near === '' ? '' : ` Within three paired errors of the best in the worst task: ${near}.`;
  return `${label} at ${formatNumber(learningRate)} gives the best quality that holds in all seeds, ${METRIC_NAMES[metric.name]} of ${metric.task} ${formatQuality(quality.mean)}${spread}${reach}.${told}${nextWords(rows, leader, cells, metric)}${beyondWords(rows, leader, metric)}`;
}

/** What is better on the first task and behind elsewhere, as a sentence: a cell that is hurt shows no number in the table. */
function beyondWords(rows: readonly StudySummary[], { point, asGood }: Leader, metric: StudyMetric): string {
  const isAsGood = ({ label, learningRate }: StudyPoint): boolean =>
    asGood.some((one) => one.label === label && one.learningRate === learningRate);
  const higher = rows
    .flatMap(({ points }) => points)
    .filter(
      (one) =>
        (one.verdict === 'hurt' || (one.verdict === 'holds' && asGood.length > 0 && !isAsGood(one))) &&
        isBetter(metric, one.quality.mean, point.quality.mean),
    )
    .sort((a, b) => (isBetter(metric, a.quality.mean, b.quality.mean) ? -1 : 1));
  const [top] = higher;
  return top === undefined
    ? ''
    : ` Better there, but behind in another task or seed: ${top.label} at ${formatNumber(top.learningRate)}, ${formatQuality(top.quality.mean)}${higher.length === 1 ? '' : `, and ${higher.length - 1} more`}.`;
}
