/**
 * The judge of losses that are still coming: what makes a recorder write a capture.
 *
 * The recorder for tfjs takes it from here; python/src/clippy_diag/{judge,levels,triggers}.py are its twin in Python. Tests
 * compare both on fixtures/incidents/cases.json and on made series.
 */
import { FIRST_VALUES, LOG_SCALE, linearScale } from './bands.ts';
import { BY_DIFFERENCE, BY_RATIO, Follower, isClear } from './follow.ts';
import { followPoints, lengthsFor } from './judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from './settings.ts';

/** The incident that the newest loss starts or continues. Positions count all losses from the first, which is 0. */
export interface StreamedIncident {
  /** Whether the newest loss starts it. */
  readonly begins: boolean;
  /** First loss outside the band on the way there. */
  readonly onset: number;
  /** Median before, in units of the loss; NaN where too few losses came before. */
  readonly before: number;
}

/** Losses that are kept: more than a window, and than a way out of the band before a jump, ever has. */
const KEPT = 4096;

/** The last losses, and how many there were in all. */
interface Kept {
  readonly count: number;
  at(index: number): number;
}

/** A ring of the last losses. */
export function keptLosses(): Kept & { push(loss: number): void } {
  const ring = new Float64Array(KEPT);
  let count = 0;
  return {
    get count() {
      return count;
    },
    at: (index) => ring[index % KEPT]!,
    push(loss) {
      ring[count % KEPT] = loss;
      count++;
    },
  };
}

/** Where single losses leave their band; of losses that are not all positive, by their values. */
function bandStream(kept: Kept) {
  const settings = DEFAULT_VERDICT_SETTINGS;
  const start = (scale: typeof LOG_SCALE) =>
    followPoints(kept.at, scale, settings, settings.windowMaximum, KEPT);
  let scale = LOG_SCALE;
  let follower = start(scale);
  /** Of the finite losses. */
  const first: number[] = [];
  return {
    /** The incident that the newest loss starts or continues. */
    add(loss: number): StreamedIncident | null {
      const { count } = kept;
      const isFirst = Number.isFinite(loss) && first.length < FIRST_VALUES;
      if (isFirst) first.push(loss);
      if (scale === LOG_SCALE ? hasNoLogarithm(loss) : isFirst) {
        // From the first loss that has no logarithm on, all are judged by their values, as they would have been had it been known.
        scale = linearScale(first);
        follower = start(scale);
        for (let i = Math.max(0, count - KEPT); i < count - 1; i++)
          follower.step(i, lengthsFor(i + 1, settings));
      }
      follower.step(count - 1, lengthsFor(count, settings));
      // What is over says nothing of the next loss.
      follower.incidents.length = 0;
      const { open } = follower;
      return open === null
        ? null
        : { begins: open.trigger === count - 1, onset: open.onset, before: scale.from(open.center) };
    },
  };
}

/** Where a level is clearly above the best one: a rise that lasts, under noise in which no single loss leaves its band. */
export function levelStream(kept: Kept) {
  let follower = new Follower(BY_RATIO);
  let was = false;
  return {
    /** The excess that the newest loss belongs to, clear or not. */
    get excess() {
      return follower.open;
    },
    /** The excess that the newest loss belongs to, once it is clear. */
    add(loss: number): StreamedIncident | null {
      const { count } = kept;
      if (follower.unit === BY_RATIO && hasNoLogarithm(loss)) {
        follower = new Follower(BY_DIFFERENCE);
        for (let i = Math.max(0, count - KEPT); i < count - 1; i++) follower.step(kept.at(i));
      }
      follower.step(loss);
      // The last one may go on.
      follower.excesses.splice(0, follower.excesses.length - 1);
      const { open, unit } = follower;
      const begins = !was;
      was = open !== null && isClear(open, count);
      return was ? { begins, onset: open!.onset, before: unit.from(open!.best + open!.gap) } : null;
    },
  };
}

const hasNoLogarithm = (loss: number): boolean => loss <= 0 && loss > Number.NEGATIVE_INFINITY;

/**
 * Losses in the order of their steps, one `add` a step, with constant memory.
 *
 * An incident begins where a single loss leaves its band, as in the verdict of a log that ends at the newest loss, or where a
 * level of several losses is clearly above the best one. Only the rest of a log can show slower climbs, and a return that the
 * end of the log would have shown sooner.
 */
export function lossStream() {
  const kept = keptLosses();
  const [band, levels] = [bandStream(kept), levelStream(kept)];
  return {
    /** Takes the newest loss, of any value; the incident that it starts or continues, null where there is none. */
    add(loss: number): StreamedIncident | null {
      kept.push(loss);
      const byBand = band.add(loss);
      const byLevels = levels.add(loss);
      // What the band has open was reported when it began.
      return byBand ?? byLevels;
    },
  };
}
