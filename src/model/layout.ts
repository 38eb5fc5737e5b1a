/** Layouts of printed lines as data, and how lines are seen: the vocabulary of `teach`, `inspect --tokens` and of a config. */

/** What a number of a line may be. */
export const FIELD_ROLES = ['loss', 'eval_loss', 'metric', 'step', 'epoch', 'batch', 'rank', 'none'] as const;
export type FieldRole = (typeof FIELD_ROLES)[number];

/** One number of a line. */
export interface LayoutField {
  /** Its place among the numbers of the sample, from 1, as `inspect --tokens` counts them. */
  readonly at: number;
  /** The name of its series; that of its role where it is left out. */
  readonly name?: string;
  readonly role?: FieldRole;
}

/** A layout of printed lines. */
export interface TextLayout {
  readonly name: string;
  /** A line of a log, as it is: a test and the reader take the layout from it. */
  readonly sample: string;
  readonly fields: readonly LayoutField[];
}

/** A piece of a line. */
export interface SeenToken {
  /** The bytes of the line that it is. */
  readonly from: number;
  readonly to: number;
  readonly text: string;
  readonly kind: 'text' | 'number' | 'total' | 'clock' | 'missing';
  /** Of a number its place among the numbers, from 1: `--map loss=#2` and the fields of a layout count so. */
  readonly at?: number;
  /** What it is called, and what it is for. */
  readonly name?: string;
  readonly use?: string;
}

/** Lines of one shape in a text. */
export interface SeenTable {
  readonly line: number;
  readonly sample: string;
  readonly rows: number;
  readonly columns: readonly {
    readonly at: number;
    readonly name: string;
    readonly first: number;
    readonly last: number;
  }[];
}

/** What a layout reads of its log, and of a twin whose loss is NaN in one row. */
export interface LayoutProof {
  readonly loss: string;
  readonly records: number;
  readonly statement: string;
  /** The line of the twin that was made NaN. */
  readonly nanAtLine: number;
  /** Whether the layout reads the log, and the twin has one NaN more, in that line, and the same numbers elsewhere. */
  readonly holds: boolean;
}
