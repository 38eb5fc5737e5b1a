/** The baseline of a gate: values of an earlier, accepted run, kept in a file next to the config. */
import { formatNumber } from '../../model/format-number.ts';
import type { GateRule } from '../../model/gate.ts';
import { type ChartSeries, type RunReport, VERDICT_CLASSES } from '../../model/report.ts';
import type { Baseline } from './baseline-file.ts';
import { isWorse } from './thresholds.ts';

type BaselineRun = Baseline['runs'][number];
type BaselineValue = BaselineRun['values'][number];

/** Names of metrics that are better when higher, and lower; a metric that is neither is not in a baseline. */
const HIGHER =
  /(^|[^a-z])(auc|gauc|acc|accuracy|f1|precision|recall|ndcg|mrr|map|hit|hr|r2|bleu|rouge|top[-_]?[0-9]+)([^a-z]|$)/i;
const LOWER =
  /(^|[^a-z])(rmse|mse|mae|mape|error|err|wer|cer|ppl|perplexity|log_?loss|nll|ece|fid|bpb|bpc)([^a-z]|$)/i;

function directionOf(series: ChartSeries): 'lower' | 'higher' | undefined {
  if (series.role === 'loss' || series.role === 'task_loss' || series.role === 'eval_loss') return 'lower';
  if (series.role !== 'metric') return undefined;
  return HIGHER.test(series.name) ? 'higher' : LOWER.test(series.name) ? 'lower' : undefined;
}

/** Step of the extreme, as far as the report's buckets tell it: the last step of its bucket. */
function stepOfExtreme(series: ChartSeries, statistic: 'min' | 'max'): number | null {
  const at = series[statistic].indexOf(series.statistics[statistic] ?? Number.NaN);
  return series.lastStep[at] ?? null;
}

function valuesOf(run: RunReport): BaselineValue[] {
  return run.series.flatMap((series) => {
    const better = directionOf(series);
    if (better === undefined || series.points === 0) return [];
    const best = better === 'lower' ? 'min' : 'max';
    const entry = (statistic: 'last' | 'min' | 'max', value: number, step: number | null): BaselineValue => ({
      series: series.name,
      statistic,
      better,
      value,
      step,
    });
    return [
      entry('last', series.statistics.last, series.statistics.lastStep),
      entry(best, series.statistics[best] ?? Number.NaN, stepOfExtreme(series, best)),
    ];
  });
}

/**
 * The baseline of a report. Values that are not finite cannot be compared and are left out.
 *
 * @param previous runs that the report does not have stay as they were
 * @param ratchet keep each previous value (and class) that is better than the new one
 */
export function updateBaseline(
  report: { readonly runs: readonly RunReport[] },
  previous: Baseline | null,
  ratchet: boolean,
): Baseline {
  const runs = new Map((previous?.runs ?? []).map((run) => [run.id, run]));
  for (const run of report.runs) {
    const old = ratchet ? runs.get(run.id) : undefined;
    const rank = (name: BaselineRun['class']): number => VERDICT_CLASSES.indexOf(name);
    const exact = { absolute: 0, relative: 0 };
    const now = valuesOf(run).filter(({ value }) => Number.isFinite(value));
    // A series that is gone keeps its value: a ratchet that a renamed column resets holds nothing.
    const kept = (old?.values ?? []).filter((value) => {
      const other = now.find((candidate) => isSame(candidate, value));
      return other === undefined || isWorse(other.value, value.value, value.better, exact);
    });
    runs.set(run.id, {
      id: run.id,
      class: old !== undefined && rank(old.class) < rank(run.verdict.class) ? old.class : run.verdict.class,
      values: [...now.filter((value) => !kept.some((other) => isSame(other, value))), ...kept].sort((a, b) =>
        compare(`${a.series}\n${a.statistic}`, `${b.series}\n${b.statistic}`),
      ),
    });
  }
  return { schemaVersion: '1.0', runs: [...runs.values()].sort((a, b) => compare(a.id, b.id)) };
}

/** Order by code units: the same on every machine. */
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const isSame = (a: BaselineValue, b: BaselineValue): boolean =>
  a.series === b.series && a.statistic === b.statistic;

type BaselineJudgement = Omit<GateRule, 'id' | 'severity' | 'passed' | 'run'>;

/** A run against its baseline: one judgement for its class and one for each value that the baseline holds. */
export function judgeBaseline(
  run: RunReport,
  baseline: Baseline,
  tolerance: { readonly relative: number; readonly absolute: number },
  otherThresholds: string | null,
): BaselineJudgement[] {
  const base = baseline.runs.find(({ id }) => id === run.id);
  const judgement = (
    status: BaselineJudgement['status'],
    expected: string,
    message: string,
    place: { series?: string; found?: number; step?: number | null } = {},
  ): BaselineJudgement => ({
    status,
    expected,
    message,
    found: place.found ?? null,
    series: place.series ?? null,
    step: place.step ?? null,
    locations: [],
  });
  if (base === undefined)
    return [judgement('inconclusive', 'a run of the baseline', `the baseline has no run "${run.id}"`)];
  const worse = VERDICT_CLASSES.indexOf(run.verdict.class) > VERDICT_CLASSES.indexOf(base.class);
  const now = valuesOf(run);
  return [
    judgement(
      otherThresholds !== null ? 'inconclusive' : worse ? 'fail' : 'pass',
      `${base.class} or better`,
      otherThresholds ?? `the run is ${run.verdict.class}, its baseline ${base.class}`,
      { step: run.verdict.onsetStep },
    ),
    ...base.values.map((old) => {
      const name = `${old.statistic}(${old.series})`;
      const expected = `${name} ${old.better === 'lower' ? '<=' : '>='} ${old.value} with tolerance ${tolerance.absolute} + ${tolerance.relative}·|${old.value}|`;
      const value = now.find((other) => isSame(other, old));
      if (value === undefined)
        return judgement('inconclusive', expected, `the run has no series "${old.series}"`, {
          series: old.series,
        });
      const failed = isWorse(value.value, old.value, old.better, tolerance);
      return judgement(
        failed ? 'fail' : 'pass',
        expected,
        `${name} is ${formatNumber(value.value, 'lookup')} at step ${value.step}, its baseline ${formatNumber(old.value, 'lookup')} at step ${old.step}`,
        { series: old.series, found: value.value, step: value.step },
      );
    }),
  ];
}
