/**
 * When a recorder writes a capture though the judge of single losses is silent: python/src/clippy_diag/triggers.py in TypeScript.
 *
 * A rate that is far too large shows before there is a band, and a net that learns nothing never shows in one. The gradient's
 * norm may change permanently, or a gradient, weight or state be lost, under a loss that stays as it was.
 */
import { lossStream } from '../../judge/incidents/stream.ts';

/** Before there is a band a loss is an incident so many times above the largest of the first ones. */
const EARLY_RATIO = 20;
const EARLY_LOSSES = 60;
/** After so many losses a net has learnt, or its first steps are written. */
const LEARNS_WITHIN = 500;
/** Standard errors that the newest losses are below the first ones where something was learnt. */
const LEARNT_ERRORS = 3;
/** Norms that make a level, newest ones that all lie outside of it, times it that their median is, share within which it was. */
const [LEVEL, NEWEST, TIMES, SAME] = [50, 5, 1.8, 0.5];

/** Rounded as Python's `.6g` rounds. */
const short = (value: number, digits = 6): string => String(Number(value.toPrecision(digits)));
const meanOf = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;
/** Standard error of a mean, n − 1 in the deviation. */
function errorOf(values: readonly number[]): number {
  const mean = meanOf(values);
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(values.length - 1) >> 1]! + sorted[values.length >> 1]!) / 2;
}

/** Losses that explode before there is a band to compare them with. */
function early() {
  let losses = 0;
  let largest = 0;
  return (loss: number): string | null => {
    if (losses >= EARLY_LOSSES || !Number.isFinite(loss)) return null;
    const before = largest;
    largest = Math.max(largest, Math.abs(loss));
    if (losses++ === 0 || before === 0 || loss <= EARLY_RATIO * before) return null;
    losses = EARLY_LOSSES;
    return `loss ${short(loss)} after at most ${short(before)} in the first steps`;
  };
}

/** Why an incident begins at the newest loss, and whether the loss has fallen since the start. */
export function lossWatch() {
  const judge = lossStream();
  const explodes = early();
  const first: number[] = [];
  const newest: number[] = [];
  let count = 0;
  let learnt: boolean | null = null;
  const fell = (): boolean => {
    // Means of blocks of five hold what neighbouring losses have in common.
    const blocks = Array.from({ length: newest.length / 5 }, (_, k) =>
      meanOf(newest.slice(5 * k, 5 * k + 5)),
    );
    const error = Math.hypot(errorOf(blocks), errorOf(first));
    return meanOf(newest) < meanOf(first) - LEARNT_ERRORS * error;
  };
  const learning = (loss: number): string | null => {
    count++;
    if (learnt !== null || !Number.isFinite(loss)) return null;
    if (first.length < 10) {
      first.push(loss);
      return null;
    }
    newest.push(loss);
    if (newest.length > LEARNS_WITHIN / 10) newest.shift();
    const full = newest.length === LEARNS_WITHIN / 10;
    if (full && count % 25 === 0 && fell()) learnt = true;
    if (learnt !== null || count < LEARNS_WITHIN || !full) return null;
    learnt = false;
    const [now, then] = [meanOf(newest), meanOf(first)].map((value) => short(value, 4));
    return `nothing was learnt in ${count} steps: the loss is ${now}, and was ${then} at first`;
  };
  return {
    /** Whether the loss has fallen since the start; null as long as that is not known. */
    get learnt() {
      return learnt;
    },
    /** @returns why an incident begins, and whether that is that nothing was learnt */
    add(loss: number): { readonly reason: string; readonly nothingLearnt: boolean } | null {
      const incident = judge.add(loss);
      const judged = !incident?.begins
        ? null
        : Number.isFinite(loss)
          ? `loss ${loss} after a median of ${incident.before}`
          : `loss is ${loss}`;
      const exploded = explodes(loss);
      const nothing = learning(loss);
      const reason = judged ?? exploded ?? nothing;
      return reason === null ? null : { reason, nothingLearnt: judged === null && exploded === null };
    },
  };
}

/** Whether the norm of the gradient is several times as large, or as small, from one step on; reported once. */
export function normWatch() {
  const held: number[] = [];
  let told = false;
  return (norm: number): string | null => {
    if (told || !Number.isFinite(norm)) return null;
    held.push(norm);
    if (held.length < 2 * LEVEL + NEWEST) return null;
    if (held.length > 2 * LEVEL + NEWEST) held.shift();
    const [earlier, before, newest] = [held.slice(0, LEVEL), held.slice(LEVEL, -NEWEST), held.slice(-NEWEST)];
    if (Math.min(...newest) <= Math.max(...before) && Math.max(...newest) >= Math.min(...before)) return null;
    const [then, level, now] = [medianOf(earlier), medianOf(before), medianOf(newest)];
    if (Math.max(level, now) < TIMES * Math.min(level, now) || Math.abs(then - level) > SAME * level)
      return null;
    told = true;
    return `the norm of the gradient is ${short(now, 4)} in the last ${NEWEST} steps, and was ${short(level, 4)}`;
  };
}

interface Values {
  readonly data: Float32Array | Int32Array;
}

/** Finite where all values are: the square of no float32 overflows. */
function squaresOf({ data }: Values): number {
  let squares = 0;
  for (let i = 0; i < data.length; i++) squares += data[i]! * data[i]!;
  return squares;
}

/** Euclidean norm of the tensors that are called `grad/<name>`. */
export const gradientNorm = (tensors: Readonly<Record<string, Values>>): number =>
  Math.sqrt(
    Object.entries(tensors).reduce(
      (sum, [name, one]) => sum + (name.startsWith('grad/') ? squaresOf(one) : 0),
      0,
    ),
  );

const KINDS: Readonly<Record<string, string>> = {
  grad: 'gradients',
  param: 'weights',
  state: 'optimizer state',
};

/** Values that are not finite are an incident of their own, when they first appear: a loss may stay finite. */
export function finiteWatch() {
  let broken = new Set<string>();
  /** @param seen tensors by `grad/<name>`, `param/<name>`, `state/<slot>/<name>`; of kinds that are not among them it stays as it was */
  return (seen: Readonly<Record<string, Values>>): string | null => {
    const kindOf = (name: string): string => name.slice(0, name.indexOf('/'));
    const kinds = new Set(Object.keys(seen).map(kindOf));
    const found = Object.keys(seen).filter(
      (name) => Object.hasOwn(KINDS, kindOf(name)) && !Number.isFinite(squaresOf(seen[name]!)),
    );
    const before = broken;
    broken = new Set([...[...before].filter((name) => !kinds.has(kindOf(name))), ...found]);
    if (found.length === 0 || before.size > 0) return null;
    const [kind = '', ...rest] = found[0]!.split('/');
    const name = (kind === 'state' ? rest.slice(1) : rest).join('/');
    const others = found.length > 1 ? ` and of ${found.length - 1} others` : '';
    return `${KINDS[kind]} of ${name}${others} are not finite`;
  };
}
