/** Two runs against each other: where they part, and in which settings they differ. */
import type { Cell } from './cell.ts';

/** What of a step can differ between two runs, in the order in which one leads to the next. */
export const COMPARED_LINKS = [
  'batch',
  'rng',
  'options',
  'weights',
  'loss',
  'gradient',
  'clip',
  'state',
  'update',
] as const;
export type ComparedLink = (typeof COMPARED_LINKS)[number];

/** What a difference is measured against. */
export const FLOOR_KINDS = ['measured', 'rounding', 'seeds'] as const;

/** The first place at which two runs differ. */
export interface RunDifference {
  readonly step: number;
  readonly link: ComparedLink;
  /** The first tensor in forward order; null where the link has none. */
  readonly tensor: string | null;
  /** Relative size of the difference; null where it differs in kind. */
  readonly size: number | null;
}

/** Two runs, or two groups of runs, against each other. Since schema 3.0; {@link Comparison} is the form of 2.0. */
export interface RunComparison {
  /** Paths of the runs as they were named, of each side. */
  readonly runs: { readonly a: readonly string[]; readonly b: readonly string[] };
  /** Steps of which both tell something, and the links that both tell at one of them or more. */
  readonly compared: {
    readonly steps: number;
    readonly from: number;
    readonly to: number;
    readonly links: readonly ComparedLink[];
  };
  readonly settings: readonly { readonly key: string; readonly a: Cell; readonly b: Cell }[];
  /** Whether both begin alike, so that steps are compared and not only levels. */
  readonly paired: boolean;
  readonly floor: { readonly kind: (typeof FLOOR_KINDS)[number]; readonly relative: number | null };
  /** Where they differ at all, and where they are apart by more than the floor; null where they are not. */
  readonly differsAt: RunDifference | null;
  readonly partsAt: RunDifference | null;
  /** First step after which the difference never falls under the floor again; null where there is none. */
  readonly forGoodFrom: number | null;
  /** Levels of the loss at the end, their relative difference and its standard error; null without a loss. */
  readonly end: {
    readonly a: number;
    readonly b: number;
    readonly relative: number;
    readonly standardError: number | null;
  } | null;
  /** Of several runs a side: the difference of their ends, and how many seeds would show which difference. */
  readonly seeds?: {
    readonly pairs: number;
    readonly difference: number;
    readonly standardError: number;
    readonly smallestTold: number;
    readonly seedsToTell: { readonly difference: number; readonly seeds: number };
  };
  readonly verdict: 'same' | 'apart' | 'cannot-tell';
  readonly statement: string;
  /** What would tell more. */
  readonly more: readonly string[];
  /** What a page draws; only where a page is made. */
  readonly picture?: ComparisonPicture;
}

/** Losses and tensors of two runs, thinned to what a page can draw. */
export interface ComparisonPicture {
  /** Losses at the steps of both, one number for each bucket of steps. */
  readonly losses: {
    /** First step of each bucket. */
    readonly steps: readonly number[];
    /** Losses at the last step of each bucket. */
    readonly a: readonly number[];
    readonly b: readonly number[];
    /** Largest relative difference in each bucket. */
    readonly difference: readonly number[];
    /** The floor in each bucket; null where it has none. */
    readonly floor: readonly (number | null)[];
  };
  /** Of each link with tensors in both runs: sizes by tensor and step. */
  readonly tensors: readonly TensorPicture[];
}

export interface TensorPicture {
  readonly link: ComparedLink;
  readonly steps: readonly number[];
  readonly tensors: readonly {
    readonly name: string;
    /** Relative size of the difference at each step; 0 where equal to the bit, null where not known. */
    readonly sizes: readonly (number | null)[];
  }[];
  /** Tensors that are left out; those with the largest differences are kept, in forward order. */
  readonly left: number;
}

/** Whether a comparison is of a report of schema 2.x, which is read and shown but no longer written. */
export const isOldComparison = (comparison: Comparison | RunComparison): comparison is Comparison =>
  'outcome' in comparison;

/** A series that both runs have, at the steps that both logged. */
export interface SeriesComparison {
  readonly name: string;
  /** Steps that both logged. */
  readonly steps: number;
  /** First step at which the values are not the same; null where all are. */
  readonly differsAt: number | null;
  /** Step from which on they are apart to the end; null where they are not. */
  readonly partsAt: number | null;
  /** Medians of the last values of each. */
  readonly last: readonly [number, number];
  /** Distance of these, and what a distance must exceed to the end for a parting: a share of the value where `relative`, else in the unit of the series. */
  readonly apart: number;
  readonly limit: number;
  readonly relative: boolean;
}

export const SETTING_KINDS = ['learning-rate', 'optimizer', 'clipping', 'data', 'seed', 'other'] as const;

export interface SettingDifference {
  readonly name: string;
  readonly kind: (typeof SETTING_KINDS)[number];
  /** Of each run; left out where it does not tell this setting. */
  readonly first?: Cell;
  readonly second?: Cell;
}

/** The captures of two runs, at the steps that both recorded. */
export interface CapturesComparison {
  readonly paths: readonly [string, string];
  /** First and last step that were compared. */
  readonly steps: readonly [number, number];
  /** What both recorded (weights, batch, learning rate, loss, gradient), at how many steps, and the first at which it differs. */
  readonly compared: readonly {
    readonly what: string;
    readonly steps: number;
    readonly differsAt: number | null;
  }[];
}

/** The comparison of schema 2.x. */
export interface Comparison {
  /** Their paths: ids of runs in two folders may be the same. */
  readonly runs: readonly [string, string];
  /** `cannot-tell`: too few steps in common. */
  readonly outcome: 'same' | 'within-noise' | 'part' | 'cannot-tell';
  readonly why: string;
  /** The step of the parting, and the first of the losses (else of the series) that parts. */
  readonly step: number | null;
  readonly series: string | null;
  /** Losses first, then those that part first. */
  readonly compared: readonly SeriesComparison[];
  readonly settings: readonly SettingDifference[];
  /** Settings that both tell, with the same value or another. */
  readonly settingsCompared: number;
  /** Left out where a run has no capture, or they have no step in common. */
  readonly captures?: CapturesComparison;
}
