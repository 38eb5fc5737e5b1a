/** The stability study: what `matrix STUDY.yaml` trains, and prints with `--json`. */
import type { Options } from './options.ts';
import type { VerdictClass } from './report.ts';

/** Of a cell, best first: `frozen` learned nothing, `crashed` could not be trained. */
export const CELL_VERDICTS = ['holds', 'hurt', 'frozen', 'lost', 'crashed'] as const;
export type CellVerdict = (typeof CELL_VERDICTS)[number];

/** Quality of a task on the test part; null where the metric does not belong to its loss, NaN where outputs are not finite. */
export interface TaskQuality {
  readonly auc: number | null;
  readonly logloss: number | null;
  readonly rmse: number | null;
}

/** One training. */
export interface StudyCell {
  readonly model: string;
  /** The row of the study that the rule belongs to: its label, or of a grid its id. */
  readonly rule: string;
  /** The rule with its options, as `--rule` takes it. */
  readonly label: string;
  readonly options: Options;
  readonly learningRate: number;
  readonly seed: number;
  readonly verdict: CellVerdict;
  /** The judge's class of the training losses; null where the cell crashed. */
  readonly class: VerdictClass | null;
  /** Step, counted from 0, at which the incident began; null where there is none. */
  readonly onsetStep: number | null;
  /** Median of the last ten losses; NaN where one of them is not finite. */
  readonly finalLoss: number;
  /** By task. */
  readonly metrics: Readonly<Record<string, TaskQuality>>;
  /** The largest loss in each of up to 64 stretches of equal length. */
  readonly curve: readonly number[];
  /** Why it crashed. */
  readonly error?: string;
}

export interface MeanAndSpread {
  readonly mean: number;
  /** Standard deviation over the seeds; 0 of one. */
  readonly sd: number;
}

/** A row of the study at one learning rate: of a grid its best rule there. */
export interface StudyPoint {
  readonly learningRate: number;
  readonly label: string;
  /** The worst verdict of its seeds. */
  readonly verdict: CellVerdict;
  readonly seeds: number;
  /** Seeds by verdict. */
  readonly counts: Readonly<Partial<Record<CellVerdict, number>>>;
  /** Of the first task, over the seeds that did not crash. */
  readonly quality: MeanAndSpread;
  readonly finalLoss: MeanAndSpread;
  /** The earliest onset among the lost. */
  readonly lostAt: number | null;
}

export interface StudySummary {
  readonly model: string;
  readonly rule: string;
  /** In the order of the learning rates. */
  readonly points: readonly StudyPoint[];
  /** The best quality among rule and learning rate that hold in all seeds; null where none does. */
  readonly best: {
    readonly label: string;
    readonly options: Options;
    readonly learningRate: number;
    readonly quality: MeanAndSpread;
  } | null;
  /** The largest learning rate up to which one rule of the row holds in all seeds at every rate tried; null where none does. */
  readonly largestStable: { readonly label: string; readonly learningRate: number } | null;
  /** Against the best of every other row of the model that has one; none of one seed. */
  readonly paired: readonly StudyPaired[];
}

/** The best of a row against that of another row of its model, paired by seeds. */
export interface StudyPaired {
  /** The other rule with its options, and its learning rate. */
  readonly against: string;
  readonly learningRate: number;
  /** Mean difference of the quality of the first task, this row less the other. */
  readonly difference: number;
  readonly standardError: number;
  /** Seeds that both have. */
  readonly seeds: number;
  /** The smallest difference that so many seeds tell from 0 at 95 %. */
  readonly smallestTold: number;
  /** How many seeds would tell the difference that was found; null where 1,000 would not. */
  readonly seedsToTell: { readonly difference: number; readonly seeds: number | null };
}

export const METRIC_NAMES = { auc: 'AUC', rmse: 'RMSE' } as const;

/** Which number compares two cells: the first task's. */
export interface StudyMetric {
  readonly task: string;
  readonly name: keyof typeof METRIC_NAMES;
}

/** Which cells a study has. */
export interface StudyPlan {
  readonly models: readonly string[];
  /** The rows, each with the rules of its grid. */
  readonly rules: readonly { readonly rule: string; readonly labels: readonly string[] }[];
  readonly learningRates: readonly number[];
  /** Whether the largest stable rate is searched for among the rates; else all are tried. */
  readonly searched: boolean;
  readonly seeds: number;
}

export interface StudyInfo extends StudyPlan {
  /** As named. */
  readonly file: string;
  /** SHA-256 of everything that decides the results: the study, its data, its initialisation. */
  readonly key: string;
  readonly batch: number;
  /** Steps of one cell. */
  readonly steps: number;
  readonly metric: StudyMetric;
  readonly windows: number;
}

export interface StudyResult {
  readonly study: StudyInfo;
  /** Of a part of a study: the index-th of count, counted from 1. */
  readonly shard?: { readonly index: number; readonly count: number };
  /** Model by model, rule by rule, learning rates and then seeds within. */
  readonly cells: readonly StudyCell[];
  /** Cells that were not trained: the time was up, or they belong to other shards. */
  readonly missing: number;
  readonly summary: readonly StudySummary[];
  readonly conclusion: string;
  readonly notes: readonly string[];
}
