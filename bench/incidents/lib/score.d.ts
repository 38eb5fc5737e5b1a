export interface Share {
  readonly hits: number;
  readonly n: number;
  readonly share: number | null;
  readonly low: number | null;
  readonly high: number | null;
}
export interface Middle {
  readonly n: number;
  readonly median: number | null;
  readonly low: number | null;
  readonly high: number | null;
}
export type Measures = { readonly onsetError: Middle; readonly seconds: Middle } & {
  readonly [name in
    | 'detection'
    | 'falseAlarm'
    | 'abstained'
    | 'class'
    | 'onsetNear'
    | 'link'
    | 'trigger'
    | 'tensor'
    | 'factor'
    | 'remedy'
    | 'honoured'
    | 'failed']: Share;
};
export interface Result {
  readonly truth: object;
  readonly answer: object | null;
  readonly seconds: number;
}
export interface Scored {
  readonly evidence: string;
  readonly n: number;
  readonly measures: Measures;
  readonly byFault: Readonly<Record<string, Measures>>;
  readonly worst: readonly {
    readonly fault: string;
    readonly missed: number;
    readonly falseAlarms: number;
  }[];
}
export function score(results: readonly Result[], evidence: string): Scored;
export function falls(
  measures: Measures,
  floor: Readonly<Record<string, { readonly least?: number; readonly most?: number }>>,
): string[];
export function onsetError(onset: number, window: { readonly first: number; readonly last: number }): number;
